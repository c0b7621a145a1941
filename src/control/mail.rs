//! The mail system, as `impartctl check` finds it: whether it greets, and what it shows. Nothing is sent.
//!
//! In: where mail goes. Out: a finding for each server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::protocol::Finding;
use crate::address::Domain;
use crate::deliver::wire::Wire;
use crate::dns::{Resolve, Validation};
use crate::net::{Host, Stream};
use crate::route::{MailServer, Target};
use crate::smtp::client::{Event, Options, Protection, Session, StartTls, Timeouts};
use crate::smtp::extension::Extension;

/// How long connecting, the greeting and the answer to EHLO may take, each.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the servers that the key `name` of the section bridge names; `host` is our name.
pub async fn findings(
    name: &str,
    server: &MailServer,
    lmtp: bool,
    host: &Domain,
    resolver: Option<&dyn Resolve>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    match server {
        MailServer::Socket(path) => {
            let subject = format!("mail {name} {}", path.display());
            let connecting = timeout(PATIENCE, UnixStream::connect(path)).await;
            found.push(look(subject, connecting.map(|done| done.map(Stream::from)), lmtp, host).await);
        }
        MailServer::Hosts(targets) => {
            for target in targets {
                let subject = format!("mail {name} {}:{}", target.host, target.port);
                match address(target, resolver).await {
                    Ok(address) => {
                        let connecting = timeout(PATIENCE, TcpStream::connect(address)).await;
                        found.push(look(subject, connecting.map(|done| done.map(Stream::from)), lmtp, host).await);
                    }
                    Err(fault) => {
                        found.push(Finding::error(subject, fault, "examine the resolver, or give an address"))
                    }
                }
            }
        }
        // Each domain has its own.
        MailServer::Exchangers(_) => {}
    }
    found
}

/// What can be said of the way straight to mail exchangers before there is one to go to: whether DNSSEC is validated,
/// without which no exchanger can prove itself by DANE.
pub fn straight(validation: Validation) -> Finding {
    let subject = "mail via mx";
    match validation {
        Validation::Off => Finding::warning(
            subject,
            "DNSSEC is not validated: an exchanger cannot prove itself by DANE, and REQUIRETLS needs MTA-STS",
            "set `validation` in the section dns",
        ),
        _ => {
            Finding::ok(subject, "the exchangers of each domain are looked up; port 25 of every host must be reachable")
        }
    }
}

async fn address(target: &Target, resolver: Option<&dyn Resolve>) -> Result<SocketAddr, String> {
    let name = match (&target.host, resolver) {
        (Host::Address(address), _) => return Ok(SocketAddr::new(*address, target.port)),
        (Host::Name(_), None) => return Err("there is no resolver to ask for it".to_owned()),
        (Host::Name(name), Some(resolver)) => resolver.addresses(name).await,
    };
    let first = name.map_err(|failure| failure.to_string())?.records.first().copied();
    first.map(|address| SocketAddr::new(address, target.port)).ok_or_else(|| "it has no address".to_owned())
}

type Connecting = Result<std::io::Result<Stream>, tokio::time::error::Elapsed>;

async fn look(subject: String, connecting: Connecting, lmtp: bool, host: &Domain) -> Finding {
    let remedy = "start the mail system, and examine where it listens and who may connect";
    let stream = match connecting {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Finding::error(subject, error.to_string(), remedy),
        Err(_) => return Finding::error(subject, "no answer", remedy),
    };
    let timeouts = Timeouts { greeting: PATIENCE, command: PATIENCE, ..Timeouts::default() };
    let options = Options {
        helo: host.clone(),
        starttls: StartTls::Never,
        helo_fallback: false,
        lmtp,
        window: 1,
        timeouts,
        login: None,
    };
    let session = Session::new(Arc::new(options), Protection::Clear, Instant::now().into_std());
    let mut wire = Wire::new(stream, session);
    let fault = loop {
        match wire.event().await {
            Event::Ready => break None,
            Event::Over(fault) => break Some(fault.map(|fault| fault.to_string()).unwrap_or_default()),
            Event::StartTls | Event::Done { .. } | Event::Turned => {}
        }
    };
    let shown = *wire.session.offer();
    wire.close().await;
    let protocol = if lmtp { "LMTP" } else { "SMTP" };
    if let Some(fault) = fault {
        return Finding::error(subject, fault, format!("is it {protocol} that is spoken there? {remedy}"));
    }
    if !lmtp && !shown.has(Extension::Dsn) {
        let text = "it greets, but does not show DSN: what becomes of a mail cannot be followed";
        return Finding::warning(subject, text, "let it show DSN to this host");
    }
    Finding::ok(subject, format!("it greets, and speaks {protocol}"))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Level;
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    async fn check(lmtp: bool, greeting: &'static str, hello: &'static str, level: Level, words: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lmtp");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut line = String::new();
            let _ = stream.read_line(&mut line).await;
            let expected = if lmtp { "LHLO a.example\r\n" } else { "EHLO a.example\r\n" };
            let answer = if line == expected { hello } else { "500 what\r\n" };
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let host = Domain::parse("a.example").unwrap();
        let found = findings("via", &MailServer::Socket(path), lmtp, &host, None).await;
        assert_eq!((found[0].level, found[0].text.contains(words)), (level, true), "{found:?}");
    }

    #[tokio::test]
    async fn what_is_there() {
        check(true, "220 store\r\n", "250 store\r\n", Level::Ok, "speaks LMTP").await;
        check(false, "220 mail\r\n", "250-mail\r\n250 DSN\r\n", Level::Ok, "speaks SMTP").await;
        check(false, "220 mail\r\n", "250 mail\r\n", Level::Warning, "DSN").await;
        check(true, "554 no\r\n", "", Level::Error, "554 no").await;
        check(true, "220 store\r\n", "500 what\r\n", Level::Error, "500 what").await;
        let host = Domain::parse("a.example").unwrap();
        let gone = findings("store", &MailServer::Socket("/nonexistent/lmtp".into()), true, &host, None).await;
        assert_eq!(gone[0].level, Level::Error);
    }
}
