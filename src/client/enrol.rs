//! Certificates over the connection: of the person's keys, from the authority of its domain; of others, from theirs.
//!
//! In: keys, addresses. Out: certificates, in the files of [`super::keys`]. Invariants: a key is never sent, only a request
//! that it has signed; what comes is kept only where it is of a key that is here and names the person; a certificate of
//! others is kept only where an authority that the person believes vouches for it, or the person believes the first. What
//! fails leaves everything as it was. RFC 2986 §4, RFC 6072 §6.4 in its sense.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::attach::SIGNERS;
use super::error::ClientError;
use super::keys::{Keys, Own};
use super::presence::{ELSEWHERE, News, compose};
use super::submit::now;
use super::{Client, Protect, Shared};
use crate::address::Mailbox;
use crate::dns;
use crate::mime::presence::{Directive, Event};
use crate::reply::Reply;
use crate::smime::{Certificate, trust};
use crate::timestamp::Timestamp;

/// How long the authority may take.
const ISSUING: Duration = Duration::from_secs(30);
/// How long all who are to be encrypted to are asked for.
const LOOKED_UP: Duration = Duration::from_secs(20);
/// The longest pause between two attempts to renew.
const PAUSE: Duration = Duration::from_secs(86_400);

/// What came of asking for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// There is one, good until then.
    Certified(Timestamp),
    /// The domain issues none by itself.
    NoAuthority,
}

impl Client {
    /// Asks the domain for a certificate of a key that is here, by its name.
    pub async fn enrol(&self, name: &str) -> Result<Enrolled, ClientError> {
        self.shared.enrol(name).await
    }

    /// Asks for another certificate, for a key that waits for one, else for a new one of the kind of the latest; with the
    /// key's name. `None`: there is no key whose certificate the domain has issued, and none that waits.
    pub async fn renew(&self) -> Result<Option<(String, Enrolled)>, ClientError> {
        self.shared.renew().await
    }

    /// Asks for another certificate of the same key, so that all devices that have it read on, when less than a third of the
    /// time of the latest is left, and that was not tried lately. A certificate that this device has not asked for may have
    /// been renewed by another one: then that is taken.
    pub async fn renew_if_due(&self) -> Result<Option<(String, Enrolled)>, ClientError> {
        self.shared.renew_if_due().await
    }

    /// Has the domain revoke the certificate of a key, or all that it has issued for the account. Nothing is signed by
    /// these keys any more; what was encrypted to them can still be read.
    pub async fn revoke(&self, only: Option<&Own>) -> Result<(), ClientError> {
        let revoke = Directive::Publish { id: None, expires: Some(0), event: Event::Certificate };
        let certificate = only.and_then(|own| own.chain.first());
        let body = certificate.map(|certificate| (compose::CERTIFICATE, certificate.der()));
        self.shared.tell_octets(&self.account().address, &revoke, body).await?;
        let keys = self.shared.keys();
        for own in keys.own()? {
            let meant = only.map_or(keys.asked_at(&own.name)?.is_some(), |only| only.name == own.name);
            if meant {
                keys.retire(&own)?;
            }
        }
        Ok(())
    }

    /// Has the domain tell the certificate of a key, whoever has issued it, to whoever may write to the account.
    pub async fn publish(&self, own: &Own) -> Result<(), ClientError> {
        let publish = Directive::Publish { id: None, expires: None, event: Event::Certificate };
        let body = own.chain.first().map(|certificate| (compose::CERTIFICATE, certificate.der()));
        self.shared.tell_octets(&self.account().address, &publish, body).await
    }

    /// Seeks certificates of those to whom it is to be encrypted, and of whom none is known: first what their domains publish;
    /// where encrypting was asked for, their domains are asked too. What is not found is missed when the message is sealed.
    pub async fn look_up(&self, to: &[Mailbox], protect: Protect) -> Result<(), ClientError> {
        self.shared.read_published(to, protect).await?;
        if !matches!(protect, Protect::Asked { encrypt: true, .. }) {
            return Ok(());
        }
        let until = Instant::now() + LOOKED_UP;
        for who in self.shared.protector.lacking(to, protect, now())? {
            // Whoever cannot be asked has no certificate that is known.
            if let Ok(Ok(Some(certificate))) = timeout_at(until, self.shared.fetch_certificate(&who)).await {
                self.shared.protector.take(&who, certificate, now())?;
            }
        }
        Ok(())
    }
}

/// Whether a refusal says that the domain issues no certificates by itself.
fn has_no_authority(reply: &Reply) -> bool {
    let status = reply.status();
    reply.is_permanent() && (status.subject, status.detail) == (3, 3)
}

/// How long after an attempt the next one is made.
fn pause(certificate: &Certificate) -> Duration {
    (certificate.not_after().since(certificate.not_before()) / 12).min(PAUSE)
}

impl Shared {
    fn keys(&self) -> &Keys {
        self.protector.keys()
    }

    async fn enrol(&self, name: &str) -> Result<Enrolled, ClientError> {
        let me = &self.account.address;
        let request = self.keys().request(name, me)?;
        // Attached first: the answer is told to whoever is.
        let mut answers = self.answers().await?;
        self.keys().asked(name, now())?;
        let publish = Directive::Publish { id: None, expires: None, event: Event::Certificate };
        match self.tell_octets(me, &publish, Some((compose::REQUEST, &request))).await {
            Ok(()) => {}
            Err(ClientError::Refused { reply, .. }) if has_no_authority(&reply) => {
                self.keys().not_asked(name)?;
                return Ok(Enrolled::NoAuthority);
            }
            Err(ClientError::NoPresence { .. }) => {
                self.keys().not_asked(name)?;
                return Ok(Enrolled::NoAuthority);
            }
            Err(error) => return Err(error),
        }
        let until = Instant::now() + ISSUING;
        while let Some(told) = answers.next(until).await? {
            let News::Certificate { who, certificate: Some(certificate) } = told.news else { continue };
            let named = trust::names_of(&certificate).is_ok_and(|names| names.names(me));
            if who.key() != me.key() || !named {
                continue;
            }
            if self.keys().certify(std::slice::from_ref(&certificate))?.as_deref() == Some(name) {
                return Ok(Enrolled::Certified(certificate.not_after()));
            }
        }
        Err(self.silent(me))
    }

    async fn renew(&self) -> Result<Option<(String, Enrolled)>, ClientError> {
        let Some(_hold) = self.keys().hold()? else { return Ok(None) };
        let name = match (self.keys().waiting()?, self.keys().latest()?) {
            (Some(name), _) => name,
            (None, Some(latest)) if self.keys().asked_at(&latest.name)?.is_some() => {
                let (name, _) = self.keys().make(&self.account.address, latest.key.kind())?;
                self.keys().asked(&name, now())?;
                name
            }
            _ => return Ok(None),
        };
        let enrolled = self.enrol(&name).await?;
        Ok(Some((name, enrolled)))
    }

    /// See [`Client::renew_if_due`].
    pub(super) async fn renew_if_due(&self) -> Result<Option<(String, Enrolled)>, ClientError> {
        let Some(latest) = self.keys().latest()? else { return Ok(None) };
        let Some(certificate) = latest.chain.first().filter(|certificate| certificate.is_due(now())) else {
            return Ok(None);
        };
        let is_time = |last: Timestamp| last.after(pause(certificate)) <= now();
        let Some(asked) = self.keys().asked_at(&latest.name)? else {
            let sought = self.keys().sought_at(&latest.name)?;
            return if sought.is_none_or(is_time) { self.seek_renewed(&latest).await } else { Ok(None) };
        };
        let Some(_hold) = self.keys().hold()?.filter(|_| is_time(asked)) else { return Ok(None) };
        self.keys().asked(&latest.name, now())?;
        let name = self.keys().waiting()?.unwrap_or(latest.name);
        let enrolled = self.enrol(&name).await?;
        Ok(Some((name, enrolled)))
    }

    /// Takes the certificate that the domain tells, where it is a later one of the same key. What cannot be asked is as it
    /// was: somebody else has issued the one that is here, and somebody else may renew it.
    async fn seek_renewed(&self, own: &Own) -> Result<Option<(String, Enrolled)>, ClientError> {
        let me = &self.account.address;
        self.keys().sought(&own.name, now())?;
        let Ok(Some(found)) = self.fetch_certificate(me).await else { return Ok(None) };
        let Some((first, above)) = own.chain.split_first() else { return Ok(None) };
        let named = trust::names_of(&found).is_ok_and(|names| names.names(me));
        if !named || found.spki() != first.spki() || found.not_after() <= first.not_after() {
            return Ok(None);
        }
        let until = found.not_after();
        let above = if found.issuer() == first.issuer() { above } else { &[] };
        self.keys().certify(&std::iter::once(&found).chain(above).cloned().collect::<Vec<_>>())?;
        Ok(Some((own.name.clone(), Enrolled::Certified(until))))
    }

    /// What DNS has of those of whom no certificate is known (RFC 8162).
    async fn read_published(&self, to: &[Mailbox], protect: Protect) -> Result<(), ClientError> {
        let Some(resolver) = &self.resolver else { return Ok(()) };
        let mut questions = JoinSet::new();
        for who in self.protector.lacking(to, protect, now())? {
            let resolver = Arc::clone(resolver);
            questions.spawn(async move { (dns::published(&*resolver, &who, SIGNERS).await, who) });
        }
        while let Some(answer) = questions.join_next().await {
            if let Ok((Some(published), who)) = answer {
                self.protector.publish(&who, published.certificates(&who));
            }
        }
        Ok(())
    }

    /// Somebody's certificate, as its domain tells it.
    async fn fetch_certificate(&self, who: &Mailbox) -> Result<Option<Certificate>, ClientError> {
        let about = |of: &Mailbox| of.key() == who.key();
        let fits = |told: &super::presence::Told| matches!(&told.news, News::Certificate { who: of, .. } if about(of) && told.id.is_some());
        match self.ask(who, Event::Certificate, ELSEWHERE, fits).await? {
            News::Certificate { certificate, .. } => Ok(certificate),
            _ => Ok(None),
        }
    }
}
