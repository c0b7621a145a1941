//! Whether a message may go by this hop, and which parameters it takes there.
//!
//! RFC 1870 §6, RFC 2852 §4.1.4, RFC 3030 §3, RFC 3461 §5.2, RFC 6152 §3, RFC 6531 §3.6, RFC 8689 §4.2.

use crate::envelope::{Body, ByMode, Class, Envelope};
use crate::reply::EnhancedCode;
use crate::smtp::extension::{Extension, Extensions};

use super::{Protection, Transaction};

/// A message that cannot go by this hop, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub status: EnhancedCode,
    pub reason: String,
}

/// How a transaction is written: what of its envelope goes into parameters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parameters {
    pub size: Option<u64>,
    pub body: Option<&'static str>,
    pub utf8: bool,
    pub dsn: bool,
    /// DELIVERBY of mode N that this hop would not honour: DELAY is asked for instead (RFC 2852 §4.1.4.2).
    pub add_delay: bool,
    pub by: Option<i64>,
    pub require_tls: bool,
    pub pres: bool,
    /// Whether the hop takes over the duty to report.
    pub reports: bool,
}

/// What a message is held against.
pub(super) struct Hop<'a> {
    pub extensions: &'a Extensions,
    pub protection: Protection,
}

impl Hop<'_> {
    fn has(&self, extension: Extension) -> bool {
        self.extensions.has(extension)
    }

    /// The parameters of the transaction, or why it must not go by this hop. `by` is what is left of DELIVERBY in
    /// seconds, rounded down.
    pub(super) fn fit(&self, message: &Transaction, by: Option<i64>) -> Result<Parameters, Unfit> {
        let envelope = &*message.envelope;
        let mut parameters = Parameters { pres: envelope.class == Class::Pres, ..Parameters::default() };
        self.fit_class(envelope)?;
        let octets = message.entity.len() as u64;
        if let Some(limit) = self.extensions.size.filter(|limit| *limit < octets) {
            return unfit(5, 3, 4, format!("the hop takes at most {limit} octets, the message has {octets}"));
        }
        parameters.size = self.has(Extension::Size).then_some(octets);
        self.fit_octets(message, &mut parameters)?;
        if let (Some(deliver_by), Some(by)) = (envelope.deliver_by, by) {
            parameters.by = self.fit_time(deliver_by.mode, by)?;
        }
        if envelope.require_tls {
            // RFC 8689 §4.2.1 has two codes.
            if self.protection == Protection::Clear {
                return unfit(5, 7, 10, "REQUIRETLS was asked for, and the hop offers no TLS");
            }
            if !self.has(Extension::RequireTls) || self.protection != Protection::Proven {
                let reason = "REQUIRETLS was asked for, and the hop does not offer it or did not prove itself";
                return unfit(5, 7, 30, reason);
            }
            parameters.require_tls = true;
        }
        parameters.dsn = self.has(Extension::Dsn);
        let late = envelope.deliver_by.filter(|_| parameters.by.is_none());
        parameters.add_delay = parameters.dsn && late.is_some_and(|by| by.mode == ByMode::Notify);
        let traced = envelope.deliver_by.is_some_and(|by| by.trace);
        parameters.reports = parameters.dsn && late.is_none() && !traced;
        Ok(parameters)
    }

    /// A hop without IMPP carries instant messages only.
    fn fit_class(&self, envelope: &Envelope) -> Result<(), Unfit> {
        let offered = match envelope.class {
            Class::Im => self.extensions.impp.im || !self.has(Extension::Impp),
            Class::Pres => self.extensions.impp.pres,
        };
        if offered { Ok(()) } else { unfit(5, 3, 3, format!("the hop does not offer the service {}", envelope.class)) }
    }

    /// BODY and SMTPUTF8: asked for where needed, refused where needed and not offered.
    fn fit_octets(&self, message: &Transaction, parameters: &mut Parameters) -> Result<(), Unfit> {
        let envelope = &*message.envelope;
        match envelope.body {
            Body::SevenBit => {}
            Body::EightBitMime if self.has(Extension::EightBitMime) => parameters.body = Some("8BITMIME"),
            Body::EightBitMime if message.entity.is_ascii() || (envelope.utf8 && self.has(Extension::SmtpUtf8)) => {}
            Body::EightBitMime => return unfit(5, 6, 3, "the hop does not offer 8BITMIME, and the message needs it"),
            Body::BinaryMime if self.has(Extension::BinaryMime) && self.has(Extension::Chunking) => {
                parameters.body = Some("BINARYMIME")
            }
            Body::BinaryMime => return unfit(5, 6, 3, "the hop does not offer BINARYMIME, and the message needs it"),
        }
        if envelope.utf8 {
            let plain = || {
                envelope.sender.mailbox().is_none_or(|sender| sender.is_ascii())
                    && message.recipients.iter().all(|at| envelope.recipients[*at].address.is_ascii())
                    && message.entity.is_ascii()
            };
            if self.has(Extension::SmtpUtf8) {
                parameters.utf8 = true;
            } else if !plain() {
                return unfit(5, 6, 7, "the hop does not offer SMTPUTF8, and the message needs it");
            }
        }
        Ok(())
    }

    /// BY (RFC 2852 §4.1.4): the parameter, nothing where the hop would not honour mode N.
    fn fit_time(&self, mode: ByMode, by: i64) -> Result<Option<i64>, Unfit> {
        let by = by.clamp(-999_999_999, 999_999_999);
        let offered = self.has(Extension::DeliverBy).then(|| self.extensions.deliver_by_min.unwrap_or(0));
        match (mode, offered) {
            (ByMode::Notify, offered) => Ok(offered.and(Some(by))),
            (ByMode::Return, _) if by <= 0 => unfit(5, 4, 7, "the time to deliver by is over"),
            (ByMode::Return, None) => {
                unfit(5, 4, 7, "the message must be delivered in time, and the hop does not offer DELIVERBY")
            }
            (ByMode::Return, Some(minimum)) if minimum > by.unsigned_abs() => {
                unfit(5, 4, 7, format!("the hop wants at least {minimum} s to deliver in, {by} s are left"))
            }
            (ByMode::Return, Some(_)) => Ok(Some(by)),
        }
    }
}

fn unfit<T>(class: u8, subject: u16, detail: u16, reason: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit { status: EnhancedCode::new(class, subject, detail), reason: reason.into() })
}
