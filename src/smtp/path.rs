//! The paths of MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! In: the text that follows `FROM:` or `TO:`. Out: a path, and the text after its `>`. A source route is recognised and
//! dropped (RFC 5321 §4.1.1.3, appendix C).

use crate::address::{AddressError, Domain, ForwardPath, Mailbox, ReversePath};

/// Splits `<path>` from what follows; `None` where there is no path in angle brackets. A `>` in a quoted string does not
/// end the path.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some((&inner[..at], &inner[at + 1..])),
            _ => {}
        }
    }
    None
}

/// The mailbox without its source route, every host of which must be a domain.
fn without_route(path: &str) -> Result<&str, AddressError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(AddressError::Empty)?;
    for host in route.split(',') {
        Domain::parse(host.strip_prefix('@').ok_or(AddressError::Domain)?)?;
    }
    Ok(mailbox)
}

/// Reads the inside of a reverse-path; empty is the null path.
pub fn reverse(path: &str) -> Result<ReversePath, AddressError> {
    if path.is_empty() {
        return Ok(ReversePath::Null);
    }
    Mailbox::parse(without_route(path)?).map(ReversePath::Mailbox)
}

/// Reads the inside of a forward-path; `Postmaster` alone, in any letter case, needs no domain.
pub fn forward(path: &str) -> Result<ForwardPath, AddressError> {
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    Mailbox::parse(without_route(path)?).map(ForwardPath::Mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path() {
        assert_eq!(split("<a@b> SIZE=1"), Some(("a@b", " SIZE=1")));
        assert_eq!(split("<>"), Some(("", "")));
        assert_eq!(split(r#"<"a>b"@c>x"#), Some((r#""a>b"@c"#, "x")));
        assert_eq!(split(r#"<"a\">b"@c>"#), Some((r#""a\">b"@c"#, "")));
        assert_eq!(split(r#"<"a\\">"#), Some((r#""a\\""#, "")));
        for bad in ["a@b", "<a@b", r#"<"a>"#, "", " <a@b>"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn reverse_paths() {
        let check = |path: &str, expected: Result<&str, AddressError>| {
            assert_eq!(reverse(path).map(|p| p.to_string()), expected.map(str::to_owned), "{path}");
        };
        check("", Ok(""));
        check("a@b.example", Ok("a@b.example"));
        check("@x.example,@y.example:a@b.example", Ok("a@b.example"));
        check("@x.example,y.example:a@b.example", Err(AddressError::Domain));
        check("@x.example:", Err(AddressError::Empty));
        check("@x.example", Err(AddressError::Empty));
        check("a@[192.0.2.1]", Err(AddressError::Domain));
        check("a", Err(AddressError::NoDomain));
    }

    #[test]
    fn forward_paths() {
        assert_eq!(forward("postMASTER"), Ok(ForwardPath::Postmaster));
        assert_eq!(forward(""), Err(AddressError::Empty));
        assert_eq!(forward("a@b.example"), Ok(ForwardPath::Mailbox(Mailbox::parse("a@b.example").unwrap())));
    }
}
