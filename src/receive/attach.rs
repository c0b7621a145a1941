//! Clients that log in and attach: the part of a session's questions that only they ask.
//!
//! In: AUTH, ATRN. Out: replies; after an accepted ATRN the connection, as an [`Attachment`], to whoever delivers over it.
//! Invariant: an inbox is handed over only to who may read it, and never while the daemon stops.

use tokio::sync::mpsc::OwnedPermit;
use tokio::time::timeout;

use super::connection::Origin;
use super::login::{Login, Say};
use super::shares::Share;
use super::transaction::Judge;
use super::{Context, Listener, Place};
use crate::accounts::{self, Principal, Reads};
use crate::address::{Device, Mailbox};
use crate::attached::Attachment;
use crate::limits;
use crate::net::Stream;
use crate::policy::{Service, submission};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::Atrn;
use crate::tls::Peer;

/// An ATRN that was accepted.
pub(super) struct Turn {
    permit: OwnedPermit<Attachment>,
    share: Share<String>,
    principal: Principal,
    inboxes: Vec<(Mailbox, Reads)>,
    device: Option<Device>,
}

/// Who may log in on a connection; `None` where nobody is asked to.
pub(super) fn login(context: &Context, listener: &Listener, origin: &Origin) -> Option<Login> {
    let from = whence(listener, origin);
    listener.service.authenticates().then(|| Login::new(context.authority.clone(), from))
}

fn whence(listener: &Listener, origin: &Origin) -> accounts::Origin {
    accounts::Origin {
        address: origin.address,
        tls: origin.tls.is_some(),
        channel_binding: origin.tls.as_ref().and_then(|peer| peer.channel_binding),
        chain: origin.tls.as_ref().map(|peer| peer.chain.clone()).unwrap_or_default(),
        odmr: listener.service == Service::Odmr,
    }
}

impl Judge {
    /// The names of the mechanisms that the client may use now.
    pub fn mechanisms(&self) -> Vec<&'static str> {
        let allowed = self.origin.tls.is_some() || self.listener.clear_auth;
        self.login.as_ref().filter(|_| allowed).map(Login::mechanisms).unwrap_or_default()
    }

    /// TLS has begun; nothing of what the client said before holds (RFC 3207 §4.2).
    pub fn encrypted(&mut self, peer: Peer) {
        self.origin.tls = Some(peer);
        self.ehlo = None;
        let from = whence(&self.listener, &self.origin);
        if let Some(login) = &mut self.login {
            login.moved(from);
        }
    }

    /// AUTH.
    pub async fn login(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Say {
        match &mut self.login {
            Some(login) => login.begin(mechanism, initial).await,
            None => Say::Reply(nobody()),
        }
    }

    /// A response to a challenge.
    pub async fn respond(&mut self, response: Vec<u8>) -> Say {
        match &mut self.login {
            Some(login) => login.respond(response).await,
            None => Say::Reply(nobody()),
        }
    }

    /// Who has logged in.
    pub(super) fn principal(&self) -> Result<&Principal, Reply> {
        self.login.as_ref().and_then(Login::principal).ok_or_else(nobody)
    }

    /// ATRN. After a positive reply [`Judge::turn`] follows.
    pub async fn attach(&mut self, atrn: Atrn) -> Reply {
        let accounts = self.context.accounts.borrow().clone();
        let inboxes = self.principal().and_then(|principal| {
            let inboxes = match self.listener.service {
                Service::Odmr => {
                    let waiting = |inboxes: &[Mailbox]| self.context.attached.waiting(inboxes);
                    submission::on_demand(&atrn, principal, &accounts, waiting)
                }
                _ => submission::attach(&atrn, principal, &accounts, self.context.clock.now()),
            };
            inboxes.map(|inboxes| (principal.clone(), inboxes))
        });
        let (principal, inboxes) = match inboxes {
            Ok(inboxes) => inboxes,
            Err(refusal) => return refusal,
        };
        let busy = |text: &'static str| Reply::new(450, EnhancedCode::new(4, 3, 2), text);
        let Some(share) = self.context.clients.take(principal.account.key()) else {
            return busy("this account has as many clients attached as it may; end one of them");
        };
        match timeout(limits::ATTACH_TIMEOUT, self.context.attach.clone().reserve_owned()).await {
            Ok(Ok(permit)) => {
                self.turn = Some(Turn { permit, share, principal, inboxes, device: atrn.device });
                Reply::new(250, EnhancedCode::new(2, 0, 0), "reversing the roles; greet us")
            }
            Ok(Err(_)) => busy("the service is going down, try again later"),
            Err(_) => busy("very many attach at this moment, try again in a minute"),
        }
    }

    /// Hands the connection over; the reply to ATRN has been written.
    pub fn turn(self, stream: Stream, place: Place) {
        let Some(Turn { permit, share, principal, inboxes, device }) = self.turn else { return };
        permit.send(Attachment {
            tls: stream.is_tls(),
            stream,
            principal,
            inboxes,
            device,
            until_empty: self.listener.service == Service::Odmr,
            place: Box::new((place, share)),
        });
    }
}

/// The session asks for authentication first; this is for what comes nevertheless.
fn nobody() -> Reply {
    Reply::new(530, EnhancedCode::new(5, 7, 0), "authentication required; say AUTH first")
}
