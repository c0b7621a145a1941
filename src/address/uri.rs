//! Mailboxes as URIs: `im:`, `pres:`, `mailto:`.
//!
//! In: a mailbox and a scheme, or a URI. Out: the other. Invariant: what is written is read as the same mailbox. Fails: what
//! is no URI, or none of the schemes. RFC 3859 §4, RFC 3860 §4, RFC 6068 §2.

use std::fmt::Write as _;

use super::Mailbox;

/// The URI of a mailbox: what is not of an address in a URI is percent-encoded.
pub fn write(scheme: &str, mailbox: &Mailbox) -> String {
    let mut uri = format!("{scheme}:");
    let text = mailbox.to_string();
    let (local, domain) = text.rsplit_once('@').unwrap_or((&text, ""));
    for octet in local.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'=' => {
                uri.push(char::from(octet));
            }
            // Writing into a string does not fail.
            other => _ = write!(uri, "%{other:02X}"),
        }
    }
    format!("{uri}@{domain}")
}

/// The mailbox that a URI of one of the schemes names; parameters after a question mark are not part of it.
pub fn read(uri: &str, schemes: &[&str]) -> Option<Mailbox> {
    let (scheme, rest) = uri.trim().split_once(':')?;
    schemes.iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    Mailbox::parse(&percent_decoded(rest.split('?').next()?)?).ok()
}

/// RFC 3986: `None` where a percent sign has no two digits, or the octets are no UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        octets.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(octets).ok()
}

/// A URI as it is compared: its scheme and what follows the last `@` in lower case, or the mailbox's key where it is one
/// (RFC 3986).
pub fn key(uri: &str) -> String {
    let uri = uri.trim();
    let Some((scheme, rest)) = uri.split_once(':') else { return uri.to_owned() };
    let scheme = scheme.to_ascii_lowercase();
    if let Some(mailbox) = read(uri, &["im", "pres", "mailto"]) {
        return format!("{scheme}:{}", mailbox.key());
    }
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}:{user}@{}", host.to_ascii_lowercase()),
        None => format!("{scheme}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_uris() {
        let check = |mailbox: &str, uri: &str| {
            let mailbox = Mailbox::parse(mailbox).unwrap();
            assert_eq!(write("pres", &mailbox), uri);
            assert_eq!(read(uri, &["im", "pres"]), Some(mailbox));
        };
        check("alice@a.example", "pres:alice@a.example");
        check("\"a<b&\"@a.example", "pres:%22a%3Cb%26%22@a.example");
        check("caf\u{e9}@b\u{fc}cher.example", "pres:caf%C3%A9@xn--bcher-kva.example");
        assert_eq!(read("PRES:alice@a.example?subject=x", &["pres"]), Mailbox::parse("alice@a.example").ok());
        for bad in ["alice@a.example", "sip:alice@a.example", "pres:alice", "pres:%4@a.example", "pres:%FF@a.example"] {
            assert_eq!(read(bad, &["pres"]), None, "{bad}");
        }
    }

    #[test]
    fn comparison() {
        assert_eq!(key("IM:Alice@A.example"), key("im:alice@a.example"));
        assert_eq!(key("sip:Alice@A.example"), "sip:Alice@a.example");
        assert_ne!(key("im:alice@a.example"), key("pres:alice@a.example"));
        assert_eq!(key("urn:device:0003ba4811e3"), "urn:device:0003ba4811e3");
    }
}
