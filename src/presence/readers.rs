//! To whom views are encrypted: the certificates with which watchers have asked for that.
//!
//! In: bodies of requests, rows. Out: certificates, by the number of a subscription to a presentity here, or of a watch of
//! somebody here. They stand beside the tables: one who does not ask for it costs nothing. Invariants: a certificate names
//! the watcher, and can be encrypted to; bounded in octets, each and all; a request without one takes it back. Whether it is
//! in its time is its owner's affair, who alone must read what is encrypted to it. RFC 2585 §4.1, RFC 2779 §5.3.2.

use std::collections::HashMap;

use super::Refusal;
use super::engine::{Engine, Request, refuse};
use super::letter::{self, CERTIFICATE};
use super::row;
use super::tables::Marks;
use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::{Directive, Event};
use crate::smime::trust::names_of;
use crate::smime::{Certificate, EncryptOptions, encrypt};

/// Certificates by number.
#[derive(Debug, Default)]
pub(super) struct Readers {
    of: HashMap<u32, Certificate>,
    /// Of all of them.
    pub octets: usize,
}

impl Readers {
    /// To whom what this number is told is encrypted.
    pub fn get(&self, number: u32) -> Option<&Certificate> {
        self.of.get(&number)
    }

    /// Puts a certificate, or none, in the place of the one before; whether it is another.
    pub fn set(&mut self, number: u32, certificate: Option<&Certificate>) -> bool {
        if self.get(number) == certificate {
            return false;
        }
        let before = match certificate {
            Some(certificate) => {
                self.octets += certificate.der().len();
                self.of.insert(number, certificate.clone())
            }
            None => self.of.remove(&number),
        };
        self.octets -= before.map_or(0, |before| before.der().len());
        true
    }
}

/// The certificate that a request asks to be told with, which must be its author's; `None`: it asks for no encryption.
pub(super) fn wanted(directive: &Directive, content: &[u8], author: &Mailbox) -> Result<Option<Certificate>, Refusal> {
    match directive {
        Directive::Subscribe { event: Event::Presence, .. } | Directive::Fetch { event: Event::Presence, .. } => {}
        _ => return Ok(None),
    }
    let Some((_, octets)) = letter::octets_of(content).filter(|(media, _)| media == CERTIFICATE) else {
        return Ok(None);
    };
    let unfit = |why: &dyn std::fmt::Display| {
        let text = format!("the certificate to encrypt to cannot be used: {why}; send another, or none");
        refuse(554, (5, 6, 0), text)
    };
    if octets.len() > limits::READER_OCTETS {
        return Err(unfit(&format_args!("it has more than {} octets", limits::READER_OCTETS)));
    }
    let certificate = Certificate::from_der(&octets).map_err(|fault| unfit(&fault))?;
    if !names_of(&certificate).is_ok_and(|names| names.names(author)) {
        return Err(unfit(&format_args!("it does not name {author}")));
    }
    // Now, and not when there is something to tell.
    encrypt(b"", std::slice::from_ref(&certificate), &EncryptOptions::default()).map_err(|fault| unfit(&fault))?;
    Ok(Some(certificate))
}

impl Engine {
    /// Whether there is room for the certificate of a request; the one that is there already takes no more.
    pub(super) fn takes_reader(&self, request: &Request<'_>, presentity: &Mailbox) -> Result<(), Refusal> {
        let Some(certificate) = request.reader else { return Ok(()) };
        let names = &self.tables.names;
        let known =
            names.find(presentity).zip(names.find(&request.author.mailbox)).and_then(|(presentity, watcher)| {
                let told = self.tables.subscription(presentity, watcher, request.author.proven);
                let told = told.and_then(|number| self.readers.get(number));
                told.or_else(|| self.own_readers.get(self.tables.watch(watcher, presentity)?))
            });
        let all = self.readers.octets + self.own_readers.octets;
        if known != Some(certificate) && all + certificate.der().len() > limits::READERS_OCTETS {
            return Err(refuse(452, (4, 5, 3), "no more views can be encrypted; ask without, or try again later"));
        }
        Ok(())
    }

    /// From now on what a subscription is told is encrypted so.
    pub(super) fn set_reader(&mut self, number: u32, certificate: Option<&Certificate>) {
        if self.readers.set(number, certificate) {
            self.write_reader(number);
        }
    }

    /// The row of what a subscription is encrypted to, as it is now; none outlasts a fetch.
    fn write_reader(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get(number).filter(|one| !one.marks.has(Marks::FETCH)) else {
            return;
        };
        let names = &self.tables.names;
        if let (Some(presentity), Some(watcher)) = (names.get(one.presentity), names.get(one.watcher)) {
            let proven = one.marks.has(Marks::PROVEN);
            let row = row::reader(presentity, (watcher, proven), self.readers.get(number));
            self.write(row);
        }
    }

    /// Another certificate for the views of a watch; whether it is another.
    pub(super) fn set_own_reader(&mut self, number: u32, certificate: Option<&Certificate>) -> bool {
        let other = self.own_readers.set(number, certificate);
        let Some(one) = self.tables.watches.get(number).filter(|_| other) else { return other };
        let names = &self.tables.names;
        if let (Some(watcher), Some(presentity)) = (names.get(one.watcher), names.get(one.presentity)) {
            let row = row::own_reader(watcher, presentity, certificate);
            self.write(row);
        }
        other
    }

    /// Takes the row of a certificate, when all subscriptions are there; one of none goes.
    pub(super) fn restore_reader(&mut self, row: row::ReaderRow) {
        let row::ReaderRow { own, presentity, watcher, proven, certificate } = row;
        let names = &self.tables.names;
        let pair = names.find(&presentity).zip(names.find(&watcher));
        let number = pair.and_then(|(presentity, watcher)| match own {
            true => self.tables.watch(watcher, presentity),
            false => self.tables.subscription(presentity, watcher, proven),
        });
        match (number, own) {
            (Some(number), true) => _ = self.own_readers.set(number, Some(&certificate)),
            (Some(number), false) => _ = self.readers.set(number, Some(&certificate)),
            (None, true) => self.write(row::own_reader(&watcher, &presentity, None)),
            (None, false) => self.write(row::reader(&presentity, (&watcher, proven), None)),
        }
    }
}
