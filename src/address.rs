//! Domains, mailboxes and the paths of an SMTP envelope.
//!
//! In: text from the wire or the configuration. Out: values that are valid by construction.
//! Invariant: a [`Domain`] is in its canonical form (lower case, A-labels), so equality is identity;
//! a [`Mailbox`] keeps its local part as it was written, unquoted, in NFC; [`Mailbox::key`] is what is compared.
//! RFC 5321 §4.1.2 and §4.5.3.1, RFC 6531 §3.2 and §3.3, RFC 5890, RFC 5891.

pub mod uri;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::limits;

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing between the brackets, or nothing on one side of the `@`.
    #[error("the address is empty; write user@domain")]
    Empty,
    /// No `@`.
    #[error("the address has no domain; write user@domain")]
    NoDomain,
    /// A local part that is neither a dot-string nor a quoted string.
    #[error("the local part has a character that must stand in a quoted string")]
    LocalPart,
    /// RFC 5321 §4.5.3.1.1.
    #[error("the local part is longer than 64 octets")]
    LocalPartLength,
    /// Not a host name, nor an internationalised one.
    #[error("the domain is not a valid host name")]
    Domain,
    /// RFC 5321 §4.5.3.1.2; DNS allows 253.
    #[error("the domain is longer than 253 octets")]
    DomainLength,
    /// RFC 5321 §4.1.3.
    #[error("the address literal is not an IPv4 or IPv6 address")]
    Literal,
    /// Not the name of a device.
    #[error("a device's name is 1 to 64 letters, digits, dots, underscores and hyphens")]
    Device,
}

/// A domain name: lower case, A-labels, no trailing dot, at most 253 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Reads a domain name in any letter case, with A-labels or U-labels.
    pub fn parse(text: &str) -> Result<Domain, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if is_plain_host_name(text) {
            return Self::checked(Arc::from(text));
        }
        let deny = idna::AsciiDenyList::STD3;
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), deny).map_err(|_| AddressError::Domain)?;
        if !is_plain_host_name_or_ace(&ascii) {
            return Err(AddressError::Domain);
        }
        Self::checked(Arc::from(&*ascii))
    }

    fn checked(name: Arc<str>) -> Result<Domain, AddressError> {
        if name.len() > limits::DOMAIN_OCTETS { Err(AddressError::DomainLength) } else { Ok(Domain(name)) }
    }

    /// The canonical form: lower case, A-labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With U-labels, for people.
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }

    /// Whether any label is internationalised.
    pub fn is_internationalised(&self) -> bool {
        self.0.split('.').any(|label| label.starts_with("xn--"))
    }
}

/// Lower-case letters, digits and inner hyphens in non-empty labels of at most 63 octets; no A-label.
fn is_plain_host_name(text: &str) -> bool {
    is_plain_host_name_or_ace(text) && !text.split('.').any(|label| label.starts_with("xn--"))
}

fn is_plain_host_name_or_ace(text: &str) -> bool {
    text.split('.').all(|label| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= 63
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    })
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

impl std::str::FromStr for Domain {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Domain::parse(text)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Domain::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A mailbox: local part and domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    local: Box<str>,
    domain: Domain,
}

impl Mailbox {
    /// Reads `local@domain` or `"quoted local"@domain`, without brackets.
    pub fn parse(text: &str) -> Result<Mailbox, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (local, domain) = if text.starts_with('"') { split_quoted(text)? } else { split_dot_string(text)? };
        Mailbox::new(&local, Domain::parse(domain)?)
    }

    /// From an unquoted local part.
    pub fn new(local: &str, domain: Domain) -> Result<Mailbox, AddressError> {
        if local.is_empty() {
            return Err(AddressError::Empty);
        }
        if local.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        let local: Box<str> = if is_nfc(local) { local.into() } else { local.nfc().collect::<String>().into() };
        if local.len() > limits::LOCAL_PART_OCTETS {
            return Err(AddressError::LocalPartLength);
        }
        Ok(Mailbox { local, domain })
    }

    /// The local part, unquoted, NFC.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether its domain keeps it for what it signs itself: notifications and receipts. Whoever had it would speak for all.
    pub fn is_kept_for_domain(&self) -> bool {
        self.local().eq_ignore_ascii_case("presence")
    }

    /// Whether it can be written without SMTPUTF8 (RFC 6531 §3.2); the domain always can.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }

    /// What is compared and looked up: the local part case-folded, the domain canonical.
    pub fn key(&self) -> String {
        let mut key = String::with_capacity(self.local.len() + 1 + self.domain.as_str().len());
        if self.local.is_ascii() {
            key.extend(self.local.chars().map(|c| c.to_ascii_lowercase()));
        } else {
            key.extend(self.local.chars().flat_map(char::to_lowercase).nfc());
        }
        key.push('@');
        key.push_str(self.domain.as_str());
        key
    }
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 §3.2.3, with RFC 6531 §3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn split_dot_string(text: &str) -> Result<(String, &str), AddressError> {
    let (local, domain) = text.split_once('@').ok_or(AddressError::NoDomain)?;
    if local.is_empty() || domain.is_empty() {
        return Err(AddressError::Empty);
    }
    if !is_dot_string(local) {
        return Err(AddressError::LocalPart);
    }
    Ok((local.to_owned(), domain))
}

fn split_quoted(text: &str) -> Result<(String, &str), AddressError> {
    let mut local = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let domain = text[at + 1..].strip_prefix('@').ok_or(AddressError::NoDomain)?;
                return Ok((local, domain));
            }
            '\\' => match chars.next() {
                Some((_, quoted @ ' '..='~')) => local.push(quoted),
                _ => return Err(AddressError::LocalPart),
            },
            c if c.is_control() => return Err(AddressError::LocalPart),
            c => local.push(c),
        }
    }
    Err(AddressError::LocalPart)
}

impl fmt::Display for Mailbox {
    /// As it is written in a path: the local part quoted where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        if is_dot_string(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_char('"')?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
            f.write_char('"')?;
        }
        write!(f, "@{}", self.domain)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({self})")
    }
}

impl std::str::FromStr for Mailbox {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Mailbox::parse(text)
    }
}

impl Serialize for Mailbox {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mailbox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Mailbox::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The argument of MAIL FROM (RFC 5321 §4.1.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: a report; it is never answered (RFC 5321 §4.5.5).
    Null,
    /// The sender.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The sender's mailbox, unless it is the null path.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    /// Without brackets; the null path is the empty string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// The argument of RCPT TO (RFC 5321 §4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain, which every server accepts (RFC 5321 §4.5.1).
    Postmaster,
    /// A mailbox.
    Mailbox(Mailbox),
}

/// The name of a device, by which a server tells the lists of one inbox's devices apart: 1 to 64 letters, digits, dots,
/// underscores and hyphens, compared as they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(Arc<str>);

impl Device {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Device, AddressError> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=limits::DEVICE_OCTETS).contains(&text.len()) && text.bytes().all(valid);
        if fits { Ok(Device(Arc::from(text))) } else { Err(AddressError::Device) }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Device {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Device::parse(text)
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Device::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The argument of EHLO: a domain or an address literal (RFC 5321 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EhloName {
    /// A host name.
    Domain(Domain),
    /// `[192.0.2.1]`.
    V4(Ipv4Addr),
    /// `[IPv6:2001:db8::1]`.
    V6(Ipv6Addr),
}

impl EhloName {
    /// Reads the argument.
    pub fn parse(text: &str) -> Result<EhloName, AddressError> {
        let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            return Domain::parse(text).map(EhloName::Domain);
        };
        let is_v6 = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
        if is_v6 {
            inner[5..].parse().map(EhloName::V6).map_err(|_| AddressError::Literal)
        } else {
            inner.parse().map(EhloName::V4).map_err(|_| AddressError::Literal)
        }
    }
}

impl fmt::Display for EhloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EhloName::Domain(domain) => domain.fmt(f),
            EhloName::V4(address) => write!(f, "[{address}]"),
            EhloName::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, AddressError>) {
        let got = Mailbox::parse(text).map(|mailbox| mailbox.to_string());
        assert_eq!(got, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn mailboxes() {
        check("alice@a.example", Ok("alice@a.example"));
        check("Alice@A.EXAMPLE", Ok("Alice@a.example"));
        check("\"al ice\"@a.example", Ok("\"al ice\"@a.example"));
        check("\"alice\"@a.example", Ok("alice@a.example"));
        check("\"a\\\"b@c\"@a.example", Ok("\"a\\\"b@c\"@a.example"));
        check("δοκιμή@παράδειγμα.δοκιμή", Ok("δοκιμή@xn--hxajbheg2az3al.xn--jxalpdlp"));
        check("", Err(AddressError::Empty));
        check("alice", Err(AddressError::NoDomain));
        check("@a.example", Err(AddressError::Empty));
        check("alice@", Err(AddressError::Empty));
        check("al ice@a.example", Err(AddressError::LocalPart));
        check("alice..b@a.example", Err(AddressError::LocalPart));
        check("\"alice@a.example", Err(AddressError::LocalPart));
        check("\"a\"b@a.example", Err(AddressError::NoDomain));
        check("alice@-a.example", Err(AddressError::Domain));
        check("alice@a_b.example", Err(AddressError::Domain));
        check("alice@a.example.", Err(AddressError::Domain));
        check("a@b@c", Err(AddressError::Domain));
        check(&format!("{}@a.example", "x".repeat(65)), Err(AddressError::LocalPartLength));
        check(&format!("x@{}", ["a"; 128].join(".")), Err(AddressError::DomainLength));
    }

    #[test]
    fn comparison_folds_case_and_normalises() {
        let one = Mailbox::parse("Cafe\u{301}@A.example").unwrap();
        let two = Mailbox::parse("CAF\u{c9}@a.example").unwrap();
        assert_eq!(one.key(), two.key());
        assert_eq!(one.key(), "caf\u{e9}@a.example");
    }

    #[test]
    fn devices() {
        let show = |text: &str| Device::parse(text).map(|device| device.to_string());
        assert_eq!(show("Alices_phone-2.0"), Ok("Alices_phone-2.0".into()));
        assert!(show(&"x".repeat(64)).is_ok());
        for bad in ["", "a b", "a,b", "h\u{e9}", &"x".repeat(65)] {
            assert_eq!(show(bad), Err(AddressError::Device), "{bad}");
        }
    }

    #[test]
    fn ehlo_names() {
        let show = |text: &str| EhloName::parse(text).map(|name| name.to_string());
        assert_eq!(show("Mx.A.example"), Ok("mx.a.example".into()));
        assert_eq!(show("[127.0.0.1]"), Ok("[127.0.0.1]".into()));
        assert_eq!(show("[ipv6:::1]"), Ok("[IPv6:::1]".into()));
        assert_eq!(show("[example]"), Err(AddressError::Literal));
        assert_eq!(show("[ipv6é]"), Err(AddressError::Literal));
    }
}
