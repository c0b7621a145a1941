//! AUTH and ATRN: the exchange in which a client says who it is, and the command by which the roles are reversed.

use super::{Awaiting, Course, Event, Progress, Reading, Refusal, Service, Session};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{Atrn, Auth, CommandError};
use crate::smtp::turn;

impl Service {
    /// Whether what comes is submitted: in the name of somebody here, to anybody anywhere.
    pub fn submits(self) -> bool {
        matches!(self, Service::Mail | Service::Client)
    }

    /// Whether clients say who they are before they may do anything.
    pub fn authenticates(self) -> bool {
        matches!(self, Service::Client | Service::Odmr)
    }
}

impl Session {
    /// The mechanisms of AUTH, by their names; none: AUTH is not offered. They hold from the next EHLO on, until they are
    /// set again: they depend on whether there is TLS.
    pub fn offer_mechanisms(&mut self, mechanisms: Vec<&'static str>) {
        self.mechanisms = mechanisms;
    }

    /// Answers the last [`Event::Auth`] or [`Event::AuthResponse`] with a challenge, which the client will respond to.
    pub fn challenge(&mut self, challenge: &[u8]) {
        if matches!(self.awaiting, Awaiting::Auth) {
            self.awaiting = Awaiting::Nothing;
            self.reading = Reading::Response;
            self.replies.say(&Reply::bare(334, turn::encode(challenge)));
        }
    }

    /// Whether AUTH has succeeded.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    pub(super) fn auth(&mut self, auth: Auth) -> Progress {
        let known = self.mechanisms.iter().find(|name| name.eq_ignore_ascii_case(&auth.mechanism));
        let Some(mechanism) = known.copied() else {
            let text = format!("that mechanism is not offered here; use one of {}", self.mechanisms.join(" "));
            self.replies.say(&Reply::new(504, EnhancedCode::new(5, 5, 4), text));
            return Progress::Again;
        };
        self.awaiting = Awaiting::Auth;
        Progress::Event(Event::Auth { mechanism, initial: auth.initial })
    }

    /// A line of the client in the exchange.
    pub(super) fn response(&mut self, length: usize) -> Progress {
        let line = self.inbox.get(..length).unwrap_or_default();
        let response = if line == b"*" { Err(None) } else { turn::decode(line).ok_or(Some(CommandError::Base64)) };
        self.consume(length);
        match response {
            Ok(response) => {
                self.awaiting = Awaiting::Auth;
                return Progress::Event(Event::AuthResponse(response));
            }
            Err(Some(error)) => self.give_up(error),
            Err(None) => {
                self.reading = Reading::Commands;
                // A client that cancels for ever is no better than one that cannot write.
                self.misdeed(&Reply::new(501, EnhancedCode::new(5, 0, 0), "authentication cancelled"));
            }
        }
        Progress::Again
    }

    /// Ends the exchange after a line that is none.
    pub(super) fn give_up(&mut self, error: CommandError) {
        self.reading = Reading::Commands;
        self.refuse(Refusal::Syntax(error));
    }

    pub(super) fn atrn(&mut self, atrn: Atrn) -> Progress {
        let form = match self.options.service {
            Service::Odmr if !atrn.inboxes.is_empty() || atrn.device.is_some() => "ATRN domain,domain",
            Service::Client if !atrn.domains.is_empty() => "ATRN INBOX=address,address DEVICE=name",
            _ => {
                self.awaiting = Awaiting::Atrn;
                return Progress::Event(Event::Atrn(atrn));
            }
        };
        self.refuse(Refusal::Syntax(CommandError::Argument(form)));
        Progress::Again
    }

    /// The answer to AUTH or ATRN has come.
    pub(super) fn identified(&mut self, awaited: &Awaiting, positive: bool) {
        match awaited {
            Awaiting::Auth => {
                self.reading = Reading::Commands;
                self.authenticated |= positive;
                if positive {
                    self.bad_commands = 0;
                }
            }
            // What else the client sent before it knew is dropped (RFC 2645 §5.3).
            Awaiting::Atrn if positive => self.leave(Course::Turning),
            _ => {}
        }
    }
}
