//! A file from a web server: in the clear, for lists that are signed themselves, or over a connection that is encrypted.
//!
//! In: a URL of `http:`, where it may lead, how much and how long. Out: the content of a `200`. Invariants: one request of
//! HTTP/1.0, whose answer ends with the connection; no redirection is followed; nothing of the URL can add to the request.
//! Fails with words. RFC 5280 §4.2.1.13, RFC 8461 §3.3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Host, Options, dial};
use crate::address::Domain;

/// Octets of a URL.
const URL: usize = 2048;
/// Octets of the head of an answer.
const HEAD: usize = 16 * 1024;

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The server.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The path, with what follows it.
    target: String,
}

impl Url {
    /// Reads `http://host[:port]/path`; anything else is none.
    pub fn parse(text: &str) -> Option<Url> {
        let scheme = text.get(..7).filter(|start| start.eq_ignore_ascii_case("http://"))?;
        let rest = &text[scheme.len()..];
        if text.len() > URL || !rest.bytes().all(|octet| octet.is_ascii_graphic()) {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let bracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        let host = match (bracketed(host), host.parse::<Ipv4Addr>()) {
            (Some(address), _) => Host::Address(address.into()),
            (None, Ok(address)) => Host::Address(address.into()),
            (None, Err(_)) => Host::Name(Domain::parse(host).ok()?),
        };
        Some(Url { host, port, target })
    }
}

/// The content at a URL, whose host has these addresses: at most so many octets, in at most that time.
pub async fn get(url: &Url, addresses: &[IpAddr], octets: u64, time: Duration) -> Result<Vec<u8>, String> {
    let answer = tokio::time::timeout(time, ask(url, addresses, octets)).await;
    answer.map_err(|_| format!("no answer in {} s", time.as_secs()))?
}

async fn ask(url: &Url, addresses: &[IpAddr], octets: u64) -> Result<Vec<u8>, String> {
    let places: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, url.port)).collect();
    let stream = dial(&places, Options::default()).await.map_err(|error| error.to_string())?;
    let host = match &url.host {
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        host => host.to_string(),
    };
    let port = if url.port == 80 { String::new() } else { format!(":{}", url.port) };
    Ok(over(stream, &format!("{host}{port}"), &url.target, octets).await?.octets)
}

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its media type, without parameters, in lower case; empty where it did not say.
    pub media_type: String,
    /// It.
    pub octets: Vec<u8>,
}

/// The content at a path of `host`, over a connection to it: at most so many octets. Whoever calls bounds the time.
pub async fn over<S>(mut stream: S, host: &str, path: &str, octets: u64) -> Result<Content, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    // What is encrypted may wait to be written.
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let most = octets.saturating_add(HEAD as u64);
    let cut_off = match stream.take(most + 1).read_to_end(&mut answer).await {
        Ok(_) => false,
        // Many servers end TLS without a word; then the content must be as long as it says.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => true,
        Err(error) => return Err(error.to_string()),
    };
    let content = content(answer, cut_off)?;
    if content.octets.len() as u64 > octets { Err(format!("it has more than {octets} octets")) } else { Ok(content) }
}

/// The content of an answer.
fn content(mut answer: Vec<u8>, cut_off: bool) -> Result<Content, String> {
    let end = answer.windows(4).take(HEAD).position(|four| four == b"\r\n\r\n").ok_or("the answer is not HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        let status: String = status.chars().filter(char::is_ascii_digit).take(3).collect();
        return Err(format!("HTTP status {status} where 200 was due"));
    }
    let field = |name: &str| {
        let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if field("Transfer-Encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err("the answer is in pieces, which HTTP/1.0 does not have".to_owned());
    }
    let octets = answer.split_off(end + 4);
    let media_type = field("Content-Type").and_then(|value| value.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    match field("Content-Length").map(str::parse::<usize>) {
        Some(Ok(length)) if length == octets.len() => Ok(Content { media_type, octets }),
        Some(_) => Err("the answer is not as long as it says".to_owned()),
        None if cut_off => Err("the connection was cut off".to_owned()),
        None => Ok(Content { media_type, octets }),
    }
}

/// Whether an address is anybody's on the Internet: neither of a loopback nor of a network that is private, nor one that
/// stands for such an address. A public address of this host is public.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 224 || (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
            !(address.is_private() || address.is_loopback() || address.is_link_local() || shared || special)
        }
        // Global unicast, without 6to4, Teredo and documentation.
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: Option<(&str, u16, &str)>| {
            let got = Url::parse(text).map(|url| (url.host.to_string(), url.port, url.target));
            let expected = expected.map(|(host, port, target)| (host.to_owned(), port, target.to_owned()));
            assert_eq!(got, expected, "{text}");
        };
        check("http://crl.a.example/a.crl", Some(("crl.a.example", 80, "/a.crl")));
        check("HTTP://CRL.a.example:8080/a?b=c#d", Some(("crl.a.example", 8080, "/a?b=c")));
        check("http://a.example", Some(("a.example", 80, "/")));
        check("http://a.example?x", Some(("a.example", 80, "/?x")));
        check("http://[2001:db8::1]:8/a", Some(("2001:db8::1", 8, "/a")));
        check("http://192.0.2.1/a", Some(("192.0.2.1", 80, "/a")));
        for bad in [
            "https://a.example/a",
            "ldap://a.example/a",
            "http://",
            "http://a.example:x/",
            "http://a.example/a b",
            "http://a.example/\r\nX: y",
            "http://user@a.example/",
            "http://a.example/\u{e4}",
        ] {
            check(bad, None);
        }
        check(&format!("http://a.example/{}", "a".repeat(URL)), None);
    }

    #[test]
    fn answers() {
        let check = |answer: &str, expected: Result<&str, &str>| {
            let got = content(answer.as_bytes().to_vec(), false);
            let got = got.map(|content| String::from_utf8(content.octets).unwrap());
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{answer}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Ok("ab"));
        check("HTTP/1.0 200 OK\r\n\r\nab", Ok("ab"));
        check("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nab", Err("the answer is not as long as it says"));
        check("HTTP/1.1 302 Found\r\nLocation: http://b/\r\n\r\n", Err("HTTP status 302 where 200 was due"));
        let pieces = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        check(pieces, Err("the answer is in pieces, which HTTP/1.0 does not have"));
        check("220 a.example ESMTP\r\n", Err("the answer is not HTTP"));
    }

    #[test]
    fn what_was_cut_off_must_be_as_long_as_it_says() {
        let cut_off = |head: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=utf-8\r\n{head}\r\nab");
            content(answer.into_bytes(), true)
        };
        let whole = Content { media_type: "text/plain".to_owned(), octets: b"ab".to_vec() };
        assert_eq!(cut_off("Content-Length: 2\r\n"), Ok(whole));
        assert_eq!(cut_off(""), Err("the connection was cut off".to_owned()));
        assert_eq!(cut_off("Content-Length: 3\r\n"), Err("the answer is not as long as it says".to_owned()));
    }

    #[test]
    fn whose_addresses_are_public() {
        for public in ["192.0.1.1", "8.8.8.8", "2a00::1", "100.63.0.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "2001::1",
            "64:ff9b::7f00:1",
            "2001:db8::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn files_have_an_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in ["HTTP/1.0 200 OK\r\n\r\nshort", "HTTP/1.0 200 OK\r\n\r\nlonger than it may be"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /a.crl HTTP/1.0\r\nHost: a.example:"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let url = Url::parse(&format!("http://a.example:{}/a.crl", address.port())).unwrap();
        let addresses = [address.ip()];
        let ask = || get(&url, &addresses, 5, Duration::from_secs(2));
        assert_eq!(ask().await, Ok(b"short".to_vec()));
        assert_eq!(ask().await, Err("it has more than 5 octets".to_owned()));
        assert_eq!(ask().await, Err("no answer in 2 s".to_owned()), "nobody accepts");
    }
}
