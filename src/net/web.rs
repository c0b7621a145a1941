//! Pages over HTTP/1.1, for programs of this host, and for whoever else may ask.
//!
//! In: connections, each with one request. Out: the page that it asks for. Invariants: GET, and POST where there is something
//! to be done; the head of a request, its body, the time for it and the connections are bounded; a connection ends with its answer. Fails: with a status, or by
//! closing. RFC 9112, RFC 9110 §15.5.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Listener, Stream};

/// Octets of the head of a request.
const HEAD: usize = 8 * 1024;
/// Octets of a body.
const BODY: usize = 2 * 1024;
/// Connections at one time; further ones wait to be accepted.
const CONNECTIONS: usize = 16;
/// How long a request may take to come, a page to be made, and an answer to be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The type of the text.
    pub kind: &'static str,
    /// What is said.
    pub text: String,
}

impl Page {
    /// A few words.
    pub fn plain(status: u16, text: impl Into<String>) -> Page {
        Page { status, kind: "text/plain; charset=utf-8", text: text.into() }
    }

    fn octets(&self) -> Vec<u8> {
        let Page { status, kind, text } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            411 => "Length Required",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let allow = if *status == 405 { "Allow: GET\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status} {reason}\r\n{allow}Content-Type: {kind}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
        .into_bytes()
    }
}

/// A page that is being made; `None` where there is none of this name.
pub type Making<'a> = Pin<Box<dyn Future<Output = Option<Page>> + Send + 'a>>;

/// Whoever has the pages.
pub trait Pages: Send + Sync + 'static {
    /// The page at a path, which is without its query.
    fn page<'a>(&'a self, path: &'a str) -> Making<'a>;

    /// What is to be done at a target, a path with its query; `None`: nothing ever is.
    fn post<'a>(&'a self, _target: &'a str, _body: &'a [u8]) -> Making<'a> {
        Box::pin(async { None })
    }

    /// Encrypts a connection, where that is due; `None`: it cannot be.
    fn open(&self, stream: Stream) -> Pin<Box<dyn Future<Output = Option<Stream>> + Send + '_>> {
        Box::pin(async move { Some(stream) })
    }
}

/// What the octets of a request ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// The head is not complete.
    More,
    Path(&'a str),
    Post(&'a str, &'a [u8]),
    Refused(Page),
}

fn asked(octets: &[u8]) -> Asked<'_> {
    let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match octets.len() {
            HEAD.. => Asked::Refused(Page::plain(431, "the head of the request is too long\n")),
            _ => Asked::More,
        };
    };
    let wrong = || Asked::Refused(Page::plain(400, "that is not a request of HTTP/1.1\n"));
    let Ok(head) = std::str::from_utf8(&octets[..end]) else { return wrong() };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return wrong();
    };
    let named = |wanted: &'static str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    let hosts = named("host").count();
    // RFC 9112 §3.2: exactly one; HTTP/1.0 knows none.
    match version {
        "HTTP/1.1" if hosts == 1 => {}
        "HTTP/1.0" if hosts <= 1 => {}
        _ => return wrong(),
    }
    if !target.starts_with('/') {
        return wrong();
    }
    match method {
        "GET" => Asked::Path(target.split('?').next().unwrap_or(target)),
        "POST" => {
            let mut lengths = named("content-length").map(|(_, value)| value.trim().parse::<usize>());
            let coded = named("transfer-encoding").next().is_some();
            match (lengths.next(), lengths.next(), coded) {
                (Some(Ok(length)), None, false) if length <= BODY => match octets.get(end + 4..end + 4 + length) {
                    Some(body) => Asked::Post(target, body),
                    None => Asked::More,
                },
                (Some(Ok(_)), None, false) => Asked::Refused(Page::plain(413, "the body is too long\n")),
                (None, _, false) => Asked::Refused(Page::plain(411, "how long is the body?\n")),
                _ => wrong(),
            }
        }
        _ => Asked::Refused(Page::plain(405, "only GET is answered here\n")),
    }
}

/// Answers until it is dropped.
pub async fn serve(listener: Listener, pages: Arc<dyn Pages>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let pages = Arc::clone(&pages);
        tasks.spawn(async move {
            let _ = timeout(3 * PATIENCE, answer(stream, &*pages)).await;
            drop(place);
        });
    }
}

async fn answer(stream: Stream, pages: &dyn Pages) {
    let Ok(Some(mut stream)) = timeout(PATIENCE, pages.open(stream)).await else { return };
    let Ok(Some(page)) = timeout(PATIENCE, page(&mut stream, pages)).await else { return };
    let _ = timeout(PATIENCE, stream.write_all(&page.octets())).await;
    let _ = stream.shutdown().await;
}

async fn page(stream: &mut Stream, pages: &dyn Pages) -> Option<Page> {
    let mut octets = Vec::with_capacity(1024);
    loop {
        match asked(&octets) {
            Asked::More => {}
            Asked::Refused(page) => return Some(page),
            Asked::Post(target, body) => {
                let page = pages.post(target, body).await;
                return Some(page.unwrap_or_else(|| Page::plain(405, "only GET is answered here\n")));
            }
            Asked::Path(path) => {
                let page = pages.page(path).await;
                return Some(page.unwrap_or_else(|| Page::plain(404, "there is no such page\n")));
            }
        }
        let mut bounded = (&mut *stream).take((HEAD + BODY).saturating_sub(octets.len()) as u64);
        if bounded.read_buf(&mut octets).await.ok()? == 0 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let check = |request: &str, expected: Result<&str, u16>| {
            let got = match asked(request.as_bytes()) {
                Asked::More => Err(0),
                Asked::Path(path) => Ok(path),
                Asked::Post(target, _) => Ok(target),
                Asked::Refused(page) => Err(page.status),
            };
            assert_eq!(got, expected, "{request}");
        };
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Ok("/metrics"));
        check("GET /metrics?x=1 HTTP/1.1\r\nAccept: */*\r\nHOST: a\r\n\r\n", Ok("/metrics"));
        check("GET / HTTP/1.0\r\n\r\n", Ok("/"));
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n", Err(0));
        check("GET /metrics HTTP/1.1\r\n\r\n", Err(400));
        check("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(400));
        check("GET /metrics\r\n\r\n", Err(400));
        check("GET http://b/metrics HTTP/1.1\r\nHost: a\r\n\r\n", Err(400));
        check("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400));
        check("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(400));
        check("PUT /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Err(405));
        check("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Err(411));
        let post = |more: &str| format!("POST /a?b HTTP/1.1\r\nHost: a\r\n{more}");
        check(&post("Content-Length: 2\r\n\r\na"), Err(0));
        check(&post("content-length: 2\r\n\r\nab"), Ok("/a?b"));
        check(&post("Content-Length: 2049\r\n\r\n"), Err(413));
        check(&post("Content-Length: -1\r\n\r\n"), Err(400));
        check(&post("Content-Length: 1\r\nContent-Length: 1\r\n\r\na"), Err(400));
        check(&post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na"), Err(400));
        check("\r\n\r\n", Err(400));
        check(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD)), Err(431));
    }

    struct Greeting;

    impl Pages for Greeting {
        fn page<'a>(&'a self, path: &'a str) -> Making<'a> {
            Box::pin(async move { (path == "/").then(|| Page::plain(200, "good day\n")) })
        }
    }

    async fn ask(request: &[u8]) -> String {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(serve(Listener::from_tcp(socket).unwrap(), Arc::new(Greeting)));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // It may be answered before it is complete.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn pages() {
        let page = ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\ngood day\n"), "{page}");
        assert!(page.contains("\r\nContent-Length: 9\r\nCache-Control: no-store\r\nConnection: close\r\n"), "{page}");
        assert!(ask(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        let refused = ask(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nAllow: GET\r\n"), "{refused}");
        assert!(ask(&[b'a'; HEAD]).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_not_waited_for() {
        let (socket, client) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::time::Instant::now());
        let address = socket.local_addr().unwrap();
        tokio::spawn(serve(Listener::from_tcp(socket).unwrap(), Arc::new(Greeting)));
        let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        silent.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty() && client.elapsed() < PATIENCE, "the clock is the test's");
    }
}
