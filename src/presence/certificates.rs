//! The event `certificate`, as the engine tells it: to devices here, to watchers elsewhere.
//!
//! In: a certificate that was issued or asked for, or that there is none to be told. Out: entities whose body is
//! `application/pkix-cert`, one certificate in DER. Invariant: an answer goes to who asked, with the identifier of the
//! question; it is not written down: who does not get it asks again. RFC 2585 §4.1, RFC 6072 §6.4 in their sense.

use super::due::{self, Flight, Outgoing};
use super::engine::{Engine, Facts};
use super::feeds::Item;
use super::letter::{CERTIFICATE, Letter, Written};
use super::tables::{Marks, Subscription};
use super::{Author, Reason, Refusal, State};
use crate::address::Mailbox;
use crate::mime::presence::{Event, SubscriptionId};

/// What is told of somebody's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It, in DER.
    Certificate(Vec<u8>),
    /// There is none.
    None,
    /// Who asks may not know.
    Rejected,
}

impl Told {
    fn state(&self) -> State {
        match self {
            Told::Certificate(_) => State::Active,
            Told::None => State::Terminated(Some(Reason::Noresource)),
            Told::Rejected => State::Terminated(Some(Reason::Rejected)),
        }
    }
}

impl Engine {
    /// A certificate that was issued, for the devices of who has asked for it.
    pub fn show_issued(&mut self, facts: &Facts<'_>, owner: &Mailbox, certificate: Vec<u8>) {
        let name = self.hold(owner, facts);
        let written = self.written(facts, (owner, owner), None, &Told::Certificate(certificate));
        self.answer(facts, name, Item::Written(owner.clone(), written.into()));
        self.tables.names.release(name);
    }

    /// The answer to who has fetched it.
    pub fn tell_certificate(
        &mut self,
        facts: &Facts<'_>,
        presentity: &Mailbox,
        author: &Author,
        id: SubscriptionId,
        told: Told,
    ) -> Result<(), Refusal> {
        let watcher = self.hold(&author.mailbox, facts);
        let result = if author.client {
            let written = self.written(facts, (presentity, &author.mailbox), Some(id), &told);
            self.answer(facts, watcher, Item::Written(presentity.clone(), written.into()));
            Ok(())
        } else {
            let name = self.hold(presentity, facts);
            let number = self.answer_once(facts, (name, watcher), (id, author.marks()), told.state());
            self.tables.names.release(name);
            number.map(|number| _ = self.enclosed.insert(number, told))
        };
        self.tables.names.release(watcher);
        result
    }

    /// A client here asks for a certificate of somebody elsewhere.
    pub fn fetch_certificate(
        &mut self,
        facts: &Facts<'_>,
        watcher: &Mailbox,
        presentity: &Mailbox,
        id: SubscriptionId,
    ) -> Result<(), Refusal> {
        let (watcher, presentity) = (self.hold(watcher, facts), self.hold(presentity, facts));
        let result = self.fetch_elsewhere(facts, (watcher, presentity), (id, Event::Certificate), None);
        self.tables.names.release(watcher);
        self.tables.names.release(presentity);
        result
    }

    /// The answer that is due at another domain, if it is one of these.
    pub(super) fn enclosed_answer(&mut self, facts: &Facts<'_>, number: u32, one: &Subscription) -> Option<Outgoing> {
        let told = self.enclosed.get(&number)?.clone();
        let (sender, watcher) =
            (self.tables.names.get(one.presentity)?.clone(), self.tables.names.get(one.watcher)?.clone());
        let written = self.written(facts, (&sender, &watcher), Some(one.id), &told);
        let one = self.tables.subscriptions.get_mut(number)?;
        one.marks.set(Marks::ANSWER, false);
        one.marks.set(Marks::FLYING, true);
        let flight =
            Flight::Told { subscriptions: vec![number], seq: facts.now.millis(), view: 0, own: Some(told.state()) };
        Some(self.fly(flight, sender, vec![watcher], written, facts))
    }

    fn written(
        &mut self,
        facts: &Facts<'_>,
        (from, to): (&Mailbox, &Mailbox),
        id: Option<SubscriptionId>,
        told: &Told,
    ) -> Written {
        let directive = due::notify(id, facts.now.millis(), told.state(), Some(0)).about(Event::Certificate);
        let entropy = self.random();
        let letter =
            Letter { from, to: Some(to), directive: &directive, now: facts.now, entropy, body: None, signed: &[] };
        match told {
            Told::Certificate(octets) => letter.write_octets(CERTIFICATE, octets),
            Told::None | Told::Rejected => letter.write(),
        }
    }
}
