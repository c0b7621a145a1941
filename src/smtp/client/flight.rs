//! One transaction on its way: a script of steps, one cursor for what has been written of it and one for what has been
//! answered.
//!
//! Invariant: `answered <= sent <= steps`; a step's octets are all in the output before `sent` passes it. The script
//! ends early ([`Flight::cut`]) when the hop's replies have left nothing to send.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::fitness::Parameters;
use super::reply::Raw;
use super::wire;
use super::{Fate, Fault, Transaction};
use crate::limits;
use crate::reply::Reply;

/// How the entity travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// RFC 5321 §4.1.1.4.
    Data,
    /// RFC 3030.
    Bdat,
}

/// A step of the script; each has exactly one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Rset,
    Mail,
    /// The recipient at this place of the transaction.
    Rcpt(usize),
    Data,
    /// A chunk that is not the last.
    Chunk,
    /// The last chunk, or the entity and its dot.
    End,
}

#[derive(Debug)]
pub(super) struct Flight {
    message: Transaction,
    parameters: Parameters,
    carrier: Carrier,
    /// Whether RSET comes first; fixed when the first step is written.
    rset: bool,
    /// DATA and text, or the number of chunks.
    ends: usize,
    steps: usize,
    sent: usize,
    answered: usize,
    /// Octets of the entity that have been written.
    offset: usize,
    line_start: bool,
    /// Octets of the whole session's output up to the end of the entity.
    body_end: Option<u64>,
    mail_refusal: Option<Reply>,
    refused: Vec<(usize, Reply)>,
    go_ahead: bool,
    data_refusal: Option<Reply>,
    accepted_by: Option<Reply>,
    /// Whether each recipient that was accepted has a reply of its own to the entity (RFC 2033 §4.2).
    lmtp: bool,
    /// Those replies, as far as they have come.
    each: Vec<Reply>,
    pub started: Option<Instant>,
}

impl Flight {
    pub fn new(message: Transaction, parameters: Parameters, carrier: Carrier, lmtp: bool) -> Self {
        let ends = match carrier {
            Carrier::Data => 2,
            Carrier::Bdat => message.entity.len().div_ceil(limits::CHUNK_OCTETS).max(1),
        };
        let mut flight = Flight {
            message,
            parameters,
            carrier,
            rset: false,
            ends,
            steps: 0,
            sent: 0,
            answered: 0,
            offset: 0,
            line_start: true,
            body_end: None,
            mail_refusal: None,
            refused: Vec::new(),
            go_ahead: false,
            data_refusal: None,
            accepted_by: None,
            lmtp,
            each: Vec::new(),
            started: None,
        };
        flight.steps = flight.script_length();
        flight
    }

    fn script_length(&self) -> usize {
        self.opening() + self.ends
    }

    /// Before the first step: whether it is RSET.
    pub fn open(&mut self, rset: bool, now: Instant) {
        debug_assert_eq!(self.sent, 0, "the script is fixed once it has begun");
        self.rset = rset;
        self.steps = self.script_length();
        self.started = Some(now);
    }

    fn step(&self, index: usize) -> Step {
        let Some(index) = index.checked_sub(usize::from(self.rset)) else { return Step::Rset };
        let recipients = self.message.recipients.len();
        match index {
            0 => Step::Mail,
            index if index <= recipients => Step::Rcpt(index - 1),
            index if self.carrier == Carrier::Data => {
                if index == recipients + 1 {
                    Step::Data
                } else {
                    Step::End
                }
            }
            _ => {
                let last = usize::from(self.rset) + index + 1 >= self.script_length();
                if last { Step::End } else { Step::Chunk }
            }
        }
    }

    /// The step to write next, unless all are written.
    pub fn next_step(&self) -> Option<Step> {
        (self.sent < self.steps).then(|| self.step(self.sent))
    }

    /// The step whose reply comes next, unless none is due.
    pub fn awaited(&self) -> Option<Step> {
        (self.answered < self.sent).then(|| self.step(self.answered))
    }

    /// Whether every step written has been answered.
    pub fn is_answered(&self) -> bool {
        self.answered == self.sent
    }

    /// Whether everything has been written and answered.
    pub fn is_over(&self) -> bool {
        self.answered == self.steps
    }

    /// Whether the hop is without a transaction after this one, so that the next needs no RSET. After BDAT it always
    /// does: were the last chunk refused, the state would be indeterminate (RFC 3030 §2).
    pub fn leaves_clean(&self) -> bool {
        let dot = self.carrier == Carrier::Data && self.sent == self.script_length();
        dot || (self.mail_refusal.is_some() && self.carrier == Carrier::Data)
    }

    /// Whether the entity may be sent where it must wait for the replies: after 354, or after those to all recipients.
    pub fn may_send_entity(&self) -> bool {
        match self.carrier {
            Carrier::Data => self.go_ahead,
            Carrier::Bdat => self.answered >= self.opening() && self.has_recipients(),
        }
    }

    /// The number of steps up to the last RCPT.
    fn opening(&self) -> usize {
        usize::from(self.rset) + 1 + self.message.recipients.len()
    }

    fn has_recipients(&self) -> bool {
        self.mail_refusal.is_none() && self.refused.len() < self.message.recipients.len()
    }

    /// Whether a step has been written.
    pub fn has_begun(&self) -> bool {
        self.sent > 0
    }

    /// Writes the next step, or a piece of it. `before` counts the octets of the session's output before `out`.
    pub fn write(&mut self, out: &mut BytesMut, before: u64) {
        let Some(step) = self.next_step() else { return };
        match step {
            Step::Rset => out.put_slice(b"RSET\r\n"),
            Step::Mail => wire::mail(out, &self.message, &self.parameters),
            Step::Rcpt(at) => {
                let recipient = &self.message.envelope.recipients[self.message.recipients[at]];
                wire::rcpt(out, recipient, &self.parameters);
            }
            Step::Data => out.put_slice(b"DATA\r\n"),
            Step::Chunk | Step::End if self.carrier == Carrier::Bdat => self.write_chunk(out, step == Step::End),
            Step::Chunk | Step::End => {
                if !self.write_text(out) {
                    return;
                }
            }
        }
        self.sent += 1;
        if step == Step::End {
            self.body_end = Some(before + out.len() as u64);
            // The octets are in the output now; the store has them if they are needed again.
            self.message.entity = bytes::Bytes::new();
        }
    }

    fn write_chunk(&mut self, out: &mut BytesMut, last: bool) {
        let rest = &self.message.entity[self.offset..];
        let chunk = &rest[..rest.len().min(limits::CHUNK_OCTETS)];
        out.reserve(chunk.len() + 32);
        // Writing into a growing buffer does not fail.
        let _ = write!(out, "BDAT {}{}\r\n", chunk.len(), if last { " LAST" } else { "" });
        out.put_slice(chunk);
        self.offset += chunk.len();
    }

    /// The next piece of the text; true when it is complete with its dot. Without an accepted recipient the text is
    /// empty (RFC 2920 §3.1).
    fn write_text(&mut self, out: &mut BytesMut) -> bool {
        if self.has_recipients() {
            let rest = &self.message.entity[self.offset..];
            let piece = &rest[..rest.len().min(limits::CHUNK_OCTETS)];
            out.reserve(piece.len() + 64);
            wire::stuff(out, piece, &mut self.line_start);
            self.offset += piece.len();
            if self.offset < self.message.entity.len() {
                return false;
            }
            if !self.line_start {
                out.put_slice(b"\r\n");
            }
        }
        out.put_slice(b".\r\n");
        true
    }

    /// Takes the reply to the awaited step.
    pub fn reply(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        let Some(step) = self.awaited() else { return Err(Fault::Protocol("a reply to no command")) };
        let (positive, refusal) = (raw.code / 100 == 2, raw.code >= 400);
        if !positive && !refusal && step != Step::Data {
            return Err(Fault::Protocol("354 where no data was announced"));
        }
        match step {
            Step::Rset if !positive => return Err(Fault::Protocol("RSET was refused")),
            Step::Mail if !positive => self.mail_refusal = Some(raw.to_reply()),
            Step::Rcpt(at) if !positive && self.mail_refusal.is_none() => {
                self.refused.push((self.message.recipients[at], raw.to_reply()));
            }
            Step::Data if positive => return Err(Fault::Protocol("DATA was answered by a code of completion")),
            Step::Data if refusal => self.data_refusal = Some(raw.to_reply()),
            Step::Data => self.go_ahead = true,
            Step::End if self.lmtp && self.data_refusal.is_none() && self.has_recipients() => {
                self.each.push(raw.to_reply());
                if self.each.len() < self.message.recipients.len() - self.refused.len() {
                    return Ok(());
                }
            }
            Step::Chunk | Step::End if refusal => {
                if self.data_refusal.is_none() && self.has_recipients() {
                    self.data_refusal = Some(raw.to_reply());
                }
            }
            Step::End if self.data_refusal.is_none() => self.accepted_by = Some(raw.to_reply()),
            _ => {}
        }
        self.answered += 1;
        self.cut();
        Ok(())
    }

    /// The hop has said that it did not take the entity, by a code that ends the session.
    pub fn was_not_taken(&mut self) {
        self.body_end = None;
    }

    /// Ends the script after what has been written, if the replies so far leave nothing to send.
    fn cut(&mut self) {
        let opening = self.opening();
        let refused = self.mail_refusal.is_some() || (self.answered >= opening && !self.has_recipients());
        // After 354 the hop waits for a text, if only an empty one; before its reply to DATA nobody knows.
        let announced = self.carrier == Carrier::Data && self.sent > opening;
        let text_due = announced && (self.answered <= opening || self.go_ahead);
        if (refused || self.data_refusal.is_some()) && !text_due {
            self.steps = self.sent;
        }
    }

    /// What became of each recipient; `written` are the octets of the session's output that have left.
    pub fn conclude(self, written: u64) -> (u64, Vec<(usize, Fate)>) {
        let uncertain = self.body_end.is_some_and(|end| end <= written);
        let reports = self.parameters.reports;
        let rest = match (self.mail_refusal.or(self.data_refusal), self.accepted_by) {
            (Some(reply), _) => Fate::Refused { reply },
            (None, Some(reply)) => Fate::Accepted { reply, reports },
            (None, None) => Fate::Lost { uncertain },
        };
        let mut refused = self.refused.into_iter().peekable();
        let mut each = self.each.into_iter();
        let fates = self.message.recipients.into_iter().map(|index| {
            if let Some((_, reply)) = refused.next_if(|(at, _)| *at == index) {
                return (index, Fate::Refused { reply });
            }
            let own = each.next().map(|reply| match reply.is_positive() {
                true => Fate::Accepted { reply, reports },
                false => Fate::Refused { reply },
            });
            (index, own.unwrap_or_else(|| rest.clone()))
        });
        (self.message.token, fates.collect())
    }
}
