//! A server for tests: takes everything, or fails in the way that it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tls::Acceptor;

#[derive(Clone, Default)]
pub struct Conduct {
    /// EHLO keywords.
    pub shows: Vec<&'static str>,
    /// Instead of the greeting.
    pub greeting: Option<&'static str>,
    /// Never greets.
    pub silent: bool,
    /// Said right behind the answer to EHLO; then it closes.
    pub parting: Option<&'static str>,
    /// Says 421 to MAIL and closes.
    pub no_mail: bool,
    /// Says 421 after so many messages.
    pub most_messages: Option<usize>,
    /// Closes each connection instead of answering the entity.
    pub cut: bool,
    /// An entity with `hold` in it is answered when there is a permit.
    pub hold: Option<Arc<Semaphore>>,
    /// Recipients beyond which it says 452.
    pub most_recipients: Option<usize>,
    /// TLS: at once, or by STARTTLS where that is shown.
    pub tls: Option<Acceptor>,
}

pub const IMPP: [&str; 6] = ["PIPELINING", "CHUNKING", "8BITMIME", "DSN", "SIZE", "IMPP IM PRES"];

#[derive(Default)]
struct Seen {
    connections: usize,
    open: usize,
    most_open: usize,
    messages: Vec<(usize, String)>,
}

#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Sink {
    pub async fn start(conduct: Conduct) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Sink { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = sink.seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (conduct, seen) = (conduct.clone(), seen.clone());
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.connections += 1;
                    seen.open += 1;
                    seen.most_open = seen.most_open.max(seen.open);
                    seen.connections
                };
                tokio::spawn(async move {
                    serve(stream, conduct, &seen, number).await;
                    seen.lock().unwrap().open -= 1;
                });
            }
        });
        sink
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub fn most_open(&self) -> usize {
        self.seen.lock().unwrap().most_open
    }

    /// The number of the connection, and the entity.
    pub fn messages(&self) -> Vec<(usize, String)> {
        self.seen.lock().unwrap().messages.clone()
    }
}

async fn serve(stream: TcpStream, conduct: Conduct, seen: &Mutex<Seen>, number: usize) {
    if conduct.silent {
        return std::future::pending().await;
    }
    let by_command = conduct.shows.contains(&"STARTTLS");
    match &conduct.tls {
        Some(acceptor) if !by_command => {
            if let Ok((stream, _)) = acceptor.accept(stream).await {
                let _ = Dialogue::new(stream, &conduct, seen, number).run().await;
            }
        }
        Some(acceptor) => {
            let mut clear = Dialogue::new(stream, &conduct, seen, number);
            if let Some(true) = clear.run().await
                && let Ok((stream, _)) = acceptor.accept(clear.stream.into_inner()).await
            {
                let conduct = Conduct { greeting: Some(""), ..conduct.clone() };
                let _ = Dialogue::new(stream, &conduct, seen, number).run().await;
            }
        }
        None => {
            let _ = Dialogue::new(stream, &conduct, seen, number).run().await;
        }
    }
}

struct Dialogue<'a, S> {
    stream: BufReader<S>,
    conduct: &'a Conduct,
    seen: &'a Mutex<Seen>,
    number: usize,
    recipients: usize,
    entity: Vec<u8>,
    stored: usize,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Dialogue<'a, S> {
    fn new(stream: S, conduct: &'a Conduct, seen: &'a Mutex<Seen>, number: usize) -> Self {
        let stream = BufReader::new(stream);
        Dialogue { stream, conduct, seen, number, recipients: 0, entity: Vec::new(), stored: 0 }
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).await.ok()?;
        self.stream.flush().await.ok()
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let octets = self.stream.read_line(&mut line).await.ok()?;
        (octets > 0).then(|| line.trim_end().to_owned())
    }

    /// Some(true): STARTTLS was agreed.
    async fn run(&mut self) -> Option<bool> {
        match self.conduct.greeting {
            Some("") => {}
            Some(text) => return self.say(&format!("{text}\r\n")).await.map(|()| false),
            None => self.say("220 sink\r\n").await?,
        }
        loop {
            let line = self.line().await?;
            let verb = line.split(' ').next().unwrap_or_default();
            match verb {
                "EHLO" => {
                    let shown: String = self.conduct.shows.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
                    let parting = self.conduct.parting;
                    let last = parting.map(|text| format!("{text}\r\n")).unwrap_or_default();
                    self.say(&format!("250-sink\r\n{shown}250 HELP\r\n{last}")).await?;
                    if parting.is_some() {
                        return Some(false);
                    }
                }
                "STARTTLS" => return self.say("220 go\r\n").await.map(|()| true),
                "MAIL" if self.conduct.no_mail => {
                    return self.say("421 4.3.2 too many\r\n").await.map(|()| false);
                }
                "RSET" | "MAIL" => {
                    self.recipients = 0;
                    self.say("250 ok\r\n").await?;
                }
                "RCPT" => self.rcpt(&line).await?,
                "DATA" => self.data().await?,
                "BDAT" => self.bdat(&line).await?,
                "QUIT" => {
                    self.say("221 bye\r\n").await?;
                    return Some(false);
                }
                _ => self.say("500 what\r\n").await?,
            }
        }
    }

    async fn rcpt(&mut self, line: &str) -> Option<()> {
        if line.contains("<no") {
            return self.say("550 5.1.1 who\r\n").await;
        }
        if self.conduct.most_recipients.is_some_and(|most| self.recipients >= most) {
            return self.say("452 4.5.3 too many\r\n").await;
        }
        self.recipients += 1;
        self.say("250 ok\r\n").await
    }

    async fn data(&mut self) -> Option<()> {
        self.say("354 go\r\n").await?;
        loop {
            let line = self.line().await?;
            if line == "." {
                return self.store().await;
            }
            self.entity.extend_from_slice(line.strip_prefix('.').unwrap_or(&line).as_bytes());
            self.entity.extend_from_slice(b"\r\n");
        }
    }

    async fn bdat(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ').skip(1);
        let octets: usize = words.next()?.parse().ok()?;
        let mut chunk = vec![0; octets];
        self.stream.read_exact(&mut chunk).await.ok()?;
        self.entity.extend_from_slice(&chunk);
        if words.next() == Some("LAST") { self.store().await } else { self.say("250 more\r\n").await }
    }

    async fn store(&mut self) -> Option<()> {
        let entity = String::from_utf8(std::mem::take(&mut self.entity)).unwrap();
        if self.conduct.most_messages.is_some_and(|most| self.stored >= most) {
            self.say("421 4.3.2 enough\r\n").await?;
            return None;
        }
        if self.recipients == 0 {
            return self.say("503 5.5.1 no recipients\r\n").await;
        }
        if let Some(hold) = self.conduct.hold.as_ref().filter(|_| entity.contains("hold")) {
            hold.acquire().await.unwrap().forget();
        }
        self.seen.lock().unwrap().messages.push((self.number, entity));
        if self.conduct.cut {
            return None;
        }
        self.stored += 1;
        self.say("250 2.0.0 stored\r\n").await
    }
}
