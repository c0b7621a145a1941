//! The event `certificate`, as clients and other domains ask for it.
//!
//! In: a request for a certificate (PKCS#10) or a certificate of another authority that a client publishes, the end of such
//! certificates (`expires=0`), a fetch of somebody's. Out: what the authority of the domain says, behind [`Certifier`].
//! Invariants: an account gets certificates for its own addresses alone, in a session of its own; somebody's certificate is told to whoever may send a message to
//! the same address, and to nobody else. RFC 2986 §4, RFC 5967, RFC 6072 §6.4 in its sense.

use std::sync::Arc;

use super::super::certificates::Told;
use super::super::engine::refuse;
use super::super::letter::CERTIFICATE;
use super::super::{Author, Refusal, Said, letter};
use super::Handle;
use crate::accounts::{Accounts, Takes};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::{Directive, Event, SubscriptionId};
use crate::rules::{Circumstances, Signed};
use crate::timestamp::Timestamp;

/// The media type of a request.
const REQUEST: &str = "application/pkcs10";

/// The authorities of the domains here. Files are read and written: not to be called beside the work on sockets.
pub trait Certifier: Send + Sync {
    /// Issues a certificate for the key of a request, to one of these addresses, of which the first is the account; in DER.
    fn issue(&self, addresses: &[Mailbox], request: &[u8], now: Timestamp) -> Result<Vec<u8>, Refusal>;

    /// Keeps a certificate of another authority, in DER, to be told as that of one of these addresses.
    fn bring(&self, addresses: &[Mailbox], certificate: &[u8], now: Timestamp) -> Result<(), Refusal>;

    /// Revokes the certificates of these addresses, and tells those of other authorities no more; where one is named in DER,
    /// that alone. How many there were; one that is revoked already is none more.
    fn revoke(&self, addresses: &[Mailbox], only: Option<&[u8]>, now: Timestamp) -> Result<usize, Refusal>;

    /// The certificate to encrypt to somebody with, in DER, where there is one.
    fn find(&self, who: &Mailbox, now: Timestamp) -> Result<Option<Vec<u8>>, Refusal>;
}

/// What is wanted of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Issue,
    Revoke,
    Fetch(SubscriptionId),
}

impl Wanted {
    /// What a directive wants; `None`: nothing of the kind.
    pub fn of(directive: &Directive) -> Option<Wanted> {
        match directive {
            Directive::Publish { event: Event::Certificate, expires: Some(0), .. } => Some(Wanted::Revoke),
            Directive::Publish { event: Event::Certificate, .. } => Some(Wanted::Issue),
            Directive::Fetch { id, event: Event::Certificate } => Some(Wanted::Fetch(*id)),
            _ => None,
        }
    }
}

impl Handle {
    /// Does what is wanted; as [`Handle::say`].
    pub(super) async fn certificate(&self, said: &Said, wanted: Wanted) -> Result<(), Refusal> {
        match wanted {
            Wanted::Issue => self.issue(said).await,
            Wanted::Revoke => self.revoke(said).await,
            Wanted::Fetch(id) => self.fetch_certificates(said, id).await,
        }
    }

    async fn issue(&self, said: &Said) -> Result<(), Refusal> {
        let addresses = self.addresses(said)?;
        let now = said.now;
        let certificate = match body(said, CERTIFICATE) {
            Ok(brought) => {
                let kept = brought.clone();
                self.with_certifier(move |certifier| certifier.bring(&addresses, &kept, now)).await?;
                brought
            }
            Err(_) => {
                let request = body(said, REQUEST)?;
                self.with_key(move |certifier| certifier.issue(&addresses, &request, now)).await?
            }
        };
        self.act(|engine, facts| engine.show_issued(facts, &said.author.mailbox, certificate));
        Ok(())
    }

    async fn revoke(&self, said: &Said) -> Result<(), Refusal> {
        let addresses = self.addresses(said)?;
        let only = if has_body(said) { Some(body(said, CERTIFICATE)?) } else { None };
        let now = said.now;
        self.with_key(move |certifier| certifier.revoke(&addresses, only.as_deref(), now)).await.map(drop)
    }

    /// The addresses of whoever asks: the account's own name first.
    fn addresses(&self, said: &Said) -> Result<Vec<Mailbox>, Refusal> {
        let Author { mailbox, client, .. } = &said.author;
        if !client || said.recipients.iter().any(|recipient| recipient.key() != mailbox.key()) {
            let text = "certificates are asked for by their owner alone, in a session of its own";
            return Err(refuse(550, (5, 7, 1), text));
        }
        let accounts = self.0.accounts.borrow().clone();
        let further = accounts.entries().get(&mailbox.key()).map(|account| account.addresses.clone());
        Ok(std::iter::once(mailbox.clone()).chain(further.unwrap_or_default()).collect())
    }

    /// As [`Handle::with_certifier`], for what a token may keep waiting: only so many at one time.
    async fn with_key<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn Certifier) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.0.certifying.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| refuse(451, (4, 3, 2), "the authority is at work for others, try again later"))?;
        // Held until it is done, also where nobody waits for it any more.
        self.with_certifier(move |certifier| {
            let _permit = permit;
            act(certifier)
        })
        .await
    }

    async fn with_certifier<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn Certifier) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Some(certifier) = self.0.certifier.clone() else { return Err(no_authority()) };
        let done = tokio::task::spawn_blocking(move || act(Arc::as_ref(&certifier))).await;
        done.unwrap_or_else(|_| Err(refuse(451, (4, 3, 0), "the authority did not finish, try again")))
    }

    async fn fetch_certificates(&self, said: &Said, id: SubscriptionId) -> Result<(), Refusal> {
        let (mut refused, mut done) = (None, false);
        for who in &said.recipients {
            let here = self.0.accounts.borrow().is_local(who.domain());
            let result = match (here, said.author.client) {
                (true, _) => self.fetch_here(said, who, id).await,
                (false, true) => {
                    self.act(|engine, facts| engine.fetch_certificate(facts, &said.author.mailbox, who, id))
                }
                (false, false) => Err(refuse(550, (5, 7, 1), "we do not relay for that domain")),
            };
            match result {
                Ok(()) => done = true,
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        if done { Ok(()) } else { refused.map_or(Ok(()), Err) }
    }

    async fn fetch_here(&self, said: &Said, who: &Mailbox, id: SubscriptionId) -> Result<(), Refusal> {
        let accounts = self.0.accounts.borrow().clone();
        if !accounts.is_presentity(who) {
            return Err(refuse(550, (5, 1, 1), format!("{who} is no presentity here")));
        }
        let identity = Some(&said.author.mailbox).filter(|_| said.author.proven);
        let told = match may_write(&accounts, who, identity, said.now) {
            Takes::Yes if self.0.certifier.is_some() => {
                let (of, now) = (who.clone(), said.now);
                let found = self.with_certifier(move |certifier| certifier.find(&of, now)).await?;
                found.map_or(Told::None, Told::Certificate)
            }
            Takes::Yes => Told::None,
            Takes::No | Takes::Untold => Told::Rejected,
        };
        self.act(|engine, facts| engine.tell_certificate(facts, who, &said.author, id, told))
    }
}

/// Whether somebody takes messages of whoever asks; what it would write has not come yet, and may be signed.
fn may_write(accounts: &Accounts, who: &Mailbox, identity: Option<&Mailbox>, now: Timestamp) -> Takes {
    accounts.takes(who, identity, Circumstances { now, signed: Signed::Unseen, ..Circumstances::default() })
}

/// What is said where nobody issues certificates; clients know it by its code.
pub fn no_authority() -> Refusal {
    let text = "no authority of this domain issues certificates by itself; give the request to its administrator";
    refuse(550, (5, 3, 3), text)
}

fn has_body(said: &Said) -> bool {
    letter::octets_of(said.content()).is_none_or(|(_, octets)| !octets.trim_ascii().is_empty())
}

/// The body, which must be of this type.
fn body(said: &Said, media: &str) -> Result<Vec<u8>, Refusal> {
    if said.entity.len() > 2 * limits::CERTIFICATE_OCTETS {
        return Err(refuse(552, (5, 3, 4), "no request and no certificate is so large"));
    }
    match letter::octets_of(said.content()) {
        Some((found, octets)) if found == media => Ok(octets),
        _ => Err(refuse(554, (5, 6, 1), format!("the body must be one part of the type {media}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use std::sync::mpsc;

    use tokio::sync::watch;

    use super::super::Parts;
    use super::*;
    use crate::accounts::{LocalDomain, Rules, rules};
    use crate::address::Domain;
    use crate::clock::System;
    use crate::rules::{Handling, edit};
    use crate::spool::Spool;

    /// One that says no to everything.
    struct Nobody;

    impl Certifier for Nobody {
        fn issue(&self, _: &[Mailbox], _: &[u8], _: Timestamp) -> Result<Vec<u8>, Refusal> {
            Err(no_authority())
        }

        fn bring(&self, _: &[Mailbox], _: &[u8], _: Timestamp) -> Result<(), Refusal> {
            Err(no_authority())
        }

        fn revoke(&self, _: &[Mailbox], _: Option<&[u8]>, _: Timestamp) -> Result<usize, Refusal> {
            Err(no_authority())
        }

        fn find(&self, _: &Mailbox, _: Timestamp) -> Result<Option<Vec<u8>>, Refusal> {
            Err(no_authority())
        }
    }

    fn handle(directory: &std::path::Path, certifier: Option<Arc<dyn Certifier>>) -> Handle {
        let (spool, _) = Spool::open(directory, crate::spool::Options::default()).unwrap();
        let parts = Parts {
            options: super::super::super::Options::default(),
            default: Handling::Confirm,
            spool,
            accounts: watch::channel(Arc::new(Accounts::new(HashMap::new()))).1,
            clock: Arc::new(System::new()),
            rules: directory.join("rules"),
            reload: Box::new(|| ()),
            certifier,
        };
        Handle::new(parts).unwrap()
    }

    #[tokio::test]
    async fn the_authority_is_at_work_for_so_many_at_one_time() {
        let folder = tempfile::tempdir().unwrap();
        let handle = handle(folder.path(), Some(Arc::new(Nobody)));
        // Each is kept waiting, as by a token that hangs, until it is let go.
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let mut works = Vec::new();
        for _ in 0..limits::CERTIFYING {
            let (let_go, waits) = mpsc::channel::<()>();
            let (handle, begun) = (handle.clone(), begun.clone());
            let work = tokio::spawn(async move {
                let work = move |_: &dyn Certifier| {
                    let _ = begun.send(());
                    let _ = waits.recv();
                    Ok(())
                };
                handle.with_key(work).await
            });
            works.push((let_go, work));
        }
        for _ in 0..limits::CERTIFYING {
            begins.recv().await.unwrap();
        }
        let refusal = handle.with_key(|_| Ok(())).await.unwrap_err();
        assert!(refusal.to_string().starts_with("451 4.3.2"), "{refusal}");
        // What needs no key is answered all the same.
        assert_eq!(handle.with_certifier(|_| Ok(7)).await.unwrap(), 7);
        // Who does not wait any more has its place until the work is done.
        let (let_go, work) = works.pop().unwrap();
        work.abort();
        assert!(work.await.is_err() && handle.with_key(|_| Ok(())).await.is_err());
        drop(let_go);
        for (let_go, work) in works {
            drop(let_go);
            work.await.unwrap().unwrap();
        }
        handle.with_key(|_| Ok(())).await.unwrap();
    }

    #[test]
    fn whoever_may_write_with_a_signature_may_encrypt() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        let alice = mailbox("alice@a.example");
        let insist =
            |old: Option<&str>| Ok(edit::let_write_signed(old, &"bob@b.example".parse().unwrap()).unwrap().text);
        rules::change(folder.path(), &alice, insist).unwrap();
        let block = |old: Option<&str>| Ok(edit::block(old, &"mallory@b.example".parse().unwrap()).unwrap().text);
        rules::change(folder.path(), &alice, block).unwrap();
        let rules = Rules::load(folder.path(), &Rules::default()).unwrap().0;
        let inboxes = [alice.key()].into();
        let domain = (Domain::parse("a.example").unwrap(), LocalDomain { im: true, inboxes, ..LocalDomain::default() });
        let accounts = Accounts::new(HashMap::from([domain])).with_rules(Arc::new(rules));
        let may = |who: &str| may_write(&accounts, &alice, Some(&mailbox(who)), Timestamp::from_secs(1_795_000_000));
        assert_eq!(may("bob@b.example"), Takes::Yes);
        assert_eq!(may("mallory@b.example"), Takes::No);
    }
}
