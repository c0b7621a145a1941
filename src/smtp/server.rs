//! The session of an ESMTP server, without I/O.
//!
//! In: octets ([`Session::input`]), answers to events ([`Session::answer`]), the outcome of transactions
//! ([`Session::complete`], later and in any order). Out: events ([`Session::poll`]) and octets ([`Session::output`]).
//! The driver's loop is: input; poll and answer until there is no event; write the output; again. After the output was
//! written, and after a transaction was completed, poll again: the session may have stopped for either.
//!
//! Invariants: replies come in the order of the commands; the octets that BDAT announces are always taken, also after a
//! refusal; what is in an entity is never taken for a command; memory is bounded by [`Options`], [`OUTPUT_OCTETS`] and what
//! the driver reads at once. How the octets are cut into reads changes nothing.
//! Faults of the peer are replies; too many of them end the session (`421`).
//! RFC 5321 §4, RFC 2033 §4, RFC 2920 §3.2, RFC 3030 §2, RFC 3207 §4.2, RFC 4954 §4, RFC 2645 §5.

mod identify;
mod obey;
mod replies;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::address::{Domain, EhloName, Mailbox};
use crate::limits;
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{self, Atrn, CommandError, Context, Mail, Rcpt, States, Verb};
use crate::smtp::extension::{Extension, Services, Set};
use crate::smtp::framing::{Body, Chunk, Dots, Line, Lines};
use replies::Replies;
pub use replies::Ticket;

/// Octets of output above which no further command is read until the driver has written.
pub const OUTPUT_OCTETS: usize = 64 * 1024;

/// What the listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Servers of other domains.
    Relay,
    /// The mail system of this host.
    Mail,
    /// People's clients: they authenticate, submit, and attach.
    Client,
    /// On-demand mail relay (RFC 2645): clients authenticate and attach, nothing else.
    Odmr,
    /// A person's device, to which a server delivers over a connection whose roles were reversed.
    Device,
}

/// What a session offers, and its bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name in the greeting and in the reply to EHLO.
    pub greeting_name: Domain,
    /// What the listener is for; the greeting of a relay says IMPP.
    pub service: Service,
    /// Whether STARTTLS is offered while TLS is not active.
    pub starttls: bool,
    /// The services that IMPP offers, never presence to [`Service::Mail`]; none: IMPP is not offered.
    pub impp: Services,
    /// With IMPP: after how many idle seconds the client is asked to give a sign of life; of a [`Service::Device`].
    pub impp_noop: Option<u16>,
    /// Whether REQUIRETLS is offered while TLS is active.
    pub require_tls: bool,
    /// Octets of the largest entity.
    pub size: u64,
    /// Recipients of a transaction.
    pub recipients: usize,
    /// Transactions that may wait for their reply; at least one may.
    pub in_flight: usize,
    /// The least by-time with mode R; whole seconds, rounded up.
    pub deliver_by_min: Duration,
    /// Who `<Postmaster>` without a domain is; the driver is asked about the path itself where there is nobody.
    pub postmaster: Option<Mailbox>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// EHLO, HELO or LHLO; the session has replied.
    Hello {
        /// The name that the client claims.
        name: EhloName,
        /// EHLO or LHLO.
        esmtp: bool,
        /// LHLO.
        lmtp: bool,
    },
    /// The client begins TLS: write the output, drop every octet read before, do the handshake, then call
    /// [`Session::tls_started`].
    StartTls,
    /// To be answered.
    Mail(Mail),
    /// To be answered.
    Rcpt(Rcpt),
    /// A whole transaction, to be completed.
    Entity(Transaction),
    /// The client begins to say who it is; to be answered, with [`Session::challenge`] or [`Session::answer`], where a
    /// positive reply tells it that it has succeeded.
    Auth {
        /// One of those that were offered.
        mechanism: &'static str,
        /// Its first response, if it sent one.
        initial: Option<Vec<u8>>,
    },
    /// The response to a challenge; to be answered like [`Event::Auth`].
    AuthResponse(Vec<u8>),
    /// The client wants the roles reversed; to be answered. After a positive answer [`Event::Turn`] follows.
    Atrn(Atrn),
    /// Write the output: after it the connection belongs to whoever speaks next; this session is over.
    Turn,
    /// Write the output and close the connection. Comes once, when no transaction is in flight.
    Close,
}

/// A transaction.
#[derive(Debug)]
pub struct Transaction {
    /// Names it to [`Session::complete`].
    pub ticket: Ticket,
    /// MAIL as it was accepted.
    pub mail: Mail,
    /// The recipients that were accepted; at least one, with LMTP one.
    pub rcpts: Vec<Rcpt>,
    /// The entity. Lines end with CRLF, with no bare CR or LF, unless it is BINARYMIME.
    pub entity: Bytes,
    /// It came by DATA.
    pub by_data: bool,
    /// By LMTP.
    pub lmtp: bool,
}

/// Where the session is in the order of commands (RFC 5321 §4.1.4).
#[derive(Debug)]
enum State {
    Start,
    Ready,
    Open(Open),
    Failed,
    Refused,
}

/// A transaction under way.
#[derive(Debug)]
struct Open {
    mail: Mail,
    rcpts: Vec<Rcpt>,
    body: Body,
    chunked: bool,
}

impl State {
    fn states(&self) -> States {
        match self {
            State::Start => States::START,
            State::Ready => States::READY,
            State::Open(open) if open.chunked => States::CHUNKS,
            State::Open(open) if open.rcpts.is_empty() => States::SENDER,
            State::Open(_) => States::RECIPIENTS,
            State::Failed => States::FAILED,
            State::Refused => States::REFUSED,
        }
    }
}

/// What the next octets are.
#[derive(Debug)]
enum Reading {
    Commands,
    Data(Dots),
    /// A chunk, and the reply with which it is refused.
    Chunk(Chunk, Option<Reply>),
    /// A line of an AUTH exchange.
    Response,
}

/// An entity for those who have one reply to it.
#[derive(Debug)]
struct Split {
    mail: Mail,
    rcpts: Vec<Rcpt>,
    entity: Bytes,
    by_data: bool,
}

/// Which answer is outstanding.
#[derive(Debug)]
enum Awaiting {
    Nothing,
    Mail(Mail),
    Rcpt(Rcpt),
    Auth,
    Atrn,
}

/// Whether the octets that come are still ours to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Open,
    /// STARTTLS was accepted; the event comes when the replies are out.
    StartingTls,
    Handshake,
    /// ATRN was accepted; the event comes when the replies are out.
    Turning,
    Turned,
    /// The event comes when the replies are out.
    Closing,
    Closed,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    options: Arc<Options>,
    tls_active: bool,
    /// Names of what AUTH may use.
    mechanisms: Vec<&'static str>,
    authenticated: bool,
    offered: Set,
    /// The client has said LHLO.
    lmtp: bool,
    /// The same entity for one recipient each, still to be told.
    split: VecDeque<Split>,
    state: State,
    reading: Reading,
    awaiting: Awaiting,
    course: Course,
    inbox: BytesMut,
    lines: Lines,
    replies: Replies,
    bad_commands: usize,
}

impl Session {
    /// A session whose greeting is the first output.
    pub fn new(options: Arc<Options>, tls_active: bool) -> Session {
        let service = match options.service {
            Service::Relay | Service::Client | Service::Device => "ESMTP IMPP",
            Service::Mail => "ESMTP",
            Service::Odmr => "ESMTP on-demand mail relay",
        };
        let greeting = Reply::bare(220, format!("{} {service}", options.greeting_name));
        Session::with_greeting(options, tls_active, State::Start, &greeting)
    }

    /// A session that says why it is none (RFC 5321 §3.1) and takes nothing but QUIT; after `421` not even that.
    pub fn refused(options: Arc<Options>, reply: &Reply) -> Session {
        let mut session = Session::with_greeting(options, false, State::Refused, reply);
        session.close_after(reply.code());
        session
    }

    fn with_greeting(options: Arc<Options>, tls_active: bool, state: State, greeting: &Reply) -> Session {
        let mut replies = Replies::default();
        replies.say(greeting);
        Session {
            options,
            tls_active,
            mechanisms: Vec::new(),
            authenticated: false,
            offered: Set::EMPTY,
            lmtp: false,
            split: VecDeque::new(),
            state,
            reading: Reading::Commands,
            awaiting: Awaiting::Nothing,
            course: Course::Open,
            inbox: BytesMut::new(),
            lines: Lines::default(),
            replies,
            bad_commands: 0,
        }
    }

    /// Takes what was read; `octets` is empty afterwards and keeps its spare capacity. Octets that follow STARTTLS in the
    /// clear (RFC 3207 §4.2: an injection), or QUIT, are dropped.
    pub fn input(&mut self, octets: &mut BytesMut) {
        let octets = octets.split();
        if self.course == Course::Open {
            // No copy when they lie behind what is there.
            self.inbox.unsplit(octets);
        }
    }

    /// The next event. `None`: an answer is outstanding, or more input, a completion or the writing of the output is needed.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            match self.course {
                Course::Open if self.is_blocked() => return None,
                Course::Open => {}
                Course::StartingTls if self.replies.waiting() == 0 => {
                    self.course = Course::Handshake;
                    return Some(Event::StartTls);
                }
                Course::Turning if self.replies.waiting() == 0 => {
                    self.course = Course::Turned;
                    return Some(Event::Turn);
                }
                Course::Closing if self.replies.waiting() == 0 => {
                    self.course = Course::Closed;
                    return Some(Event::Close);
                }
                _ => return None,
            }
            if let Some(split) = self.split.pop_front() {
                return Some(self.entity(split));
            }
            let progress = match &self.reading {
                Reading::Commands | Reading::Response => self.read_line(),
                Reading::Data(_) => self.read_data(),
                Reading::Chunk(..) => self.read_chunk(),
            };
            match progress {
                Progress::Event(event) => return Some(event),
                Progress::Again => {}
                Progress::NeedsInput => {
                    if self.inbox.is_empty() {
                        // Lets go of the block that the driver read.
                        self.inbox = BytesMut::new();
                    }
                    return None;
                }
            }
        }
    }

    fn is_blocked(&self) -> bool {
        !matches!(self.awaiting, Awaiting::Nothing)
            || self.replies.waiting() >= self.options.in_flight.max(1)
            || self.replies.octets() >= OUTPUT_OCTETS
    }

    /// Answers the last event that is to be answered; a positive reply accepts it. `421` ends the session. Without an
    /// outstanding event it does nothing.
    pub fn answer(&mut self, reply: Reply) {
        match std::mem::replace(&mut self.awaiting, Awaiting::Nothing) {
            Awaiting::Nothing => return,
            Awaiting::Mail(mail) if reply.is_positive() => {
                let body = Body::new(self.options.size);
                self.state = State::Open(Open { mail, rcpts: Vec::new(), body, chunked: false });
            }
            Awaiting::Rcpt(rcpt) if reply.is_positive() => {
                if let State::Open(open) = &mut self.state {
                    open.rcpts.push(rcpt);
                }
            }
            Awaiting::Mail(_) | Awaiting::Rcpt(_) => {}
            awaited @ (Awaiting::Auth | Awaiting::Atrn) => self.identified(&awaited, reply.is_positive()),
        }
        self.replies.say(&reply);
        self.close_after(reply.code());
    }

    /// The final reply of a transaction. `421` ends the session.
    pub fn complete(&mut self, ticket: Ticket, reply: Reply) {
        let code = reply.code();
        self.replies.complete(ticket, reply);
        self.close_after(code);
    }

    /// Ends the session from our side with `reply`, a `421` (RFC 5321 §3.8): it takes its place after the replies that are
    /// due, a transaction under way is dropped, and [`Event::Close`] follows when none is in flight.
    pub fn close(&mut self, reply: &Reply) {
        if matches!(self.course, Course::Open | Course::StartingTls) {
            self.replies.say(reply);
            self.leave(Course::Closing);
        }
    }

    fn close_after(&mut self, code: u16) {
        if code == 421 && self.course == Course::Open {
            self.leave(Course::Closing);
        }
    }

    /// Stops reading.
    fn leave(&mut self, course: Course) {
        self.course = course;
        self.inbox = BytesMut::new();
        self.reading = Reading::Commands;
        self.awaiting = Awaiting::Nothing;
        if !matches!(self.state, State::Start | State::Refused) {
            self.state = State::Ready;
        }
    }

    /// TLS is active: the session begins anew, and knows nothing of what the client said before (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        if self.course == Course::Handshake {
            self.course = Course::Open;
            self.tls_active = true;
            self.authenticated = false;
            self.offered = Set::EMPTY;
            self.state = State::Start;
            self.lines = Lines::default();
        }
    }

    /// What is to be written; the driver empties it.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.replies.output
    }

    /// Whether nothing is under way: no transaction, no reply to be written, no octet of a command.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Start | State::Ready | State::Refused)
            && matches!(self.reading, Reading::Commands)
            && matches!(self.awaiting, Awaiting::Nothing)
            && self.split.is_empty()
            && self.inbox.is_empty()
            && self.lines.is_clear()
            && self.replies.waiting() == 0
            && self.replies.octets() == 0
    }

    /// Whether octets of an entity are expected, for which the client has longer than for a command.
    pub fn is_receiving(&self) -> bool {
        matches!(self.reading, Reading::Data(_) | Reading::Chunk(..))
    }

    /// Octets that are kept of an entity that is still coming; none of one that is refused or too large.
    pub fn holds(&self) -> u64 {
        match &self.state {
            State::Open(open) if !open.body.is_over() => open.body.total(),
            _ => 0,
        }
    }

    /// Transactions that have not been completed.
    pub fn in_flight(&self) -> usize {
        self.replies.open()
    }

    /// Whether to read more from the client: not while an answer is outstanding, too many transactions are in flight, too
    /// much output is unwritten, or the session ends.
    pub fn wants_input(&self) -> bool {
        self.course == Course::Open && !self.is_blocked()
    }

    /// Whether the session ends: [`Event::Close`] has come or will come without further input.
    pub fn is_closing(&self) -> bool {
        matches!(self.course, Course::Closing | Course::Closed)
    }

    /// Gives back the memory of buffers that are empty, and of the block in which an unfinished command lies; for a
    /// connection on which nothing has come for a while.
    pub fn release_buffers(&mut self) {
        self.replies.release();
        // The copy lets go of the block that the driver read.
        self.inbox = if self.inbox.is_empty() { BytesMut::new() } else { BytesMut::from(&self.inbox[..]) };
    }
}

/// What a step came to.
enum Progress {
    Event(Event),
    Again,
    NeedsInput,
}

impl Session {
    fn read_line(&mut self) -> Progress {
        let responds = matches!(self.reading, Reading::Response);
        let offered = self.offered.contains(Extension::Auth);
        let most = |line: &[u8]| match responds || (offered && command::announces_auth(line)) {
            true => limits::AUTH_LINE_OCTETS,
            false => limits::COMMAND_LINE_OCTETS,
        };
        match self.lines.next(&mut self.inbox, most) {
            Line::Whole(length) if responds => return self.response(length),
            Line::Whole(length) => {
                let line = self.inbox.get(..length).unwrap_or_default();
                let command = self.understand(line);
                self.consume(length);
                match command {
                    Ok(command) => return self.obey(command),
                    Err(refusal) => self.refuse(refusal),
                }
            }
            Line::BareLf => self.refuse_line(CommandError::Control),
            Line::TooLong if most(&self.inbox) > limits::COMMAND_LINE_OCTETS => {
                self.refuse_line(CommandError::AuthLength);
            }
            Line::TooLong => self.refuse_line(CommandError::Length),
            Line::Partial => return Progress::NeedsInput,
        }
        Progress::Again
    }

    /// Takes a line out, with its CRLF.
    fn consume(&mut self, length: usize) {
        self.inbox.advance(length + 2);
    }

    fn refuse_line(&mut self, error: CommandError) {
        if matches!(self.reading, Reading::Response) {
            return self.give_up(error);
        }
        let error = if command::announces_chunk(&self.inbox) { CommandError::ChunkSize } else { error };
        self.refuse(Refusal::Syntax(error));
    }

    /// The command of a line, if it may stand here. BDAT always may: its chunk must be taken.
    fn understand(&self, line: &[u8]) -> Result<command::Command, Refusal> {
        let unreadable = |error| match command::announces_chunk(line) {
            true => Refusal::Syntax(CommandError::ChunkSize),
            false => Refusal::Syntax(error),
        };
        let (entry, argument) = command::find(line).map_err(unreadable)?;
        if entry.verb == Verb::Lhlo && self.options.service != Service::Mail {
            return Err(Refusal::Syntax(CommandError::Unrecognised));
        }
        if entry.argument != command::Argument::Chunk
            && let Some(reply) = self.out_of_order(entry)
        {
            return Err(Refusal::Order(reply));
        }
        let utf8 = matches!(&self.state, State::Open(open) if open.mail.utf8);
        entry.parse(argument, Context { offered: self.offered, utf8 }).map_err(Refusal::Syntax)
    }

    /// Why a command may not stand here.
    fn out_of_order(&self, entry: &command::Entry) -> Option<Reply> {
        const BAD_SEQUENCE: EnhancedCode = EnhancedCode::new(5, 5, 1);
        let state = self.state.states();
        if entry.states.contain(state) {
            if self.options.service == Service::Odmr && entry.verb == Verb::Mail {
                let text = "no messages are taken on this port; submit them on the port for clients";
                return Some(Reply::new(502, BAD_SEQUENCE, text));
            }
            if entry.after_auth && self.options.service.authenticates() && !self.authenticated {
                return Some(Reply::new(530, EnhancedCode::new(5, 7, 0), "authentication required; say AUTH first"));
            }
            if entry.verb == Verb::Auth && self.authenticated {
                return Some(Reply::new(503, BAD_SEQUENCE, "authentication has been done"));
            }
            let hidden = entry.extension.is_some_and(|extension| !self.offered.contains(extension));
            return hidden.then(|| match self.tls_active && entry.verb == Verb::StartTls {
                true => Reply::new(503, BAD_SEQUENCE, "TLS is active"),
                false => Reply::new(502, BAD_SEQUENCE, format!("{} is not offered here", entry.name)),
            });
        }
        let text = match state {
            States::START => "say EHLO first",
            States::READY => "say MAIL first",
            States::FAILED => "a chunk of this transaction was refused; say RSET first",
            States::REFUSED => "this connection was refused; say QUIT",
            _ if matches!(entry.verb, Verb::Mail | Verb::StartTls | Verb::Auth | Verb::Atrn) => {
                "a transaction is open; say RSET first"
            }
            States::SENDER => "there is no recipient; say RCPT first",
            States::CHUNKS => "the entity has begun; send BDAT LAST or RSET",
            _ => "say RSET first",
        };
        Some(Reply::new(503, BAD_SEQUENCE, text))
    }

    fn refuse(&mut self, refusal: Refusal) {
        let error = match refusal {
            Refusal::Order(reply) => return self.replies.say(&reply),
            Refusal::Syntax(error) => error,
        };
        let counts = !matches!(error, CommandError::SenderNeedsUtf8 | CommandError::RecipientNeedsUtf8);
        if !counts {
            return self.replies.say(&error.reply());
        }
        self.misdeed(&error.reply());
        if error == CommandError::ChunkSize {
            self.leave(Course::Closing);
        }
    }

    /// What a client does not do that wants to get on; the last of too many ends the session.
    fn misdeed(&mut self, reply: &Reply) {
        self.bad_commands += 1;
        if self.bad_commands >= limits::BAD_COMMANDS {
            self.close(&Reply::new(421, EnhancedCode::new(4, 7, 0), "too many malformed commands; closing"));
        } else {
            self.replies.say(reply);
        }
    }
}

/// Why a command is not obeyed.
enum Refusal {
    Syntax(CommandError),
    Order(Reply),
}

#[cfg(test)]
mod tests;
