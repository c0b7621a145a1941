//! The client's side of an SMTP session, without I/O.
//!
//! In: the hop's octets, transactions, the time. Out: octets for the hop, and an [`Event`] for whatever the driver has to
//! know. A session starts with the hop's greeting; once [`Event::Ready`] has come it takes transactions
//! ([`Session::submit`]) while [`Session::wants`] says so, and gives back one [`Fate`] for each recipient of each.
//!
//! Where the hop shows IMPP, CHUNKING and PIPELINING, each transaction is one group of commands and many are in flight
//! (the exception of our protocol to RFC 3030 §2 and RFC 2920 §3.1). Elsewhere the order is that of RFC 2920 §3.1 and
//! RFC 3030 §2: the next transaction's commands go out with the end of the entity before it.
//!
//! Invariant: replies are matched with commands in order; what is unanswered when the session ends is told apart by
//! whether its entity had left completely (RFC 1047). With a mail store it speaks LMTP (RFC 2033), where each recipient has
//! a reply of its own to the entity. Fails ([`Fault`]) when the hop refuses the session, breaks the
//! protocol, or does not answer in time (RFC 5321 §4.5.3.2); time is a value, the driver watches [`Session::deadline`].

mod fitness;
mod flight;
mod login;
mod reply;
#[cfg(test)]
mod tests;
mod wire;
mod words;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};

use crate::address::Domain;
use crate::sasl::{self, Mechanism};
use crate::smtp::extension::{Extension, Extensions};
use crate::timestamp::Timestamp;

use fitness::Hop;
use flight::{Carrier, Flight, Step};
pub use login::Login;
use reply::{Raw, Reader};
pub use words::{Event, Fate, Fault, Options, Protection, StartTls, Timeouts, Transaction};

/// Recipients of one transaction where the hop does not show LIMITS (RFC 5321 §4.5.3.1.8).
const RECIPIENTS_WITHOUT_LIMITS: usize = 100;
/// Octets of output beyond which nothing is added to it.
const OUTPUT_OCTETS: usize = 128 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Upgrading,
    Login,
    Attach,
    Ready,
    Quitting,
    Over,
}

/// The order of commands that the hop allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One command at a time.
    Lockstep,
    /// RFC 2920.
    Pipelined,
    /// Many transactions in flight.
    Impp,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    options: Arc<Options>,
    state: State,
    protection: Protection,
    offer: Extensions,
    /// Those of AUTH that the hop shows.
    mechanisms: Vec<Mechanism>,
    /// The exchange of AUTH that is under way.
    exchange: Option<Box<sasl::Client>>,
    authenticated: bool,
    most_transactions: usize,
    /// The domains of this session's recipients, where the hop limits them.
    domains: Vec<Domain>,
    /// No further domain is allowed, and one was needed.
    full: bool,
    mode: Mode,
    flights: VecDeque<Flight>,
    /// The flight whose steps are being written; those before it are written completely.
    cursor: usize,
    /// Whether the last flight that was taken off the front left the hop without a transaction.
    clean: bool,
    opened: usize,
    output: BytesMut,
    /// NOOP has been said and is not answered.
    noop: bool,
    /// Octets that have left the output.
    written: u64,
    reader: Reader,
    progress: Instant,
    events: VecDeque<Event>,
    fault: Option<Fault>,
}

impl Session {
    /// A session on a new connection; nothing is written before the hop's greeting.
    pub fn new(options: Arc<Options>, protection: Protection, now: Instant) -> Self {
        Session {
            options,
            state: State::Greeting,
            protection,
            offer: Extensions::default(),
            mechanisms: Vec::new(),
            exchange: None,
            authenticated: false,
            most_transactions: usize::MAX,
            domains: Vec::new(),
            full: false,
            mode: Mode::Lockstep,
            flights: VecDeque::new(),
            cursor: 0,
            clean: true,
            opened: 0,
            output: BytesMut::new(),
            noop: false,
            written: 0,
            reader: Reader::default(),
            progress: now,
            events: VecDeque::new(),
            fault: None,
        }
    }

    /// What the hop shows; nothing before EHLO is answered.
    pub fn offer(&self) -> &Extensions {
        &self.offer
    }

    /// How the connection is protected.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Whether the hop has proven itself and keeps REQUIRETLS (RFC 8689 §4.2.1).
    pub fn keeps_tls(&self) -> bool {
        self.protection == Protection::Proven && self.offer.has(Extension::RequireTls)
    }

    /// Whether [`Session::poll`] has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The handshake that [`Event::StartTls`] asked for is done; the session begins anew with EHLO (RFC 3207 §4.2).
    pub fn tls_started(&mut self, protection: Protection, now: Instant) {
        if self.state == State::Upgrading {
            self.protection = protection;
            self.progress = now;
            self.hello(self.verb(), State::Ehlo);
        }
    }

    /// Whether another transaction is wanted: submit it, and ask again.
    pub fn wants(&self) -> bool {
        self.room() > 0
    }

    /// Transactions that may be in flight at a time.
    pub fn depth(&self) -> usize {
        match self.mode {
            Mode::Lockstep => 1,
            Mode::Pipelined => 2,
            Mode::Impp => self.options.window.max(1),
        }
    }

    /// How many more transactions are wanted; fewer once the output has grown.
    pub fn room(&self) -> usize {
        let open = self.state == State::Ready && !self.is_exhausted() && self.output.len() < OUTPUT_OCTETS;
        if open { self.depth().saturating_sub(self.flights.len()) } else { 0 }
    }

    /// Whether QUIT has been said and its answer is awaited.
    pub fn is_quitting(&self) -> bool {
        self.state == State::Quitting
    }

    /// Why the session ended, if it has failed.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Whether the hop takes no more transactions in this session (RFC 9422 §4.1, §4.3).
    pub fn is_exhausted(&self) -> bool {
        let unopened = self.flights.iter().rev().take_while(|flight| !flight.has_begun()).count();
        self.full || self.opened + unopened >= self.most_transactions
    }

    /// Whether nothing is in flight and nothing is to be written.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.output.is_empty() && self.state == State::Ready && !self.noop
    }

    /// Takes a transaction. `wall` is the time of day, for what is left of DELIVERBY. What this hop cannot carry comes
    /// back at once as [`Fate::Unfit`].
    pub fn submit(&mut self, mut message: Transaction, wall: Timestamp, now: Instant) {
        let by = message.envelope.deliver_by.map(|by| (by.at.millis().saturating_sub(wall.millis())).div_euclid(1000));
        self.limit_domains(&mut message);
        if message.recipients.is_empty() {
            return;
        }
        let hop = Hop { extensions: &self.offer, protection: self.protection };
        let parameters = match hop.fit(&message, by) {
            Ok(parameters) => parameters,
            Err(unfit) => {
                let fate = Fate::Unfit { status: unfit.status, reason: unfit.reason };
                let fates = message.recipients.into_iter().map(|index| (index, fate.clone())).collect();
                self.events.push_back(Event::Done { token: message.token, fates });
                return;
            }
        };
        let carrier = if self.offer.has(Extension::Chunking) { Carrier::Bdat } else { Carrier::Data };
        if self.output.is_empty() && self.flights.is_empty() {
            self.progress = now;
        }
        let most = self.offer.limits.rcpt_max.map_or(RECIPIENTS_WITHOUT_LIMITS, |most| most as usize);
        while message.recipients.len() > most {
            let rest = message.recipients.split_off(most);
            let part = Transaction { recipients: std::mem::replace(&mut message.recipients, rest), ..message.clone() };
            self.flights.push_back(Flight::new(part, parameters, carrier, self.options.lmtp));
        }
        self.flights.push_back(Flight::new(message, parameters, carrier, self.options.lmtp));
        self.pump(now);
    }

    /// Takes out the recipients whose domains would be more than this session may have (RFC 9422 §4.3).
    fn limit_domains(&mut self, message: &mut Transaction) {
        let Some(most) = self.offer.limits.rcpt_domain_max else { return };
        let mut over = Vec::new();
        message.recipients.retain(|index| {
            let domain = message.envelope.recipients[*index].address.domain();
            if self.domains.contains(domain) {
                return true;
            }
            if self.domains.len() >= most as usize {
                over.push((*index, Fate::Lost { uncertain: false }));
                return false;
            }
            self.domains.push(domain.clone());
            true
        });
        if !over.is_empty() {
            self.full = true;
            self.events.push_back(Event::Done { token: message.token, fates: over });
        }
    }

    /// What is to be written now.
    pub fn output(&mut self, now: Instant) -> &[u8] {
        self.pump(now);
        &self.output
    }

    /// So many octets of the output have been written.
    pub fn wrote(&mut self, octets: usize, now: Instant) {
        self.output.advance(octets);
        self.written += octets as u64;
        if octets > 0 {
            self.progress = now;
        }
    }

    /// Ends the session by QUIT; only when it is idle.
    pub fn quit(&mut self, now: Instant) {
        if self.is_idle() {
            self.progress = now;
            self.output.extend_from_slice(b"QUIT\r\n");
            self.state = State::Quitting;
        }
    }

    /// Asks for a sign of life (RFC 5321 §4.1.1.9); only when the session is idle. Whatever is answered is one.
    pub fn noop(&mut self, now: Instant) {
        if self.is_idle() {
            self.progress = now;
            self.output.extend_from_slice(b"NOOP\r\n");
            self.noop = true;
        }
    }

    /// Since when nothing has come and nothing has gone.
    pub fn quiet_since(&self) -> Instant {
        self.progress
    }

    /// Gives back the memory that an idle session does not need.
    pub fn rest(&mut self) {
        if self.is_idle() {
            (self.flights, self.output) = (VecDeque::new(), BytesMut::new());
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
    }

    /// The connection is gone, or the driver gives it up: everything in flight is told, then [`Event::Over`].
    pub fn lost(&mut self, fault: Fault) {
        if self.state != State::Over {
            self.end(Some(fault));
        }
    }

    /// By when something has to happen; `None` while nothing is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        let timeouts = &self.options.timeouts;
        let patience = match self.state {
            State::Greeting => timeouts.greeting,
            State::Ehlo | State::Helo | State::StartTls | State::Login | State::Attach => timeouts.command,
            State::Quitting => timeouts.quit,
            State::Upgrading | State::Over => return None,
            State::Ready if self.noop => timeouts.noop,
            State::Ready => match self.flights.front().and_then(Flight::awaited) {
                Some(Step::Rset | Step::Mail | Step::Rcpt(_)) => timeouts.command,
                Some(Step::Data) => timeouts.data,
                Some(Step::Chunk | Step::End) => timeouts.end,
                None if !self.output.is_empty() => timeouts.block,
                None => return None,
            },
        };
        let whole = self.flights.front().and_then(|flight| flight.started).map(|at| at + timeouts.transaction);
        let step = self.progress + patience;
        Some(whole.map_or(step, |whole| step.min(whole)))
    }

    /// The deadline has passed: as [`Session::lost`], naming what was awaited.
    pub fn timed_out(&mut self) {
        self.lost(Fault::TimedOut(self.awaiting()));
    }

    fn awaiting(&self) -> &'static str {
        match self.state {
            State::Greeting => "waiting for its greeting",
            State::Ehlo | State::Helo => "waiting for its answer to EHLO",
            State::StartTls | State::Upgrading => "starting TLS",
            State::Login => "waiting for its answer to AUTH",
            State::Attach => "waiting for its answer to ATRN",
            State::Quitting | State::Over => "waiting for its answer to QUIT",
            State::Ready if self.noop => "waiting for its answer to NOOP",
            State::Ready => match self.flights.front().and_then(Flight::awaited) {
                Some(Step::Rset) => "waiting for its answer to RSET",
                Some(Step::Mail) => "waiting for its answer to MAIL FROM",
                Some(Step::Rcpt(_)) => "waiting for its answer to RCPT TO",
                Some(Step::Data) => "waiting for its answer to DATA",
                Some(Step::Chunk | Step::End) => "waiting for its answer to the message",
                None => "sending the message",
            },
        }
    }

    /// Takes what has come from the hop; what is not a complete reply stays.
    pub fn input(&mut self, input: &mut BytesMut, now: Instant) {
        while self.state != State::Over && !input.is_empty() {
            let (code, end) = match self.reader.next(input) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(reason) => return self.end(Some(Fault::Protocol(reason))),
            };
            self.progress = now;
            if let Err(fault) = self.reply(Raw::new(code, &input[..end])) {
                return self.end(Some(fault));
            }
            input.advance(end);
            if self.state == State::Upgrading && !input.is_empty() {
                // Octets after the reply would be taken for octets under TLS (RFC 3207 §6).
                return self.end(Some(Fault::Protocol("text in the clear after the answer to STARTTLS")));
            }
        }
    }

    fn reply(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        let positive = raw.code / 100 == 2;
        match self.state {
            State::Quitting => {
                self.end(None);
                return Ok(());
            }
            _ if raw.code == 421 => {
                // Replies come in order: nothing from the command that it answers on was taken (RFC 5321 §3.8).
                self.flights.iter_mut().for_each(Flight::was_not_taken);
                return Err(Fault::Refused(raw.to_reply()));
            }
            State::Greeting if positive => self.hello(self.verb(), State::Ehlo),
            State::Ehlo if positive => self.take_offer(raw),
            State::Ehlo if raw.code >= 500 && self.options.helo_fallback && !self.options.lmtp => {
                self.hello("HELO", State::Helo)
            }
            State::Helo if positive => self.ready(),
            State::Greeting | State::Ehlo | State::Helo => return Err(Fault::Refused(raw.to_reply())),
            State::StartTls if positive => {
                self.state = State::Upgrading;
                self.events.push_back(Event::StartTls);
            }
            State::StartTls if self.options.starttls == StartTls::Must => return Err(Fault::NoStartTls),
            State::StartTls => self.ready(),
            State::Login => return self.login_reply(raw),
            State::Attach => return self.attach_reply(raw),
            State::Ready => return self.transaction_reply(raw),
            State::Upgrading | State::Over => return Err(Fault::Protocol("a reply to no command")),
        }
        Ok(())
    }

    /// RFC 2033 §4.1.
    fn verb(&self) -> &'static str {
        if self.options.lmtp { "LHLO" } else { "EHLO" }
    }

    fn hello(&mut self, verb: &str, state: State) {
        // Writing into a growing buffer does not fail.
        let _ = write!(self.output, "{verb} {}\r\n", self.options.helo);
        self.state = state;
    }

    fn take_offer(&mut self, raw: Raw<'_>) {
        let reply = raw.to_reply();
        self.offer = Extensions::parse(&reply);
        self.mechanisms = login::mechanisms(&reply);
        self.most_transactions = self.offer.limits.mail_max.map_or(usize::MAX, |most| most as usize);
        let wanted = self.options.starttls != StartTls::Never && self.protection == Protection::Clear;
        if wanted && self.offer.has(Extension::StartTls) {
            self.output.extend_from_slice(b"STARTTLS\r\n");
            self.state = State::StartTls;
        } else if wanted && self.options.starttls == StartTls::Must {
            self.end(Some(Fault::NoStartTls));
        } else {
            self.ready();
        }
    }

    fn ready(&mut self) {
        if self.begins_login() {
            return;
        }
        let pipelining = self.offer.has(Extension::Pipelining);
        let impp = self.offer.has(Extension::Impp) && self.offer.has(Extension::Chunking);
        self.mode = match (impp, pipelining) {
            (true, true) => Mode::Impp,
            (false, true) => Mode::Pipelined,
            (_, false) => Mode::Lockstep,
        };
        self.state = State::Ready;
        self.events.push_back(Event::Ready);
    }

    fn transaction_reply(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        if std::mem::take(&mut self.noop) {
            return Ok(());
        }
        let Some(front) = self.flights.front_mut() else { return Err(Fault::Protocol("a reply to no command")) };
        front.reply(raw)?;
        if front.is_over() {
            self.finish_front();
            // Where the front was the last that MAILMAX allows, what was split off from it has nowhere to go.
            if self.cursor == 0 && self.at_last_transaction() {
                while !self.flights.is_empty() {
                    self.finish_front();
                }
            }
        }
        Ok(())
    }

    fn at_last_transaction(&self) -> bool {
        self.opened >= self.most_transactions && self.flights.front().is_some_and(|flight| !flight.has_begun())
    }

    fn finish_front(&mut self) {
        let Some(flight) = self.flights.pop_front() else { return };
        self.cursor = self.cursor.saturating_sub(1);
        if flight.has_begun() {
            self.clean = flight.leaves_clean();
        }
        let (token, fates) = flight.conclude(self.written);
        self.events.push_back(Event::Done { token, fates });
    }

    fn end(&mut self, fault: Option<Fault>) {
        while !self.flights.is_empty() {
            self.finish_front();
        }
        self.output.clear();
        self.state = State::Over;
        self.fault.clone_from(&fault);
        self.events.push_back(Event::Over(fault));
    }

    /// Writes what may be written now.
    fn pump(&mut self, now: Instant) {
        // NOOP is the last of its group (RFC 2920 §3.1), but for hops that show IMPP.
        while self.state == State::Ready && self.output.len() < OUTPUT_OCTETS && !(self.noop && self.mode != Mode::Impp)
        {
            let before_clean = match self.cursor.checked_sub(1) {
                Some(before) => self.flights[before].leaves_clean(),
                None => self.clean,
            };
            let exhausted = self.opened >= self.most_transactions;
            let Some(flight) = self.flights.get_mut(self.cursor) else { return };
            if !flight.has_begun() {
                if exhausted {
                    return;
                }
                flight.open(self.mode == Mode::Impp || !before_clean, now);
            }
            let Some(step) = flight.next_step() else {
                self.cursor += 1;
                continue;
            };
            if !may_write(self.mode, flight, step, self.cursor == 0) {
                return;
            }
            if !flight.has_begun() {
                self.opened += 1;
            }
            flight.write(&mut self.output, self.written);
        }
    }
}

/// Whether the mode allows the step now. All flights before this one have been written completely.
fn may_write(mode: Mode, flight: &Flight, step: Step, is_front: bool) -> bool {
    match (mode, step) {
        (Mode::Impp, _) => true,
        (Mode::Lockstep, step) => is_front && flight.is_answered() && (step != Step::End || flight.may_send_entity()),
        (Mode::Pipelined, Step::Chunk | Step::End) => flight.may_send_entity(),
        (Mode::Pipelined, _) => true,
    }
}
