//! Whether the author of a mail is who it says, by what the mail system found (RFC 8601).
//!
//! In: a mail as the mail system handed it in, and whose findings are believed. Out: a [`Finding`]. Invariant: only what the
//! mail system itself has written counts: fields that stand below more fields `Received` than it adds came with the mail,
//! whatever name they bear (RFC 8601 §7.1), and so may what stands below the first that tells on the author: that one
//! decides. What proves an author is an aligned pass of DMARC (RFC 9989), or that the mail system has seen them log in.

use super::{AuthenticationResults, By, Finding, MethodResult, results};
use crate::address::Mailbox;
use crate::mime::{Fields, unfold};

/// Who examines mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Examination {
    /// The mail system.
    #[default]
    Upstream,
    /// This host, where the mail system has not found anything.
    Either,
    /// This host.
    Own,
}

/// Whom to believe about the authors of mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Believed {
    /// The names that the mail system bears in Authentication-Results; none: nobody is believed.
    pub authserv_ids: Vec<String>,
    /// How many fields `Received` it adds.
    pub hops: usize,
    /// Who examines.
    pub examination: Examination,
}

impl Believed {
    /// Whether a field that cannot be read has one of the names in it.
    fn names_itself_in(&self, value: &str) -> bool {
        let value = value.to_ascii_lowercase();
        self.authserv_ids.iter().any(|id| value.contains(&id.to_ascii_lowercase()))
    }
}

/// Whether `mail` is `author`'s.
pub fn author(mail: &[u8], author: &Mailbox, believed: &Believed) -> Finding {
    told(mail, author, believed).unwrap_or_else(|silence| Finding::Unproven { reason: silence.to_owned() })
}

/// The same, or why the mail system tells nothing.
pub fn told(mail: &[u8], author: &Mailbox, believed: &Believed) -> Result<Finding, &'static str> {
    if believed.authserv_ids.is_empty() {
        return Err("nobody is configured whose findings are believed");
    }
    let mut reason = "the mail system has written no Authentication-Results about it";
    let mut hops = 0;
    for field in Fields::new(mail).flatten() {
        hops += usize::from(field.is("Received"));
        if hops > believed.hops {
            break;
        }
        if !field.is("Authentication-Results") {
            continue;
        }
        let value = unfold(field.value);
        let Some(found) = AuthenticationResults::parse(&value) else {
            // Whoever makes the mail system write what nobody can read is not helped by what stands below it.
            if believed.names_itself_in(&value) {
                return Ok(Finding::Unproven { reason: "what the mail system has found cannot be read".to_owned() });
            }
            continue;
        };
        if !believed.authserv_ids.iter().any(|id| id.eq_ignore_ascii_case(&found.authserv_id)) {
            continue;
        }
        if let Some(finding) = decides(&found.results, author) {
            return Ok(finding);
        }
        reason = "the mail system has not examined DMARC";
    }
    Err(reason)
}

/// What one field says of the author, if it says anything.
fn decides(results: &[MethodResult], author: &Mailbox) -> Option<Finding> {
    if !results.iter().any(|result| matches!(result.method.as_str(), "dmarc" | "auth")) {
        return None;
    }
    if results.iter().any(|result| proves(result, author)) {
        return Some(Finding::Proven { by: By::Upstream });
    }
    if results.iter().any(|result| result.method == "dmarc" && result.result == "temperror") {
        return Some(Finding::Unknown { reason: "the mail system could not ask the author's domain".to_owned() });
    }
    Some(Finding::Unproven { reason: "the mail system found no aligned pass of DMARC".to_owned() })
}

fn proves(result: &MethodResult, author: &Mailbox) -> bool {
    let about = |wanted: &str, proves: &dyn Fn(&str) -> bool| {
        result.properties.iter().any(|(name, value)| name == wanted && proves(value))
    };
    let same = |value: &str| Mailbox::parse(value).is_ok_and(|found| found.key() == author.key());
    match (result.method.as_str(), result.result.as_str()) {
        ("dmarc", "pass") => about("header.from", &|value| results::is_of(value, author.domain())),
        ("auth", "pass") => about("smtp.auth", &same) || about("smtp.mailfrom", &same),
        _ => false,
    }
}

/// The whole field that tells on what was found, with its CRLF.
pub fn mail_results(authserv_id: &str, finding: &Finding, author: &Mailbox) -> String {
    let (result, reason) = match finding {
        Finding::Proven { .. } => ("pass", None),
        Finding::Unproven { reason } => ("none", Some(reason)),
        Finding::Unknown { reason } => ("temperror", Some(reason)),
    };
    let reason = reason.map(|reason| format!("\r\n\treason={}", results::quoted(reason))).unwrap_or_default();
    let domain = author.domain();
    format!(
        "Authentication-Results: {};\r\n\tdmarc={result}{reason}\r\n\theader.from={domain}\r\n",
        results::value(authserv_id)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fields: &str, hops: usize) -> &'static str {
        let believed =
            Believed { authserv_ids: vec!["mx.a.example".to_owned()], hops, examination: Examination::Upstream };
        let bob = Mailbox::parse("bob@b.example").unwrap();
        match author(format!("{fields}From: bob@b.example\r\n\r\n").as_bytes(), &bob, &believed) {
            Finding::Proven { .. } => "proven",
            Finding::Unproven { .. } => "unproven",
            Finding::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn by_what_the_mail_system_found() {
        let check = |fields: &str, expected: &str| assert_eq!(found(fields, 1), expected, "{fields}");
        let pass = "Authentication-Results: mx.a.example; dmarc=pass (p=reject) header.from=b.example\r\n";
        let received = "Received: from x by mx.a.example; now\r\n";
        check(pass, "proven");
        check(&format!("{received}{pass}"), "proven");
        check("", "unproven");
        check("Authentication-Results: MX.a.example; spf=pass smtp.mailfrom=b.example\r\n", "unproven");
        check("Authentication-Results: mx.a.example; dkim=pass header.d=b.example\r\n", "unproven");
        check("Authentication-Results: mx.a.example; dmarc=fail header.from=b.example\r\n", "unproven");
        check("Authentication-Results: mx.a.example; dmarc=temperror header.from=b.example\r\n", "unknown");
        check("Authentication-Results: mx.a.example; dmarc=pass header.from=c.example\r\n", "unproven");
        check("Authentication-Results: mx.a.example; auth=pass smtp.mailfrom=bob@b.example\r\n", "proven");
        check("Authentication-Results: mx.a.example; auth=pass smtp.mailfrom=eve@b.example\r\n", "unproven");
        let spf = "Authentication-Results: mx.a.example; spf=none\r\n";
        check(&format!("{spf}{pass}"), "proven");
    }

    #[test]
    fn what_came_with_the_mail_proves_nothing() {
        let received = "Received: from x by mx.a.example; now\r\nReceived: from y by x; before\r\n";
        let forged = "Authentication-Results: mx.a.example; dmarc=pass header.from=b.example\r\n";
        assert_eq!(found(&format!("{received}{forged}"), 1), "unproven");
        assert_eq!(found(&format!("{received}{forged}"), 2), "proven");
        assert_eq!(found(&forged.replace("mx.a", "mx.c"), 1), "unproven");
        assert_eq!(found(&forged.replace("mx.a.example", "mx.a.example mx.a.example"), 1), "unproven");
    }

    #[test]
    fn the_topmost_finding_about_the_author_decides() {
        let check = |genuine: &str, expected: &str| {
            let forged = "Authentication-Results: mx.a.example; dmarc=pass header.from=b.example\r\n";
            let fields = format!("Authentication-Results: mx.a.example; {genuine}\r\n{forged}");
            assert_eq!(found(&fields, 1), expected, "{genuine}");
        };
        check("dmarc=fail header.from=b.example", "unproven");
        check("dmarc=none header.from=b.example", "unproven");
        check("dmarc=pass header.from=c.example", "unproven");
        check("dmarc=temperror header.from=b.example", "unknown");
        check("auth=pass smtp.mailfrom=eve@b.example", "unproven");
        check("auth=pass smtp.auth=bob@b.example; dmarc=fail header.from=b.example", "proven");
        check("(never ends", "unproven");
        check(&"dkim=pass header.d=c.example; ".repeat(1000), "unproven");
    }

    #[test]
    fn it_is_told_on() {
        let bob = Mailbox::parse("bob@b.example").unwrap();
        let field = mail_results("mx.a.example", &Finding::Proven { by: By::Upstream }, &bob);
        assert_eq!(field, "Authentication-Results: mx.a.example;\r\n\tdmarc=pass\r\n\theader.from=b.example\r\n");
        let parsed = AuthenticationResults::parse(&field["Authentication-Results:".len()..]).unwrap();
        assert_eq!(parsed.results[0].result, "pass");
        let none = mail_results("mx.a.example", &Finding::Unproven { reason: "a \"b\"".to_owned() }, &bob);
        assert!(none.contains("dmarc=none\r\n\treason=\"a \\\"b\\\"\""), "{none}");
    }
}
