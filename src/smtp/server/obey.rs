//! What each command does to the session, and what becomes of the octets of an entity.

use std::borrow::Cow;

use super::{
    Awaiting, Body, Chunk, Course, Dots, Event, Open, Progress, Reading, Refusal, Service, Session, Split, State,
    Transaction,
};
use crate::address::{EhloName, ForwardPath, ReversePath};
use crate::envelope::{self, ByMode, Class, Notify};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{By, COMMANDS, Command, CommandError, Mail, Marker, Rcpt, Verb};
use crate::smtp::extension::{Offer, Services, Set, whole_seconds};
use crate::smtp::framing::is_canonical;

fn reply(code: u16, subject: u16, detail: u16, text: impl Into<Cow<'static, str>>) -> Reply {
    let class = u8::try_from(code / 100).unwrap_or(5);
    Reply::new(code, EnhancedCode::new(class, subject, detail), text)
}

fn too_large(limit: u64) -> Reply {
    reply(552, 3, 4, format!("the entity is larger than {limit} octets"))
}

/// The commands, as the table has them.
fn help(service: Service) -> Reply {
    let taken = COMMANDS.iter().filter(|entry| entry.verb != Verb::Lhlo || service == Service::Mail);
    let names: Vec<&str> = taken.map(|entry| entry.name).collect();
    reply(214, 0, 0, format!("{}\nsee impart-protocol(7), RFC 5321", names.join(" ")))
}

impl Session {
    /// The mail system's listener takes no presence.
    pub(super) fn services(&self) -> Services {
        let Services { im, pres } = self.options.impp;
        Services { im, pres: pres && self.options.service != Service::Mail }
    }

    pub(super) fn offer(&self) -> Offer<'_> {
        Offer {
            auth: &self.mechanisms,
            chunking: !self.lmtp,
            atrn: self.options.service.authenticates(),
            noop: self.options.impp_noop,
            starttls: self.options.starttls && !self.tls_active,
            require_tls: self.options.require_tls && self.tls_active,
            impp: self.services(),
            size: self.options.size,
            recipients: self.options.recipients,
            deliver_by_min: self.options.deliver_by_min,
        }
    }

    pub(super) fn obey(&mut self, command: Command) -> Progress {
        match command {
            Command::Ehlo(name) => return self.hello(name, Verb::Ehlo),
            Command::Helo(name) => return self.hello(name, Verb::Helo),
            Command::Lhlo(name) => return self.hello(name, Verb::Lhlo),
            Command::Mail(mail) => return self.mail(mail),
            Command::Rcpt(rcpt) => return self.rcpt(rcpt),
            Command::Bdat { size, marker } => self.bdat(size, marker),
            Command::Data => self.data(),
            Command::Rset => {
                if !matches!(self.state, State::Start) {
                    self.state = State::Ready;
                }
                self.replies.say(&reply(250, 0, 0, "reset"));
            }
            Command::Noop => self.replies.say(&reply(250, 0, 0, "ok")),
            Command::Quit => {
                self.replies.say(&reply(221, 0, 0, "closing"));
                self.leave(Course::Closing);
            }
            Command::StartTls => {
                self.replies.say(&reply(220, 0, 0, "begin TLS"));
                self.leave(Course::StartingTls);
            }
            Command::Auth(auth) => return self.auth(auth),
            Command::Atrn(atrn) => return self.atrn(atrn),
            // RFC 5321 §7.3: nobody is told who exists.
            Command::Vrfy => self.replies.say(&reply(252, 5, 0, "not verified; send the message and see")),
            Command::Expn => self.replies.say(&reply(502, 5, 1, "EXPN is not implemented")),
            Command::Help => self.replies.say(&help(self.options.service)),
        }
        Progress::Again
    }

    /// RFC 5321 §4.1.4: a new EHLO is a RSET too.
    fn hello(&mut self, name: EhloName, verb: Verb) -> Progress {
        self.state = State::Ready;
        self.lmtp = verb == Verb::Lhlo;
        let greeting = &self.options.greeting_name;
        if verb != Verb::Helo {
            let offer = self.offer();
            let (set, reply) = (offer.set(), offer.reply(greeting));
            self.offered = set;
            self.replies.say(&reply);
        } else {
            self.offered = Set::EMPTY;
            self.replies.say(&Reply::bare(250, greeting.to_string()));
        }
        Progress::Event(Event::Hello { name, esmtp: verb != Verb::Helo, lmtp: self.lmtp })
    }

    fn mail(&mut self, mail: Mail) -> Progress {
        if let Some(refusal) = self.unacceptable(&mail) {
            self.replies.say(&refusal);
            return Progress::Again;
        }
        self.awaiting = Awaiting::Mail(mail.clone());
        Progress::Event(Event::Mail(mail))
    }

    fn unacceptable(&self, mail: &Mail) -> Option<Reply> {
        if mail.size.is_some_and(|size| size > self.options.size) {
            return Some(too_large(self.options.size));
        }
        // RFC 2852 §3: 55z, for good.
        let least = whole_seconds(self.options.deliver_by_min);
        let too_soon =
            |by: &By| by.mode == ByMode::Return && u64::try_from(by.seconds).is_ok_and(|seconds| seconds < least);
        if mail.by.as_ref().is_some_and(too_soon) {
            return Some(reply(555, 5, 4, format!("BY with R must be {least} seconds or more")));
        }
        let class = mail.class?;
        if !self.services().offers(class) {
            return Some(reply(550, 3, 3, format!("service {class} is not offered here")));
        }
        let nobody = class == Class::Pres && mail.sender == ReversePath::Null;
        nobody.then(|| reply(550, 7, 1, "IMPP=PRES needs a sender"))
    }

    fn rcpt(&mut self, mut rcpt: Rcpt) -> Progress {
        let State::Open(open) = &self.state else { return Progress::Again };
        if open.rcpts.len() >= self.options.recipients {
            self.replies.say(&reply(452, 5, 3, "too many recipients; send the rest in another transaction"));
            return Progress::Again;
        }
        // There are no receipts for presence.
        if open.mail.class == Some(Class::Pres) && *rcpt.notify.get_or_insert(Notify::NEVER) != Notify::NEVER {
            self.refuse(Refusal::Syntax(CommandError::ParameterValue("NOTIFY=NEVER with IMPP=PRES")));
            return Progress::Again;
        }
        if let (ForwardPath::Postmaster, Some(postmaster)) = (&rcpt.path, &self.options.postmaster) {
            rcpt.path = ForwardPath::Mailbox(postmaster.clone());
        }
        self.awaiting = Awaiting::Rcpt(rcpt.clone());
        Progress::Event(Event::Rcpt(rcpt))
    }

    fn data(&mut self) {
        let State::Open(open) = &self.state else { return };
        if open.mail.body == envelope::Body::BinaryMime {
            // RFC 3030 §3.
            self.replies.say(&reply(503, 5, 1, "BODY=BINARYMIME goes by BDAT"));
        } else {
            self.replies.say(&Reply::bare(354, "send the message; end with CRLF.CRLF"));
            self.reading = Reading::Data(Dots::default());
        }
    }

    fn bdat(&mut self, size: u64, marker: Marker) {
        let row = COMMANDS.iter().find(|entry| entry.verb == Verb::Bdat);
        let mut refusal = row.and_then(|entry| self.out_of_order(entry));
        if refusal.is_none() && marker == Marker::Unknown {
            refusal = row.map(|entry| CommandError::Argument(entry.form).reply());
        }
        if let State::Open(open) = &mut self.state
            && refusal.is_none()
        {
            open.chunked = true;
            if open.body.total().saturating_add(size) > self.options.size {
                open.body = Body::new(0);
                refusal = Some(too_large(self.options.size));
            }
        }
        self.reading = Reading::Chunk(Chunk { left: size, last: marker == Marker::Last }, refusal);
    }

    pub(super) fn read_chunk(&mut self) -> Progress {
        let Reading::Chunk(chunk, refusal) = &mut self.reading else { return Progress::Again };
        let body = match &mut self.state {
            State::Open(open) if refusal.is_none() => Some(&mut open.body),
            _ => None,
        };
        if !chunk.take(&mut self.inbox, body) {
            return Progress::NeedsInput;
        }
        let (last, refusal) = (chunk.last, refusal.take());
        self.reading = Reading::Commands;
        match (refusal, last) {
            (Some(refusal), _) => {
                self.replies.say(&refusal);
                self.fail(last);
                Progress::Again
            }
            (None, true) => self.finish(false),
            (None, false) => {
                self.replies.say(&reply(250, 0, 0, "chunk received"));
                Progress::Again
            }
        }
    }

    /// After a refused chunk nothing but RSET, or the chunks that belong to it, makes sense (RFC 3030 §2).
    fn fail(&mut self, last: bool) {
        self.state = match std::mem::replace(&mut self.state, State::Ready) {
            State::Open(_) | State::Failed if last => State::Ready,
            State::Open(_) | State::Failed => State::Failed,
            other => other,
        };
    }

    pub(super) fn read_data(&mut self) -> Progress {
        let (Reading::Data(dots), State::Open(open)) = (&mut self.reading, &mut self.state) else {
            self.reading = Reading::Commands;
            return Progress::Again;
        };
        if !dots.take(&mut self.inbox, &mut open.body) {
            return Progress::NeedsInput;
        }
        self.reading = Reading::Commands;
        self.finish(true)
    }

    /// The event of an entity.
    pub(super) fn entity(&mut self, split: Split) -> Event {
        let Split { mail, rcpts, entity, by_data } = split;
        let ticket = self.replies.reserve();
        Event::Entity(Transaction { ticket, mail, rcpts, entity, by_data, lmtp: self.lmtp })
    }

    /// RFC 2033 §4.2: with LMTP each recipient that was accepted has a reply.
    fn refuse_entity(&mut self, rcpts: &[Rcpt], refusal: &Reply) {
        let times = if self.lmtp { rcpts.len() } else { 1 };
        (0..times).for_each(|_| self.replies.say(refusal));
    }

    /// The entity is complete.
    fn finish(&mut self, by_data: bool) -> Progress {
        let State::Open(Open { mail, rcpts, body, .. }) = std::mem::replace(&mut self.state, State::Ready) else {
            return Progress::Again;
        };
        if body.is_over() {
            self.refuse_entity(&rcpts, &too_large(self.options.size));
            return Progress::Again;
        }
        let entity = body.finish();
        if mail.body != envelope::Body::BinaryMime && !is_canonical(&entity) {
            let text = "the entity has a bare CR or LF; end lines with CRLF, or send BODY=BINARYMIME";
            self.refuse_entity(&rcpts, &reply(554, 6, 0, text));
            return Progress::Again;
        }
        self.bad_commands = 0;
        if !self.lmtp {
            return Progress::Event(self.entity(Split { mail, rcpts, entity, by_data }));
        }
        let split = |rcpt| Split { mail: mail.clone(), rcpts: vec![rcpt], entity: entity.clone(), by_data };
        self.split.extend(rcpts.into_iter().map(split));
        Progress::Again
    }
}
