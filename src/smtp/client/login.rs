//! AUTH behind EHLO, and ATRN behind AUTH: a session in which somebody says who he is, and perhaps turns the roles round.
//!
//! In: [`Login`], the mechanisms that the server shows, its replies. Out: the lines to write. Invariants: a session that
//! has a login takes no transaction before the server has accepted it and, where the mechanism does that, has proven
//! itself; what follows a positive reply to ATRN is the other side's to say. Fails by [`Fault::NotAuthenticated`],
//! [`Fault::Login`] and [`Fault::NotAttached`]. RFC 4954 §4, RFC 2645 §5.2.

use std::fmt::Write as _;

use super::{Event, Fault, Raw, Session, State};
use crate::reply::Reply;
use crate::sasl::{Client, Credentials, Mechanism, SaslError};
use crate::smtp::turn::{self, Atrn};

/// Who somebody is, and what for.
#[derive(Clone, Debug)]
pub struct Login {
    /// With what it is proven.
    pub credentials: Credentials,
    /// Of the connection under the session; `None` without TLS 1.3.
    pub channel_binding: Option<[u8; 32]>,
    /// For what the roles are to be turned round; `None`: transactions follow.
    pub attach: Option<Atrn>,
}

/// The mechanisms that a reply to EHLO shows; unknown ones are passed over.
pub(super) fn mechanisms(reply: &Reply) -> Vec<Mechanism> {
    let mut words = reply.text().split('\n').skip(1).map(str::split_ascii_whitespace);
    let auth = words.find_map(|mut words| words.next()?.eq_ignore_ascii_case("AUTH").then_some(words));
    auth.into_iter().flatten().filter_map(Mechanism::parse).collect()
}

/// The line of ATRN.
fn atrn(atrn: &Atrn) -> String {
    let mut line = "ATRN".to_owned();
    let list = |names: Vec<String>| names.join(",");
    // Writing to a string cannot fail.
    if !atrn.domains.is_empty() {
        let _ = write!(line, " {}", list(atrn.domains.iter().map(ToString::to_string).collect()));
    }
    if !atrn.inboxes.is_empty() {
        let _ = write!(line, " INBOX={}", list(atrn.inboxes.iter().map(ToString::to_string).collect()));
    }
    if let Some(device) = &atrn.device {
        let _ = write!(line, " DEVICE={device}");
    }
    line + "\r\n"
}

impl Session {
    /// Whether AUTH comes first; then it has been written, or the session is over.
    pub(super) fn begins_login(&mut self) -> bool {
        let Some(login) = self.options.login.clone().filter(|_| !self.authenticated) else { return false };
        match Client::new(&self.mechanisms, login.credentials, login.channel_binding) {
            Ok(mut client) => {
                let _ = write!(self.output, "AUTH {}", client.mechanism());
                if let Some(initial) = client.initial() {
                    let initial = if initial.is_empty() { "=".to_owned() } else { turn::encode(&initial) };
                    let _ = write!(self.output, " {initial}");
                }
                self.output.extend_from_slice(b"\r\n");
                self.exchange = Some(Box::new(client));
                self.state = State::Login;
            }
            Err(error) => self.end(Some(Fault::Login(error))),
        }
        true
    }

    /// A reply in the exchange.
    pub(super) fn login_reply(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        let Some(client) = &mut self.exchange else { return Err(Fault::Protocol("a reply to no command")) };
        match raw.code {
            334 => {
                let response = raw.texts().next().and_then(turn::decode);
                let response = response.ok_or(SaslError::Malformed("server's")).and_then(|text| client.step(&text));
                // Where it does not go on the session ends, and the connection with it.
                let line = turn::encode(&response.map_err(Fault::Login)?);
                let _ = write!(self.output, "{line}\r\n");
                Ok(())
            }
            code if code / 100 == 2 => {
                client.finish().map_err(Fault::Login)?;
                self.exchange = None;
                self.authenticated = true;
                self.attach();
                Ok(())
            }
            _ => Err(Fault::NotAuthenticated(raw.to_reply())),
        }
    }

    fn attach(&mut self) {
        match self.options.login.as_ref().and_then(|login| login.attach.as_ref()) {
            Some(asked) => {
                self.output.extend_from_slice(atrn(asked).as_bytes());
                self.state = State::Attach;
            }
            None => self.ready(),
        }
    }

    /// The reply to ATRN. Positive: the connection is no longer this session's.
    pub(super) fn attach_reply(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        if raw.code / 100 != 2 {
            return Err(Fault::NotAttached(raw.to_reply()));
        }
        self.state = State::Over;
        self.events.push_back(Event::Turned);
        Ok(())
    }
}
