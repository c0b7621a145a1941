//! One-click unsubscription (RFC 8058): the end of what somebody is told of presence by mail, asked for by a mail program or its
//! provider over the web.
//!
//! In: a POST to the URL of the field List-Unsubscribe of a mail. Out: what presence is told. Invariants: nothing ends but by the
//! token that its owner alone was sent; whoever only looks (GET) ends nothing, and is shown a button. On an address that others
//! reach it is encrypted; on loopback a web server is before it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Base, DaemonError, build};
use crate::address::{Domain, Mailbox};
use crate::bridge::presence::{Ending, Tokens};
use crate::clock::Clock;
use crate::config::Config;
use crate::mime::presence::{Directive, SubscriptionId};
use crate::net::web::{self, Making, Page, Pages};
use crate::net::{self, Stream};
use crate::policy::Service;
use crate::presence::{Author, Handle, Refusal, Said};
use crate::random;
use crate::reply::EnhancedCode;
use crate::tls::{Acceptor, Certificates};

/// What a form of the web says (RFC 8058 §3.1).
const ONE_CLICK: &[u8] = b"List-Unsubscribe=One-Click";
/// The same as one of several parts.
const IN_PARTS: [&[u8]; 2] = [b"name=\"List-Unsubscribe\"", b"One-Click"];
/// What is shown to whoever looks: a page may be fetched by programs that follow every link.
const BUTTON: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Unsubscribe</title>\n\
                      <meta name=\"viewport\" content=\"width=device-width\">\n<form method=\"post\">\n\
                      <p>End what you are told by mail of somebody's presence?</p>\n\
                      <button name=\"List-Unsubscribe\" value=\"One-Click\">Unsubscribe</button>\n</form>\n</html>\n";

struct Unsubscribing {
    presence: Handle,
    secret: [u8; 32],
    clock: Arc<dyn Clock>,
    acceptor: Option<Acceptor>,
}

/// Begins, if that is configured.
pub(super) fn start(
    config: &Config,
    base: &Base,
    certificates: &Arc<Certificates>,
    closed: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), DaemonError> {
    let Some(address) = config.bridge.unsubscribe_listen else { return Ok(()) };
    let acceptor = acceptor(config, address, certificates)?;
    let socket = net::listen(&net::Address::Tcp(address))?;
    let how = if acceptor.is_some() { "HTTPS" } else { "HTTP" };
    tracing::info!("listening on {address} for one-click unsubscription, by {how}");
    let (secret, presence) = (base.spool.secret("mail bridge"), base.presence.clone());
    let pages = Arc::new(Unsubscribing { presence, secret, clock: base.clock.clone(), acceptor });
    let mut closed = closed.clone();
    tasks.spawn(async move {
        let over = async { closed.wait_for(|closed| *closed).await.is_ok() };
        tokio::select! {
            () = web::serve(socket, pages) => {}
            _ = over => {}
        }
    });
    Ok(())
}

/// Others see what is in the URL, unless it is encrypted.
fn acceptor(
    config: &Config,
    address: SocketAddr,
    certificates: &Arc<Certificates>,
) -> Result<Option<Acceptor>, DaemonError> {
    if address.ip().is_loopback() {
        return Ok(None);
    }
    let acceptor = Acceptor::new(certificates.clone(), build::accept(config, Service::Client))?;
    Ok(Some(acceptor.for_web()))
}

impl Pages for Unsubscribing {
    fn open(&self, stream: Stream) -> Pin<Box<dyn Future<Output = Option<Stream>> + Send + '_>> {
        Box::pin(async move {
            match (&self.acceptor, stream) {
                (Some(acceptor), Stream::Tcp(tcp)) => Some(Stream::from(acceptor.accept(tcp).await.ok()?.0)),
                (Some(_), _) => None,
                (None, stream) => Some(stream),
            }
        })
    }

    fn page<'a>(&'a self, _path: &'a str) -> Making<'a> {
        let page = Page { status: 200, kind: "text/html; charset=utf-8", text: BUTTON.to_owned() };
        Box::pin(async move { Some(page) })
    }

    fn post<'a>(&'a self, target: &'a str, body: &'a [u8]) -> Making<'a> {
        Box::pin(async move { Some(self.end(target, body).await) })
    }
}

impl Unsubscribing {
    async fn end(&self, target: &str, body: &[u8]) -> Page {
        let has = |words: &[u8]| body.windows(words.len()).any(|window| window == words);
        if !has(ONE_CLICK) && !IN_PARTS.iter().all(|words| has(words)) {
            return Page::plain(400, "that is no one-click unsubscription (RFC 8058)\n");
        }
        let Some(Ending { watcher, domain, presentity, token }) = Ending::of(target) else {
            return Page::plain(400, "the link is not whole; take it from the mail as it is\n");
        };
        let tokens = Tokens { secret: &self.secret, watcher: &watcher, domain: &domain };
        if !tokens.ends(presentity.as_ref(), &token) {
            return Page::plain(400, "the link is not one of ours; take it from the mail as it is\n");
        }
        match self.unsubscribe(&watcher, presentity, &domain).await {
            Ok(()) => {
                tracing::info!("from=<{watcher}>: by the web: unsubscribe");
                Page::plain(200, "You are told no more.\n")
            }
            Err(refusal) => Page::plain(503, format!("that cannot be done now, try again later: {refusal}\n")),
        }
    }

    async fn unsubscribe(&self, from: &Mailbox, whom: Option<Mailbox>, domain: &Domain) -> Result<(), Refusal> {
        let Some(whom) = whom else {
            return self.presence.unsubscribe_by_mail(from, domain).await.map(|_| ());
        };
        let refused = |_| Refusal::new(451, EnhancedCode::new(4, 3, 0), "no random numbers at the moment, try again");
        let directive = Directive::Cancel { id: random::octets().map(SubscriptionId::new).map_err(refused)? };
        let entity = format!("From: <{from}>\r\nTo: <{whom}>\r\nPresence: {directive}\r\n\r\n").into();
        let author = Author { mailbox: from.clone(), proven: true, client: false, by_mail: true };
        let said = Said { author, recipients: vec![whom], entity, signed: None, now: self.clock.now() };
        self.presence.say(said).await
    }
}
