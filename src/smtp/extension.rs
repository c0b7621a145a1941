//! The service extensions: the one table of EHLO keywords, what we offer, and what a server shows.
//!
//! In: [`Offer`], or a server's reply to EHLO. Out: our reply to EHLO, or [`Extensions`]. A line of a server that is
//! unknown or malformed is as if it were absent (RFC 9422 §3.7 says so for LIMITS).
//! RFC 5321 §4.1.1.1, RFC 1870 §4, RFC 2852 §2, RFC 9422 §3, and the RFC that each [`Extension`] names.

use std::fmt::Write as _;
use std::time::Duration;

use crate::address::Domain;
use crate::envelope::Class;
use crate::reply::Reply;

/// A service extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Extension {
    /// Commands in groups (RFC 2920).
    Pipelining,
    /// BDAT (RFC 3030 §2).
    Chunking,
    /// BODY=BINARYMIME (RFC 3030 §3).
    BinaryMime,
    /// BODY=8BITMIME (RFC 6152).
    EightBitMime,
    /// Internationalised addresses and header fields (RFC 6531).
    SmtpUtf8,
    /// SIZE (RFC 1870).
    Size,
    /// NOTIFY, ORCPT, RET, ENVID (RFC 3461).
    Dsn,
    /// Enhanced status codes (RFC 2034).
    EnhancedStatusCodes,
    /// BY (RFC 2852).
    DeliverBy,
    /// REQUIRETLS (RFC 8689).
    RequireTls,
    /// LIMITS (RFC 9422).
    Limits,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// IMPP: the services of instant messaging and presence.
    Impp,
    /// AUTH (RFC 4954).
    Auth,
    /// ATRN (RFC 2645).
    Atrn,
}

impl Extension {
    /// All of them, in the order in which our reply to EHLO lists them.
    pub const ALL: [Extension; 15] = [
        Extension::Pipelining,
        Extension::Chunking,
        Extension::BinaryMime,
        Extension::EightBitMime,
        Extension::SmtpUtf8,
        Extension::Size,
        Extension::Dsn,
        Extension::EnhancedStatusCodes,
        Extension::DeliverBy,
        Extension::RequireTls,
        Extension::Limits,
        Extension::StartTls,
        Extension::Auth,
        Extension::Atrn,
        Extension::Impp,
    ];

    /// The EHLO keyword.
    pub const fn keyword(self) -> &'static str {
        match self {
            Extension::Pipelining => "PIPELINING",
            Extension::Chunking => "CHUNKING",
            Extension::BinaryMime => "BINARYMIME",
            Extension::EightBitMime => "8BITMIME",
            Extension::SmtpUtf8 => "SMTPUTF8",
            Extension::Size => "SIZE",
            Extension::Dsn => "DSN",
            Extension::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Extension::DeliverBy => "DELIVERBY",
            Extension::RequireTls => "REQUIRETLS",
            Extension::Limits => "LIMITS",
            Extension::StartTls => "STARTTLS",
            Extension::Impp => "IMPP",
            Extension::Auth => "AUTH",
            Extension::Atrn => "ATRN",
        }
    }

    /// The extension that a keyword names, in any letter case (RFC 5321 §4.1.1.1).
    pub fn from_keyword(keyword: &str) -> Option<Extension> {
        Self::ALL.into_iter().find(|extension| extension.keyword().eq_ignore_ascii_case(keyword))
    }
}

/// A set of extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u16);

impl Set {
    /// None: what holds before EHLO and after HELO.
    pub const EMPTY: Set = Set(0);

    /// Adds one.
    pub fn insert(&mut self, extension: Extension) {
        self.0 |= 1 << extension as u8;
    }

    /// Whether it has one.
    pub fn contains(self, extension: Extension) -> bool {
        self.0 & (1 << extension as u8) != 0
    }
}

/// The services that IMPP names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Instant messages.
    pub im: bool,
    /// Presence.
    pub pres: bool,
}

impl Services {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.im || self.pres
    }

    /// Whether a class is among them.
    pub fn offers(self, class: Class) -> bool {
        match class {
            Class::Im => self.im,
            Class::Pres => self.pres,
        }
    }
}

/// What our reply to EHLO offers. PIPELINING, CHUNKING, BINARYMIME, 8BITMIME, SMTPUTF8, SIZE, DSN, ENHANCEDSTATUSCODES,
/// DELIVERBY and LIMITS are always offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// STARTTLS.
    pub starttls: bool,
    /// The mechanisms of AUTH, where there is any.
    pub auth: &'a [&'static str],
    /// CHUNKING and BINARYMIME; not with LMTP, where nothing says how many replies a chunk has.
    pub chunking: bool,
    /// ATRN.
    pub atrn: bool,
    /// REQUIRETLS.
    pub require_tls: bool,
    /// IMPP, where there is any.
    pub impp: Services,
    /// With IMPP: after how many idle seconds the client is asked for a sign of life.
    pub noop: Option<u16>,
    /// Octets of the largest entity.
    pub size: u64,
    /// Recipients of a transaction.
    pub recipients: usize,
    /// The least by-time with mode R; whole seconds, rounded up.
    pub deliver_by_min: Duration,
}

/// Whole seconds, rounded up, as DELIVERBY announces them (RFC 2852 §2).
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

impl Offer<'_> {
    /// The extensions offered.
    pub fn set(&self) -> Set {
        let mut set = Set::EMPTY;
        for extension in Extension::ALL {
            let offered = match extension {
                Extension::StartTls => self.starttls,
                Extension::RequireTls => self.require_tls,
                Extension::Auth => !self.auth.is_empty(),
                Extension::Chunking | Extension::BinaryMime => self.chunking,
                Extension::Atrn => self.atrn,
                Extension::Impp => self.impp.any(),
                _ => true,
            };
            if offered {
                set.insert(extension);
            }
        }
        set
    }

    /// The reply to EHLO (RFC 5321 §4.1.1.1).
    pub fn reply(&self, name: &Domain) -> Reply {
        let mut text = String::with_capacity(256);
        text.push_str(name.as_str());
        let set = self.set();
        for extension in Extension::ALL.into_iter().filter(|extension| set.contains(*extension)) {
            text.push('\n');
            text.push_str(extension.keyword());
            self.parameters(extension, &mut text);
        }
        Reply::bare(250, text)
    }

    /// Writing to a `String` cannot fail.
    fn parameters(&self, extension: Extension, text: &mut String) {
        match extension {
            Extension::Size => drop(write!(text, " {}", self.size)),
            Extension::DeliverBy => match whole_seconds(self.deliver_by_min) {
                0 => {}
                seconds => drop(write!(text, " {seconds}")),
            },
            // Six digits at most (RFC 9422 §4.2).
            Extension::Limits => drop(write!(text, " RCPTMAX={}", self.recipients.clamp(1, 999_999))),
            Extension::Impp => {
                let services = [Class::Im, Class::Pres].into_iter().filter(|class| self.impp.offers(*class));
                services.for_each(|class| text.extend([" ", class.keyword()]));
                if let Some(seconds) = self.noop {
                    let _ = write!(text, " NOOP={seconds}");
                }
            }
            Extension::Auth => self.auth.iter().for_each(|mechanism| text.extend([" ", mechanism])),
            _ => {}
        }
    }
}

/// The limits that a server announces (RFC 9422 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Transactions of a session.
    pub mail_max: Option<u32>,
    /// RCPT commands of a transaction.
    pub rcpt_max: Option<u32>,
    /// Different domains in RCPT commands of a session.
    pub rcpt_domain_max: Option<u32>,
}

/// What a server's reply to EHLO shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// The keywords that we know.
    pub set: Set,
    /// Octets of the largest entity, where SIZE says (RFC 1870 §4); `None` where it does not, or says 0: no fixed maximum.
    pub size: Option<u64>,
    /// The least by-time with mode R in seconds, where DELIVERBY says (RFC 2852 §2).
    pub deliver_by_min: Option<u64>,
    /// LIMITS.
    pub limits: Limits,
    /// The services of IMPP.
    pub impp: Services,
    /// After how many idle seconds a device wants to be asked for a sign of life: `NOOP=n` of IMPP, [`NOOP_SECONDS`].
    pub noop: Option<u16>,
}

/// What `NOOP=n` may say; less or more is brought within.
pub const NOOP_SECONDS: std::ops::RangeInclusive<u16> = 30..=1740;

impl Extensions {
    /// Reads a positive reply to EHLO. Its first line is the server's name.
    pub fn parse(reply: &Reply) -> Extensions {
        let mut shown = Extensions::default();
        for line in reply.text().split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(extension) = words.next().and_then(Extension::from_keyword) else { continue };
            shown.set.insert(extension);
            match extension {
                Extension::Size => shown.size = words.next().and_then(number).filter(|size| *size > 0),
                Extension::DeliverBy => {
                    let least = words.next().and_then(|word| word.split(',').next());
                    shown.deliver_by_min = least.filter(|digits| digits.len() <= 9).and_then(number);
                }
                Extension::Limits => shown.limits = Limits::parse(words).unwrap_or_default(),
                Extension::Impp => words.for_each(|word| {
                    shown.impp.im |= word.eq_ignore_ascii_case(Class::Im.keyword());
                    shown.impp.pres |= word.eq_ignore_ascii_case(Class::Pres.keyword());
                    shown.noop = noop(word).or(shown.noop);
                }),
                _ => {}
            }
        }
        shown
    }

    /// Whether the server shows an extension.
    pub fn has(&self, extension: Extension) -> bool {
        self.set.contains(extension)
    }
}

/// The seconds of `NOOP=n`.
fn noop(word: &str) -> Option<u16> {
    let (_, digits) = word.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("NOOP"))?;
    let seconds = u16::try_from(number(digits)?).unwrap_or(u16::MAX);
    Some(seconds.clamp(*NOOP_SECONDS.start(), *NOOP_SECONDS.end()))
}

/// Digits only; saturates, since more than 20 of them are more than any bound of ours.
pub(super) fn number(digits: &str) -> Option<u64> {
    let valid = (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

impl Limits {
    /// `None` when the syntax is wrong as a whole; a limit whose value is wrong is left out (RFC 9422 §3.7).
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Option<Limits> {
        let mut limits = Limits::default();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            if !is_name || value.contains(';') {
                return None;
            }
            let value = Self::value(value);
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mail_max = value,
                "RCPTMAX" => limits.rcpt_max = value,
                "RCPTDOMAINMAX" => limits.rcpt_domain_max = value,
                _ => {}
            }
        }
        Some(limits)
    }

    /// One to six digits, the first not 0 (RFC 9422 §4.1).
    fn value(text: &str) -> Option<u32> {
        let valid = text.len() <= 6 && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| text.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer {
        chunking: true,
        starttls: true,
        auth: &["SCRAM-SHA-256", "PLAIN"],
        atrn: true,
        require_tls: true,
        impp: Services { im: true, pres: true },
        noop: Some(300),
        size: 10_485_760,
        recipients: 1000,
        deliver_by_min: Duration::from_millis(1500),
    };

    fn parse(lines: &str) -> Extensions {
        Extensions::parse(&Reply::bare(250, format!("mx.a.example\n{lines}")))
    }

    #[test]
    fn our_reply_to_ehlo() {
        let reply = ALL.reply(&Domain::parse("mx.a.example").unwrap());
        let expected = "mx.a.example\nPIPELINING\nCHUNKING\nBINARYMIME\n8BITMIME\nSMTPUTF8\nSIZE 10485760\nDSN\n\
                        ENHANCEDSTATUSCODES\nDELIVERBY 2\nREQUIRETLS\nLIMITS RCPTMAX=1000\nSTARTTLS\nAUTH SCRAM-SHA-256 PLAIN\nATRN\nIMPP IM PRES NOOP=300";
        assert_eq!(reply.text(), expected);
        assert_eq!(reply.code(), 250);
        let impp = Services::default();
        let none = Offer { starttls: false, auth: &[], atrn: false, require_tls: false, impp, ..ALL };
        let reply = Offer { deliver_by_min: Duration::ZERO, ..none }.reply(&Domain::parse("a.example").unwrap());
        assert!(["TLS", "IMPP", "AUTH", "ATRN"].iter().all(|word| !reply.text().contains(word)), "{reply}");
        assert!(reply.text().contains("\nDELIVERBY\n"), "{reply}");
    }

    #[test]
    fn what_we_write_we_read() {
        let shown = Extensions::parse(&ALL.reply(&Domain::parse("mx.a.example").unwrap()));
        assert_eq!(shown.set, ALL.set());
        assert_eq!(shown.size, Some(10_485_760));
        assert_eq!(shown.deliver_by_min, Some(2));
        assert_eq!(shown.limits, Limits { rcpt_max: Some(1000), ..Limits::default() });
        assert_eq!(shown.impp, Services { im: true, pres: true });
        assert_eq!(shown.noop, Some(300));
    }

    #[test]
    fn seconds_until_a_sign_of_life() {
        for (line, seconds) in [
            ("IMPP IM", None),
            ("IMPP IM NOOP=60", Some(60)),
            ("IMPP noop=1 IM", Some(30)),
            ("IMPP NOOP=99999999", Some(1740)),
            ("IMPP NOOP=x NOOP=", None),
        ] {
            assert_eq!(parse(line).noop, seconds, "{line}");
        }
    }

    #[test]
    fn keywords_in_any_case_and_unknown_ones() {
        let shown = parse("pipelining\nX-NEW 1\nimpp im NEW=60\n\nFUTURERELEASE 1");
        assert!(shown.has(Extension::Pipelining) && shown.has(Extension::Impp));
        assert!(!shown.has(Extension::Chunking));
        assert_eq!(shown.impp, Services { im: true, pres: false });
        let named = Extensions::parse(&Reply::bare(250, "PIPELINING\nSIZE"));
        assert!(!named.has(Extension::Pipelining), "the first line is the name");
        assert!(named.has(Extension::Size) && named.size.is_none());
    }

    #[test]
    fn sizes() {
        for (line, size) in
            [("SIZE 0", None), ("SIZE 5", Some(5)), ("SIZE x", None), ("SIZE 99999999999999999999", Some(u64::MAX))]
        {
            assert_eq!(parse(line).size, size, "{line}");
        }
    }

    #[test]
    fn deliver_by() {
        for (line, least) in [
            ("DELIVERBY", None),
            ("DELIVERBY 30", Some(30)),
            ("DELIVERBY 30,new", Some(30)),
            ("DELIVERBY ,new", None),
            ("DELIVERBY 1234567890", None),
        ] {
            let shown = parse(line);
            assert!(shown.has(Extension::DeliverBy));
            assert_eq!(shown.deliver_by_min, least, "{line}");
        }
    }

    #[test]
    fn limits_with_mistakes() {
        let limits = |line: &str| {
            let Limits { mail_max, rcpt_max, rcpt_domain_max } = parse(line).limits;
            (mail_max, rcpt_max, rcpt_domain_max)
        };
        assert_eq!(limits("LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1"), (Some(5), Some(20), Some(1)));
        assert_eq!(limits("LIMITS rcptmax=20 NEW=x OTHER"), (None, Some(20), None));
        assert_eq!(limits("LIMITS RCPTMAX=020 MAILMAX=5"), (Some(5), None, None));
        assert_eq!(limits("LIMITS RCPTMAX=1234567 MAILMAX=0"), (None, None, None));
        assert_eq!(limits("LIMITS RCPTMAX=20 BAD;=1"), (None, None, None));
        assert_eq!(limits("LIMITS RCPTMAX=20 NEW=a;b"), (None, None, None));
        assert_eq!(limits("LIMITS RCPTMAX"), (None, None, None));
    }
}
