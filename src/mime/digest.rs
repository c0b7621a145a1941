//! The digest by which a second copy of an entity is known.

use aws_lc_rs::digest::{Context, SHA256};

use super::header::{Field, Fields};

/// SHA-256 of the entity without its trace fields, which differ from hop to hop: Received, Return-Path and
/// Authentication-Results of the header section. Defined for any octets.
pub fn digest(entity: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut from = 0;
    for item in Fields::new(entity) {
        if let Ok(field) = item
            && is_trace(&field)
        {
            context.update(&entity[from..field.range.start]);
            from = field.range.end;
        }
    }
    context.update(&entity[from..]);
    let mut octets = [0; 32];
    octets.copy_from_slice(context.finish().as_ref());
    octets
}

/// RFC 5321 §4.4, RFC 8601 §2.2.
fn is_trace(field: &Field<'_>) -> bool {
    match field.name.len() {
        8 => field.is("received"),
        11 => field.is("return-path"),
        22 => field.is("authentication-results"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: &str, two: &str, same: bool) {
        assert_eq!(digest(one.as_bytes()) == digest(two.as_bytes()), same, "{one:?} {two:?}");
    }

    #[test]
    fn trace_fields_do_not_count() {
        let plain = "From: alice@a.example\r\nSubject: x\r\n\r\nReceived: body\r\n";
        check(plain, "Received: x\r\n\ty\r\nFrom: alice@a.example\r\nSubject: x\r\n\r\nReceived: body\r\n", true);
        check(plain, "From: alice@a.example\r\nRETURN-PATH: <>\r\nSubject: x\r\n\r\nReceived: body\r\n", true);
        check(
            plain,
            "From: alice@a.example\r\nSubject: x\r\nAuthentication-Results: b;\r\n a\r\n\r\nReceived: body\r\n",
            true,
        );
        check(plain, "From: alice@a.example\r\nSubject: x\r\n\r\nbody\r\n", false);
        check(plain, "From: alice@a.example\r\nSubject: y\r\n\r\nReceived: body\r\n", false);
        check(plain, "From: alice@a.example\r\nReceived-SPF: y\r\nSubject: x\r\n\r\nReceived: body\r\n", false);
    }

    #[test]
    fn sha_256() {
        // FIPS 180-2, appendix B.1.
        let expected = [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea];
        assert_eq!(digest(b"abc")[..8], expected);
        assert_eq!(digest(b"Received: x\r\nabc")[..8], expected);
    }
}
