//! The addresses that a certificate names, and the constraints on them.
//!
//! In: certificates, an author. Out: whether the certificate names the author; whether an authority above may say so.
//! Taken up are rfc822Name, SmtpUTF8Mailbox (RFC 9598) and `im:` URIs (RFC 9734) of the subject alternative name; the
//! subject's own text never. Invariant: a name with a control character, or that is no address of RFC 5321, names
//! nobody. Constraints of kind rfc822Name bind the two other kinds too: RFC 9598 §6 asks it for the one, and without it
//! an `im:` URI would be a way around them for the other.

use const_oid::ObjectIdentifier;
use der::Decode as _;
use der::asn1::Utf8StringRef;
use x509_cert::Certificate as Parsed;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use crate::address::Mailbox;
use crate::limits;
use crate::smime::Fault;

/// id-on-SmtpUTF8Mailbox (RFC 9598 §3).
pub const SMTP_UTF8_MAILBOX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.9");

/// One address in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    mailbox: Mailbox,
    /// Whether constraints of rfc822Name reach it only by our own check.
    checked_by_us: bool,
}

/// The addresses of a certificate, at most [`limits::CERTIFICATE_NAMES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Name>);

impl Names {
    /// Reads the subject alternative name. A certificate without one, or with one that cannot be read, names nobody.
    pub fn of(certificate: &Parsed) -> Names {
        let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate().get_extension::<SubjectAltName>()
        else {
            return Names::default();
        };
        Names(names.iter().take(limits::CERTIFICATE_NAMES).filter_map(name).collect())
    }

    /// Reads the value of a subject alternative name, as a request has it.
    pub(in crate::smime) fn read(value: &[u8]) -> Result<Names, Fault> {
        let fault = |_| Fault::Certificate("its alternative names cannot be read");
        let SubjectAltName(names) = SubjectAltName::from_der(value).map_err(fault)?;
        let read: Vec<Option<Name>> = names.iter().take(limits::CERTIFICATE_NAMES).map(name).collect();
        // What nobody understands is not what anybody owns.
        let all: Option<Vec<Name>> = read.into_iter().collect();
        all.map(Names).ok_or(Fault::Certificate("it asks for a name that is no address; ask for addresses alone"))
    }

    /// Whether the author is among them: ASCII in any letter case (RFC 9788 §4.4.5), else octet for octet (RFC 9598 §5).
    pub fn names(&self, author: &Mailbox) -> bool {
        self.0.iter().any(
            |name| {
                if author.is_ascii() { name.mailbox.key() == author.key() } else { name.mailbox == *author }
            },
        )
    }

    /// The first, for a message about it.
    pub fn first(&self) -> Option<&Mailbox> {
        self.0.first().map(|name| &name.mailbox)
    }

    /// All of them.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.0.iter().map(|name| &name.mailbox)
    }

    /// Whether every name whose kind a validator of RFC 5280 passes over keeps within the constraints of an authority.
    pub(super) fn keep_within(&self, authority: &Parsed) -> bool {
        let constraints = match authority.tbs_certificate().get_extension::<NameConstraints>() {
            Ok(Some((_, constraints))) => constraints,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let bases = |subtrees: &Option<Vec<_>>| -> Vec<String> {
            let subtrees: &[x509_cert::ext::pkix::constraints::name::GeneralSubtree] =
                subtrees.as_deref().unwrap_or_default();
            subtrees.iter().filter_map(|subtree| rfc822_base(&subtree.base)).collect()
        };
        let (permitted, excluded) = (bases(&constraints.permitted_subtrees), bases(&constraints.excluded_subtrees));
        self.0.iter().filter(|name| name.checked_by_us).all(|name| {
            (permitted.is_empty() || permitted.iter().any(|base| is_within(&name.mailbox, base, false)))
                && !excluded.iter().any(|base| is_within(&name.mailbox, base, true))
        })
    }
}

fn rfc822_base(base: &GeneralName) -> Option<String> {
    if let GeneralName::Rfc822Name(base) = base { Some(base.as_str().to_owned()) } else { None }
}

/// RFC 9598 §6, RFC 5280 §4.2.1.10: a host, a domain with a leading dot, or one mailbox. One mailbox cannot be compared
/// with a local part that is not ASCII: it is then taken as its host where it excludes, and as nothing where it permits.
fn is_within(mailbox: &Mailbox, base: &str, excludes: bool) -> bool {
    let domain = mailbox.domain().as_str();
    let base = base.to_ascii_lowercase();
    match base.rsplit_once('@') {
        Some((_, host)) if !mailbox.is_ascii() => excludes && host == domain,
        Some(_) => base == mailbox.key(),
        None if base.starts_with('.') => domain.ends_with(&base),
        None => base == domain,
    }
}

fn name(name: &GeneralName) -> Option<Name> {
    match name {
        GeneralName::Rfc822Name(address) => {
            let mailbox = Mailbox::parse(address.as_str()).ok()?;
            Some(Name { mailbox, checked_by_us: false })
        }
        GeneralName::OtherName(other) if other.type_id == SMTP_UTF8_MAILBOX => {
            Some(Name { mailbox: utf8_mailbox(other)?, checked_by_us: true })
        }
        GeneralName::UniformResourceIdentifier(uri) => {
            Some(Name { mailbox: im_uri(uri.as_str())?, checked_by_us: true })
        }
        _ => None,
    }
}

/// RFC 9598 §3: never for an ASCII local part, the domain in lower-case A-labels, no byte order mark; anything else names
/// nobody.
fn utf8_mailbox(other: &OtherName) -> Option<Mailbox> {
    let text = other.value.decode_as::<Utf8StringRef<'_>>().ok()?;
    let mailbox = Mailbox::parse(text.as_str()).ok()?;
    let exact = text.as_str() == mailbox.to_string() && !text.as_str().starts_with('\u{feff}');
    (exact && !mailbox.is_ascii()).then_some(mailbox)
}

/// `im:alice@a.example` (RFC 3860 §3.4): the address percent-encoded, what follows a question mark not taken up.
fn im_uri(uri: &str) -> Option<Mailbox> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("im") {
        return None;
    }
    let address = rest.split(['?', '#']).next()?.as_bytes();
    let mut octets = Vec::with_capacity(address.len());
    let mut at = 0;
    while let Some(octet) = address.get(at) {
        if *octet == b'%' {
            let digits = std::str::from_utf8(address.get(at + 1..at + 3)?).ok()?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            octets.push(*octet);
            at += 1;
        }
    }
    Mailbox::parse(std::str::from_utf8(&octets).ok()?).ok()
}
