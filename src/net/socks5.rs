//! Connecting through a SOCKS5 proxy (RFC 1928), without authentication; the proxy resolves names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{DialError, Fault, Host, Options, dial};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What went wrong between us and the proxy, or beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// The connection to the proxy failed or broke off.
    Connection(Fault),
    /// It wants authentication (RFC 1928 §3).
    Authentication,
    /// It does not speak SOCKS5.
    NotSocks5,
    /// It could not or would not connect: the reply code (RFC 1928 §6).
    Refused(u8),
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyFault::Connection(fault) => fault.fmt(f),
            ProxyFault::Authentication => f.write_str("it wants authentication; allow this host without"),
            ProxyFault::NotSocks5 => f.write_str("it does not speak SOCKS5 (RFC 1928)"),
            ProxyFault::Refused(code) => match code {
                1 => f.write_str("it reports a general failure"),
                2 => f.write_str("its rules forbid this connection"),
                3 => f.write_str("it has no route to the network"),
                4 => f.write_str("it has no route to the host, or cannot resolve it"),
                5 => f.write_str("the host refused its connection"),
                6 => f.write_str("its connection took too many hops (TTL expired)"),
                7 => f.write_str("it does not support CONNECT"),
                8 => f.write_str("it does not support this type of address"),
                other => write!(f, "it reports the unknown failure {other}"),
            },
        }
    }
}

/// Connects to `host` through `proxy`; a name is resolved by the proxy. `timeout` is for everything together.
pub async fn socks5(proxy: SocketAddr, host: &Host, port: u16, timeout: Duration) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + timeout;
    let fault = |fault| DialError::Proxy { proxy, fault };
    let options = Options { timeout, ..Options::default() };
    let mut stream = dial(&[proxy], options).await.map_err(|error| match error {
        DialError::Addresses(mut faults) => match faults.pop() {
            Some((_, one)) => fault(ProxyFault::Connection(one)),
            None => DialError::NoAddress,
        },
        other => other,
    })?;
    match timeout_at(deadline, negotiate(&mut stream, host, port)).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(refusal)) => Err(fault(refusal)),
        Err(_) => Err(fault(ProxyFault::Connection(Fault::Timeout(timeout)))),
    }
}

async fn negotiate(stream: &mut TcpStream, host: &Host, port: u16) -> Result<(), ProxyFault> {
    let broken = |error: std::io::Error| ProxyFault::Connection(Fault::of(&error));
    stream.write_all(&[VERSION, 1, NO_AUTHENTICATION]).await.map_err(broken)?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await.map_err(broken)?;
    match method {
        [VERSION, NO_AUTHENTICATION] => {}
        [VERSION, _] => return Err(ProxyFault::Authentication),
        _ => return Err(ProxyFault::NotSocks5),
    }
    stream.write_all(&request(host, port)).await.map_err(broken)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(broken)?;
    let [version, code, _, kind] = head;
    if version != VERSION {
        return Err(ProxyFault::NotSocks5);
    }
    if code != 0 {
        return Err(ProxyFault::Refused(code));
    }
    // The address that the proxy bound says nothing to us, but must be read exactly: the peer's greeting follows it.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await.map_err(broken)?),
        _ => return Err(ProxyFault::NotSocks5),
    };
    let mut bound = [0; 255 + 2];
    stream.read_exact(&mut bound[..length + 2]).await.map_err(broken)?;
    Ok(())
}

fn request(host: &Host, port: u16) -> Vec<u8> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host {
        Host::Address(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Host::Name(name) => {
            // A domain has at most 253 octets.
            request.extend([NAME, name.as_str().len() as u8]);
            request.extend(name.as_str().as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Domain;
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(600);

    fn name(text: &str) -> Host {
        Host::Name(Domain::parse(text).unwrap())
    }

    /// A proxy for one connection: reads what `script` says it must, answers, and hands the stream back.
    async fn proxy(script: Vec<(Vec<u8>, Vec<u8>)>) -> (SocketAddr, tokio::task::JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (expected, answer) in script {
                let mut got = vec![0; expected.len()];
                stream.read_exact(&mut got).await.unwrap();
                assert_eq!(got, expected);
                stream.write_all(&answer).await.unwrap();
            }
            stream
        });
        (address, task)
    }

    async fn check(script: Vec<(Vec<u8>, Vec<u8>)>, expected: &str) {
        let (address, task) = proxy(script).await;
        // The proxy closes the connection when its script ends.
        tokio::spawn(async move { drop(task.await) });
        let error = socks5(address, &name("mx.b.example"), 2779, LONG).await.unwrap_err();
        assert_eq!(error.to_string(), format!("SOCKS5 proxy {address}: {expected}"));
    }

    fn hello(answer: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (vec![5, 1, 0], answer.to_vec())
    }

    fn wanted() -> Vec<u8> {
        [&[5, 1, 0, 3, 12][..], b"mx.b.example", &2779u16.to_be_bytes()].concat()
    }

    #[test]
    fn requests() {
        assert_eq!(request(&name("mx.b.example"), 2779), wanted());
        let v4 = request(&Host::Address([192, 0, 2, 1].into()), 1);
        assert_eq!(v4, [5, 1, 0, 1, 192, 0, 2, 1, 0, 1]);
        let v6 = request(&Host::Address("::1".parse().unwrap()), 258);
        assert_eq!(v6, [5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
    }

    #[tokio::test]
    async fn the_greeting_behind_the_reply_is_left_for_the_reader() {
        for bound in
            [&[1u8, 127, 0, 0, 1, 0, 9][..], &[3, 2, b'h', b'i', 0, 9], &[[4u8; 1].as_slice(), &[0; 18]].concat()]
        {
            let reply = [&[5, 0, 0][..], bound, b"220 hello\r\n"].concat();
            let (address, task) = proxy(vec![hello(&[5, 0]), (wanted(), reply)]).await;
            let mut stream = socks5(address, &name("mx.b.example"), 2779, LONG).await.unwrap();
            drop(task.await.unwrap());
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "220 hello\r\n");
        }
    }

    #[tokio::test]
    async fn faults_in_words() {
        check(vec![hello(&[5, 255])], "it wants authentication; allow this host without").await;
        check(vec![hello(b"HT")], "it does not speak SOCKS5 (RFC 1928)").await;
        check(vec![hello(&[5])], "connection closed").await;
        let answer = |code| vec![hello(&[5, 0]), (wanted(), vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0])];
        check(answer(2), "its rules forbid this connection").await;
        check(answer(4), "it has no route to the host, or cannot resolve it").await;
        check(answer(5), "the host refused its connection").await;
        check(answer(99), "it reports the unknown failure 99").await;
        let odd = vec![hello(&[5, 0]), (wanted(), vec![5, 0, 0, 9, 0, 0])];
        check(odd, "it does not speak SOCKS5 (RFC 1928)").await;
    }

    #[tokio::test]
    async fn a_silent_proxy_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = socks5(address, &name("mx.b.example"), 1, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("SOCKS5 proxy {address}: no answer in 20ms"));
    }
}
