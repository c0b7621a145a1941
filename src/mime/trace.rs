//! Trace fields: what a relay adds to an entity, and what it takes out.
//!
//! In: where the entity came from. Out: a Received field; the entity with it. Invariant: no address of a client is in
//! it, and [`super::digest()`] of the entity stays the same. RFC 5321 §4.4, RFC 8601 §5.

use std::fmt::{Display, Write as _};

use bytes::{BufMut, Bytes, BytesMut};

use super::author::skip_cfws;
use super::header::{Field, Fields};
use crate::address::{Domain, EhloName};
use crate::timestamp::Timestamp;

/// From whom an entity came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Another domain's relay, by the name in its EHLO.
    Relay(&'a EhloName),
    /// A client, or the mail system on this host; which, and where, is nobody's business (protocol, section 3).
    Submission,
}

/// What a Received field says.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// From whom.
    pub from: Source<'a>,
    /// Our name.
    pub by: &'a Domain,
    /// How.
    pub with: Protocol,
}

/// How an entity was transmitted; its name is one of the registry of mail transmission types (RFC 3848, RFC 6531 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocol {
    /// LMTP instead of SMTP.
    pub lmtp: bool,
    /// HELO instead of EHLO.
    pub helo: bool,
    /// SMTPUTF8 was used.
    pub utf8: bool,
    /// Over TLS.
    pub tls: bool,
    /// After AUTH.
    pub auth: bool,
}

impl Protocol {
    /// The registered name.
    pub fn keyword(self) -> &'static str {
        let variant = usize::from(self.tls) * 2 + usize::from(self.auth);
        let names = match (self.lmtp, self.utf8) {
            (true, true) => ["UTF8LMTP", "UTF8LMTPA", "UTF8LMTPS", "UTF8LMTPSA"],
            (true, false) => ["LMTP", "LMTPA", "LMTPS", "LMTPSA"],
            (false, true) => ["UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA"],
            (false, false) if self.helo => return "SMTP",
            (false, false) => ["ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA"],
        };
        names[variant]
    }
}

/// A Received field with its CRLF (RFC 5321 §4.4); `id` is this relay's identifier of the message.
pub fn received(hop: &Hop<'_>, now: Timestamp, id: impl Display) -> String {
    let mut field = String::with_capacity(192);
    field.push_str("Received: from ");
    // Writing to a string cannot fail.
    let _ = match hop.from {
        Source::Relay(name) => write!(field, "{name}"),
        Source::Submission => field.write_str("localhost"),
    };
    let _ = write!(field, "\r\n\tby {} with {} id {id};\r\n\t{}\r\n", hop.by, hop.with.keyword(), now.rfc5322());
    field
}

/// Whether a Received field says that the entity has passed `host`.
pub fn passed(entity: &[u8], host: &Domain) -> bool {
    let received = Fields::new(entity).flatten().filter(|field| field.is("Received"));
    received.into_iter().any(|field| {
        let value = super::unfold(field.value);
        let mut words = value.split_ascii_whitespace();
        words.any(|word| word.eq_ignore_ascii_case("by"))
            && words.next().is_some_and(|by| by.trim_end_matches(';').eq_ignore_ascii_case(host.as_str()))
    })
}

/// The entity with `prepend`, complete fields, before it, and without the fields that only a server on our side may
/// have written: Return-Path, and Authentication-Results that name `own_authserv_id` or cannot be read.
///
/// Copies the entity once.
pub fn stamp(entity: Bytes, prepend: &str, own_authserv_id: &str) -> Bytes {
    let mut stamped = BytesMut::with_capacity(prepend.len() + entity.len());
    stamped.put_slice(prepend.as_bytes());
    let mut from = 0;
    for item in Fields::new(&entity) {
        if let Ok(field) = item
            && is_ours(&field, own_authserv_id)
        {
            stamped.put_slice(&entity[from..field.range.start]);
            from = field.range.end;
        }
    }
    stamped.put_slice(&entity[from..]);
    stamped.freeze()
}

/// The entity without the fields that servers put before it on its way.
pub fn without(entity: &Bytes) -> Bytes {
    let is_trace = |field: &Field<'_>| {
        let all = ["Received", "Return-Path", "Authentication-Results", "Delivered-To"];
        all.iter().any(|name| field.is(name))
    };
    let (mut out, mut from) = (BytesMut::new(), 0);
    for field in Fields::new(entity).flatten().filter(is_trace) {
        out.put_slice(&entity[from..field.range.start]);
        from = field.range.end;
    }
    if from == 0 {
        return entity.clone();
    }
    out.put_slice(&entity[from..]);
    out.freeze()
}

fn is_ours(field: &Field<'_>, own: &str) -> bool {
    match field.name.len() {
        11 => field.is("return-path"),
        22 if field.is("authentication-results") => authserv_id(field.value).is_none_or(|id| same(&id, own)),
        _ => false,
    }
}

/// As names: in any letter case, with A-labels or U-labels, with or without the last dot.
fn same(one: &str, two: &str) -> bool {
    let (one, two) = (one.trim_end_matches('.'), two.trim_end_matches('.'));
    one.eq_ignore_ascii_case(two) || Domain::parse(one).is_ok_and(|one| Domain::parse(two).is_ok_and(|two| one == two))
}

/// The authserv-id of an Authentication-Results field (RFC 8601 §2.2): a token or a quoted string, comments before it.
/// `None` where there is none to read.
pub fn authserv_id(value: &[u8]) -> Option<String> {
    let rest = &value[skip_cfws(value, 0)?..];
    if rest.first() != Some(&b'"') {
        // Any octet that cannot stand in a token (RFC 2045 §5.1): readers differ in what they take after it, such as
        // "/1" for the version.
        let ends = |octet: &u8| *octet <= b' ' || b"()<>@,;:\\\"/[]?=".contains(octet);
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        return if end == 0 { None } else { std::str::from_utf8(&rest[..end]).ok().map(str::to_owned) };
    }
    let mut id = Vec::new();
    let mut escaped = false;
    for octet in &rest[1..] {
        match octet {
            b'"' if !escaped => return String::from_utf8(id).ok(),
            b'\\' if !escaped => escaped = true,
            b'\r' | b'\n' => {}
            octet => {
                id.push(*octet);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::digest;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn received_fields() {
        let (by, name) = (domain("mx.b.example"), EhloName::parse("MX.a.example").unwrap());
        let with = Protocol { tls: true, ..Protocol::default() };
        let hop = Hop { from: Source::Relay(&name), by: &by, with };
        let expected = "Received: from mx.a.example\r\n\tby mx.b.example with ESMTPS id 0000000001;\r\n\t\
            Wed, 18 Nov 2026 11:06:40 +0000\r\n";
        assert_eq!(received(&hop, NOW, "0000000001"), expected);
        let hop = Hop { from: Source::Submission, by: &by, with: Protocol { lmtp: true, ..Protocol::default() } };
        assert!(received(&hop, NOW, 1).starts_with("Received: from localhost\r\n\tby mx.b.example with LMTP id 1;"));
    }

    #[test]
    fn protocols() {
        let check = |with: Protocol, expected: &str| assert_eq!(with.keyword(), expected);
        let plain = Protocol::default();
        check(plain, "ESMTP");
        check(Protocol { helo: true, ..plain }, "SMTP");
        check(Protocol { tls: true, auth: true, ..plain }, "ESMTPSA");
        check(Protocol { utf8: true, tls: true, ..plain }, "UTF8SMTPS");
        check(Protocol { utf8: true, lmtp: true, auth: true, ..plain }, "UTF8LMTPA");
    }

    fn check(entity: &str, expected: &str) {
        let got = stamp(Bytes::copy_from_slice(entity.as_bytes()), "X: 1\r\n", "mx.b.example");
        assert_eq!(std::str::from_utf8(&got).unwrap(), expected);
    }

    #[test]
    fn stamping() {
        check("From: a@b\r\n\r\nReturn-Path: x\r\n", "X: 1\r\nFrom: a@b\r\n\r\nReturn-Path: x\r\n");
        check("Return-Path: <a@b>\r\nFrom: a@b\r\n\r\n", "X: 1\r\nFrom: a@b\r\n\r\n");
        check(
            "Authentication-Results: MX.b.example.; impp=pass\r\nFrom: a@b\r\n\
             authentication-results: (c) \"mx.b\\.example\"\r\n (c) 1;\r\n\tx=y\r\n",
            "X: 1\r\nFrom: a@b\r\n",
        );
        check("Authentication-Results: mx.b.example/1; impp=pass\r\nFrom: a@b\r\n", "X: 1\r\nFrom: a@b\r\n");
        let other = "Authentication-Results: mx.c.example; x=y\r\nAuthentication-Results: amx.b.example\r\n\r\n";
        check(other, &format!("X: 1\r\n{other}"));
        // What cannot be read may be read as ours by somebody else.
        check(
            "Authentication-Results: (\r\nAuthentication-Results:\r\nAuthentication-Results: \"x\r\n\r\n",
            "X: 1\r\n\r\n",
        );
    }

    #[test]
    fn authserv_ids() {
        let check =
            |value: &str, expected: Option<&str>| assert_eq!(authserv_id(value.as_bytes()).as_deref(), expected);
        check(" example.com;\r\n dkim=pass", Some("example.com"));
        check(" example.com 1; none", Some("example.com"));
        check(" example.com/1; none", Some("example.com"));
        check(" example.com=1; none", Some("example.com"));
        check("\r\n (a (b)) example.com(c); none", Some("example.com"));
        check(" \"a\\\"b\"; none", Some("a\"b"));
        check(" ; none", None);
        check("", None);
        assert!(same("пример.example", "XN--e1afmkfd.example"));
    }

    proptest! {
        #[test]
        fn stamping_keeps_the_digest(
            fields in proptest::collection::vec(
                "(Return-Path|Authentication-Results|From|Received): ?[ -~]{0,12}(\r\n [ -~]{0,9})?\r\n", 0..6,
            ),
            body in "(\r\n[ -~\r\n]{0,40})?",
        ) {
            let entity = fields.concat() + &body;
            let before = digest(entity.as_bytes());
            let added = "Received: from x\r\n\tby y\r\nAuthentication-Results: mx.b.example; x\r\n";
            let stamped = stamp(Bytes::from(entity), added, "mx.b.example");
            prop_assert_eq!(digest(&stamped), before);
        }

        #[test]
        fn never_panics(entity in proptest::collection::vec(any::<u8>(), 0..60)) {
            digest(&entity);
            let _ = authserv_id(&entity);
            stamp(Bytes::from(entity), "X: 1\r\n", "mx.b.example");
        }
    }

    #[test]
    fn where_it_has_passed() {
        let host = Domain::parse("mx.a.example").unwrap();
        let check = |entity: &str, expected| assert_eq!(passed(entity.as_bytes(), &host), expected, "{entity}");
        let field = received(
            &Hop { from: Source::Submission, by: &host, with: Protocol::default() },
            Timestamp::from_secs(1_000_000_000),
            "0000000001",
        );
        check(&format!("{field}From: a@a.example\r\n\r\n"), true);
        check("Received: from x by\r\n\tMX.A.example; now\r\n\r\n", true);
        check("Received: from mx.a.example by b.example; now\r\n\r\n", false);
        check("Subject: by mx.a.example\r\n\r\nReceived: by mx.a.example\r\n", false);
    }
}
