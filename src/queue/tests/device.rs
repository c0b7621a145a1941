//! A device for tests: the server's side of an attachment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub struct Conduct {
    /// EHLO keywords.
    pub shows: &'static [&'static str],
    /// Texts with this get this reply.
    pub refuse: Option<(&'static str, &'static str)>,
    /// So many messages are refused for now.
    pub later: usize,
    /// It reads nothing after this command.
    pub reads_until: Option<&'static str>,
}

impl Default for Conduct {
    fn default() -> Self {
        let shows = &["PIPELINING", "CHUNKING", "8BITMIME", "DSN", "IMPP IM NOOP=30"];
        Conduct { shows, refuse: None, later: 0, reads_until: None }
    }
}

#[derive(Default)]
struct Seen {
    texts: Vec<String>,
    envelopes: Vec<String>,
    transcript: String,
    quits: usize,
    later: usize,
}

pub struct Device {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Device {
    /// Serves every connection alike.
    pub async fn start(conduct: Conduct) -> Device {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        seen.lock().unwrap().later = conduct.later;
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (conduct, seen) = (conduct.clone(), shared.clone());
                tokio::spawn(async move { serve(stream, conduct, &seen).await });
            }
        });
        Device { address, seen }
    }

    pub fn texts(&self) -> Vec<String> {
        self.seen.lock().unwrap().texts.clone()
    }

    pub fn envelopes(&self) -> Vec<String> {
        self.seen.lock().unwrap().envelopes.clone()
    }

    pub fn transcript(&self) -> String {
        self.seen.lock().unwrap().transcript.clone()
    }

    pub fn quits(&self) -> usize {
        self.seen.lock().unwrap().quits
    }
}

async fn serve(stream: TcpStream, conduct: Conduct, seen: &Mutex<Seen>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 device\r\n").await.ok()?;
    let (mut envelope, mut entity) = (Vec::new(), Vec::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        seen.lock().unwrap().transcript.push_str(&line);
        let line = line.trim_end();
        let verb = line.split(' ').next().unwrap();
        let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let reply = match verb {
            "EHLO" => {
                let shown: String = conduct.shows.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
                format!("250-device\r\n{shown}250 HELP")
            }
            "RSET" => {
                envelope.clear();
                "250 ok".to_owned()
            }
            "MAIL" => {
                envelope = vec![address()];
                "250 ok".to_owned()
            }
            "RCPT" => {
                envelope.push(address());
                "250 ok".to_owned()
            }
            "BDAT" => {
                let mut chunk = vec![0; line.split(' ').nth(1)?.parse().ok()?];
                stream.read_exact(&mut chunk).await.ok()?;
                entity.extend_from_slice(&chunk);
                if line.ends_with("LAST") {
                    store(&conduct, seen, &envelope, &mut entity)
                } else {
                    "250 more".to_owned()
                }
            }
            "DATA" => {
                stream.write_all(b"354 go\r\n").await.ok()?;
                let mut text = String::new();
                while stream.read_line(&mut text).await.ok()? > 0 && !text.ends_with("\r\n.\r\n") {}
                entity = text.strip_suffix(".\r\n")?.into();
                store(&conduct, seen, &envelope, &mut entity)
            }
            "QUIT" => {
                seen.lock().unwrap().quits += 1;
                "221 bye".to_owned()
            }
            _ => "250 ok".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        if conduct.reads_until == Some(verb) {
            return std::future::pending().await;
        }
        if verb == "QUIT" {
            return Some(());
        }
    }
}

fn store(conduct: &Conduct, seen: &Mutex<Seen>, envelope: &[String], entity: &mut Vec<u8>) -> String {
    let entity = String::from_utf8(std::mem::take(entity)).unwrap();
    let text = entity.split("\r\n\r\n").nth(1).unwrap().trim_end().to_owned();
    if let Some((_, reply)) = conduct.refuse.filter(|(word, _)| text == *word) {
        return reply.to_owned();
    }
    let mut seen = seen.lock().unwrap();
    if seen.later > 0 {
        seen.later -= 1;
        return "452 4.2.2 full".to_owned();
    }
    seen.texts.push(text);
    seen.envelopes.push(envelope.join(" "));
    "250 2.0.0 stored".to_owned()
}
