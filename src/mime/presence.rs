//! The field `Presence`: what an entity of the class PRES asks for, or tells.
//!
//! In: an entity, or the field's value. Out: a [`Directive`], and the field again. Invariants: parameters that are not known
//! are passed over, those that are known stand once; what is written is read as the same. Linear, in at most
//! [`limits::PRESENCE_FIELD_OCTETS`]. It fails with what is wrong and what would be right; the reply is 554 5.6.0.
//! man impart-protocol(7), RFC 6665 §4.1.3, RFC 2045 §5.1.

use std::fmt;

use super::author::skip_cfws;
use super::content_type::is_token;
use super::header::Fields;
use crate::address::Device;
use crate::limits;

/// The name of the field.
pub const FIELD: &str = "Presence";

/// What is wrong with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// No such field, or more than one.
    #[error("the entity has not exactly one Presence field")]
    Number,
    /// Too long.
    #[error("the Presence field has more than {} octets", limits::PRESENCE_FIELD_OCTETS)]
    Size,
    /// Not a word with parameters.
    #[error("the Presence field is no directive with parameters; write it as fetch; id=…; event=presence")]
    Syntax,
    /// A directive that is not known here.
    #[error("{0} is no directive that is known here; there are publish, subscribe, fetch, cancel, notify and policy")]
    Directive(String),
    /// A parameter that must be there.
    #[error("the directive {0} needs the parameter {1}")]
    Missing(&'static str, &'static str),
    /// A parameter that stands twice.
    #[error("the parameter {0} stands twice")]
    Twice(&'static str),
    /// A parameter's value.
    #[error("the parameter {0} is not {1}")]
    Value(&'static str, &'static str),
}

/// The identifier of a subscription: 128 random bits, made by the watcher's server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SubscriptionId([u8; 16]);

impl SubscriptionId {
    /// From random octets.
    pub const fn new(entropy: [u8; 16]) -> SubscriptionId {
        SubscriptionId(entropy)
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<SubscriptionId> {
        let valid = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| valid)?;
        Some(SubscriptionId(number.to_be_bytes()))
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriptionId({self})")
    }
}

/// What is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Event {
    /// The presence document of a presentity.
    #[default]
    Presence,
    /// Who watches it.
    Watchers,
    /// One's own subscriptions.
    Contacts,
    /// The rules.
    Policy,
    /// The certificate.
    Certificate,
    /// One that is not known here: a token in lower case.
    Other(String),
}

impl Event {
    /// The word for it.
    pub fn word(&self) -> &str {
        match self {
            Event::Presence => "presence",
            Event::Watchers => "watchers",
            Event::Contacts => "contacts",
            Event::Policy => "policy",
            Event::Certificate => "certificate",
            Event::Other(word) => word,
        }
    }

    /// From the word, in any letter case.
    pub fn of(word: &str) -> Event {
        let word = word.to_ascii_lowercase();
        let known = [Event::Presence, Event::Watchers, Event::Contacts, Event::Policy, Event::Certificate];
        known.into_iter().find(|event| event.word() == word).unwrap_or(Event::Other(word))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a subscription ended (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// It was ended here; subscribe again at once.
    Deactivated,
    /// It was ended here; subscribe again later.
    Probation,
    /// The rules refuse it.
    Rejected,
    /// It was not refreshed, or cancelled.
    Timeout,
    /// Nobody decided on it in time.
    Giveup,
    /// There is no such presentity.
    Noresource,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] =
        [Reason::Deactivated, Reason::Probation, Reason::Rejected, Reason::Timeout, Reason::Giveup, Reason::Noresource];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Deactivated => "deactivated",
            Reason::Probation => "probation",
            Reason::Rejected => "rejected",
            Reason::Timeout => "timeout",
            Reason::Giveup => "giveup",
            Reason::Noresource => "noresource",
        }
    }

    /// From the word, in any letter case.
    pub fn of(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.word().eq_ignore_ascii_case(word))
    }
}

/// The state of a subscription (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum State {
    /// The view is told.
    #[default]
    Active,
    /// The presentity has not decided.
    Pending,
    /// It is no more; `None`: no reason is given, or none that is known here.
    Terminated(Option<Reason>),
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Pending => "pending",
            State::Terminated(_) => "terminated",
        }
    }
}

/// What an entity of the class PRES is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// State, from who owns the presentity or may publish for it.
    Publish {
        /// Which of the publications it replaces; `None`: the one without a name.
        id: Option<Device>,
        /// Seconds that it holds; `None`: until it is replaced; 0: it is taken back.
        expires: Option<u32>,
        /// Of what.
        event: Event,
    },
    /// Begins or refreshes a subscription.
    Subscribe {
        /// Of the subscription.
        id: SubscriptionId,
        /// Seconds that it shall last; `None`: as the server likes.
        expires: Option<u32>,
        /// To what.
        event: Event,
    },
    /// Asks once.
    Fetch {
        /// To be found in the answer.
        id: SubscriptionId,
        /// For what.
        event: Event,
    },
    /// Ends a subscription.
    Cancel {
        /// Of the subscription.
        id: SubscriptionId,
    },
    /// The answer to one watcher, or a change for all of them.
    Notify {
        /// What it answers; `None`: a change.
        id: Option<SubscriptionId>,
        /// The time of the view in milliseconds since 1970; one that is not newer is dropped. Of rules their version.
        seq: u64,
        /// Of the subscription.
        state: State,
        /// Seconds after which the view is unknown.
        expires: Option<u32>,
        /// Of what.
        event: Event,
    },
    /// Rules, from their owner.
    Policy {
        /// What they rule over.
        for_: Event,
        /// The version of those in whose place they are put; 0: there are none. `None`: whatever they are.
        seq: Option<u64>,
    },
}

impl Directive {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Directive::Publish { .. } => "publish",
            Directive::Subscribe { .. } => "subscribe",
            Directive::Fetch { .. } => "fetch",
            Directive::Cancel { .. } => "cancel",
            Directive::Notify { .. } => "notify",
            Directive::Policy { .. } => "policy",
        }
    }

    /// The same of another event; what has none stays.
    #[must_use]
    pub fn about(mut self, about: Event) -> Directive {
        if let Directive::Publish { event, .. }
        | Directive::Subscribe { event, .. }
        | Directive::Fetch { event, .. }
        | Directive::Notify { event, .. } = &mut self
        {
            *event = about;
        }
        self
    }

    /// That of an entity; it has exactly one.
    pub fn of(entity: &[u8]) -> Result<Directive, PresenceError> {
        let mut found = None;
        for field in Fields::new(entity).flatten().filter(|field| field.is(FIELD)) {
            if found.replace(field.value).is_some() {
                return Err(PresenceError::Number);
            }
        }
        Directive::parse(found.ok_or(PresenceError::Number)?)
    }

    /// Reads the value of the field, folded as it may be.
    pub fn parse(value: &[u8]) -> Result<Directive, PresenceError> {
        let (word, mut parameters) = read(value)?;
        let needed = |name| move |value: Option<_>| value.ok_or(PresenceError::Missing(word, name));
        Ok(match word {
            "publish" => Directive::Publish {
                id: parameters.device()?,
                expires: parameters.seconds()?,
                event: parameters.event("event")?.unwrap_or_default(),
            },
            "subscribe" => Directive::Subscribe {
                id: parameters.id().and_then(needed("id"))?,
                expires: parameters.seconds()?,
                event: parameters.event("event")?.unwrap_or_default(),
            },
            "fetch" => Directive::Fetch {
                id: parameters.id().and_then(needed("id"))?,
                event: parameters.event("event")?.unwrap_or_default(),
            },
            "cancel" => Directive::Cancel { id: parameters.id().and_then(needed("id"))? },
            "notify" => Directive::Notify {
                id: parameters.id()?,
                seq: parameters.seq()?.ok_or(PresenceError::Missing(word, "seq"))?,
                state: parameters.state()?,
                expires: parameters.seconds()?,
                event: parameters.event("event")?.unwrap_or_default(),
            },
            _ => Directive::Policy { for_: parameters.event("for")?.unwrap_or_default(), seq: parameters.seq()? },
        })
    }
}

impl fmt::Display for Directive {
    /// As the field's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let seconds = |f: &mut fmt::Formatter<'_>, expires: &Option<u32>| match expires {
            Some(expires) => write!(f, "; expires={expires}"),
            None => Ok(()),
        };
        match self {
            Directive::Publish { id, expires, event } => {
                if let Some(id) = id {
                    write!(f, "; id={id}")?;
                }
                seconds(f, expires)?;
                if *event == Event::Presence { Ok(()) } else { write!(f, "; event={event}") }
            }
            Directive::Subscribe { id, expires, event } => {
                write!(f, "; id={id}")?;
                seconds(f, expires)?;
                write!(f, "; event={event}")
            }
            Directive::Fetch { id, event } => write!(f, "; id={id}; event={event}"),
            Directive::Cancel { id } => write!(f, "; id={id}"),
            Directive::Notify { id, seq, state, expires, event } => {
                if let Some(id) = id {
                    write!(f, "; id={id}")?;
                }
                write!(f, "; seq={seq}; state={}", state.word())?;
                if let State::Terminated(Some(reason)) = state {
                    write!(f, "; reason={}", reason.word())?;
                }
                seconds(f, expires)?;
                write!(f, "; event={event}")
            }
            Directive::Policy { for_, seq } => {
                write!(f, "; for={for_}")?;
                seq.map_or(Ok(()), |seq| write!(f, "; seq={seq}"))
            }
        }
    }
}

const WORDS: [&str; 6] = ["publish", "subscribe", "fetch", "cancel", "notify", "policy"];
const NAMES: [&str; 7] = ["id", "expires", "event", "seq", "state", "reason", "for"];

/// The values of the parameters that are known, by their place in [`NAMES`].
#[derive(Default)]
struct Parameters {
    values: [Option<String>; NAMES.len()],
}

/// The directive's word and its parameters.
fn read(value: &[u8]) -> Result<(&'static str, Parameters), PresenceError> {
    if value.len() > limits::PRESENCE_FIELD_OCTETS {
        return Err(PresenceError::Size);
    }
    let value = value.trim_ascii();
    let at = skip_cfws(value, 0).ok_or(PresenceError::Syntax)?;
    let (name, mut at) = token(value, at)?;
    let word = WORDS.into_iter().find(|word| word.eq_ignore_ascii_case(name));
    let mut parameters = Parameters::default();
    loop {
        at = skip_cfws(value, at).ok_or(PresenceError::Syntax)?;
        match value.get(at) {
            None => break,
            Some(b';') => at = skip_cfws(value, at + 1).ok_or(PresenceError::Syntax)?,
            Some(_) => return Err(PresenceError::Syntax),
        }
        let (name, after) = token(value, at)?;
        at = skip_cfws(value, after).filter(|at| value.get(*at) == Some(&b'=')).ok_or(PresenceError::Syntax)?;
        at = skip_cfws(value, at + 1).ok_or(PresenceError::Syntax)?;
        let (text, after) = text(value, at)?;
        at = after;
        if let Some(place) = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
            && parameters.values[place].replace(text).is_some()
        {
            return Err(PresenceError::Twice(NAMES[place]));
        }
    }
    word.map(|word| (word, parameters)).ok_or_else(|| PresenceError::Directive(name.to_owned()))
}

fn token(value: &[u8], at: usize) -> Result<(&str, usize), PresenceError> {
    let rest = value.get(at..).unwrap_or_default();
    let length = rest.iter().position(|octet| !is_token(*octet) || !octet.is_ascii()).unwrap_or(rest.len());
    let name = std::str::from_utf8(&rest[..length]).map_err(|_| PresenceError::Syntax)?;
    if name.is_empty() { Err(PresenceError::Syntax) } else { Ok((name, at + length)) }
}

/// A token or a quoted string without quotes and escapes.
fn text(value: &[u8], at: usize) -> Result<(String, usize), PresenceError> {
    if value.get(at) != Some(&b'"') {
        return token(value, at).map(|(token, after)| (token.to_owned(), after));
    }
    let (mut text, mut escaped) = (Vec::new(), false);
    for (place, octet) in value.iter().enumerate().skip(at + 1) {
        match octet {
            b'"' if !escaped => {
                let text = String::from_utf8(text).map_err(|_| PresenceError::Syntax)?;
                return Ok((text, place + 1));
            }
            b'\\' if !escaped => escaped = true,
            b'\r' | b'\n' if !escaped => {}
            octet => {
                text.push(*octet);
                escaped = false;
            }
        }
    }
    Err(PresenceError::Syntax)
}

impl Parameters {
    fn take(&mut self, name: &str) -> Option<String> {
        NAMES.iter().position(|known| *known == name).and_then(|place| self.values[place].take())
    }

    fn id(&mut self) -> Result<Option<SubscriptionId>, PresenceError> {
        let read =
            |text: String| SubscriptionId::parse(&text).ok_or(PresenceError::Value("id", "32 hexadecimal digits"));
        self.take("id").map(read).transpose()
    }

    fn device(&mut self) -> Result<Option<Device>, PresenceError> {
        let fault = PresenceError::Value("id", "1 to 64 letters, digits, dots, underscores and hyphens");
        self.take("id").map(|text| Device::parse(&text).map_err(|_| fault)).transpose()
    }

    /// A number that does not fit is as good as the greatest one.
    fn seconds(&mut self) -> Result<Option<u32>, PresenceError> {
        let fault = PresenceError::Value("expires", "a number of seconds");
        let Some(text) = self.take("expires") else { return Ok(None) };
        if text.is_empty() || text.len() > 20 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(fault);
        }
        Ok(Some(text.parse().unwrap_or(u32::MAX)))
    }

    fn seq(&mut self) -> Result<Option<u64>, PresenceError> {
        let fault = PresenceError::Value("seq", "a number of at most 64 bits");
        let digits = |text: &String| text.bytes().all(|octet| octet.is_ascii_digit());
        let read = |text: String| Some(text).filter(digits).and_then(|text| text.parse().ok()).ok_or(fault);
        self.take("seq").map(read).transpose()
    }

    fn event(&mut self, name: &'static str) -> Result<Option<Event>, PresenceError> {
        let valid = |text: &String| {
            let octets = text.as_bytes();
            (1..=limits::EVENT_OCTETS).contains(&octets.len())
                && octets.iter().all(|octet| octet.is_ascii() && is_token(*octet))
        };
        let fault = PresenceError::Value(name, "the name of an event, of at most 64 characters");
        self.take(name).map(|text| Some(text).filter(valid).map(|text| Event::of(&text)).ok_or(fault)).transpose()
    }

    fn state(&mut self) -> Result<State, PresenceError> {
        let reason = self.take("reason");
        match self.take("state").map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("active") => Ok(State::Active),
            Some("pending") => Ok(State::Pending),
            Some("terminated") => Ok(State::Terminated(reason.as_deref().and_then(Reason::of))),
            Some(_) => Err(PresenceError::Value("state", "active, pending or terminated")),
        }
    }
}

#[cfg(test)]
mod tests;
