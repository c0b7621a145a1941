//! The header field Authentication-Results (RFC 8601), methods `impp` and `smime`: writing our findings, reading that of an
//! upstream relay.
//!
//! `impp` is not registered with IANA; its results are `pass`, `fail` and `temperror` (as in RFC 8601 §2.7.1), its
//! properties `smtp.mailfrom` or `smtp.helo` (the domain that was judged, RFC 8601 §2.7.2) and `policy.proof` (by
//! what). Reading takes any field of RFC 8601 §2.2, within [`FIELD_OCTETS`]; what does not parse counts as absent.

use super::{By, Finding, Role};
use crate::address::{Domain, Mailbox};
use crate::smime::Verdict;

/// Octets of a field that are read.
pub const FIELD_OCTETS: usize = 16 * 1024;
/// Results of a field that are read.
const RESULTS: usize = 64;
/// Depth of comments (RFC 5322 §3.2.2).
const COMMENT_DEPTH: usize = 16;
/// Characters of a reason that are written, so that a line keeps within 998 octets (RFC 5322 §2.1.1).
const REASON_CHARS: usize = 400;

/// The whole field with its CRLF, folded (RFC 8601 §2.2).
pub fn authentication_results(authserv_id: &str, finding: &Finding, role: Role, domain: &Domain) -> String {
    let (result, reason, proof) = match finding {
        Finding::Proven { by } => ("pass", None, Some(by.word())),
        Finding::Unproven { reason } => ("fail", Some(reason), None),
        Finding::Unknown { reason } => ("temperror", Some(reason), None),
    };
    let property = match role {
        Role::Sender => "smtp.mailfrom",
        Role::Ehlo => "smtp.helo",
    };
    let mut field = format!("Authentication-Results: {};\r\n\timpp={result}", value(authserv_id));
    if let Some(reason) = reason {
        field.push_str(&format!("\r\n\treason={}", self::reason(reason)));
    }
    if let Some(proof) = proof {
        field.push_str(&format!(" policy.proof={proof}"));
    }
    field.push_str(&format!("\r\n\t{property}={domain}\r\n"));
    field
}

/// The whole field that tells what was found of a message's signature, with its CRLF (RFC 8601 §2.2; method `smime`).
pub fn signature_results(authserv_id: &str, verdict: &Verdict) -> String {
    let said = match verdict.identifier() {
        // A property's value may be an address as it is (RFC 8601 §2.2).
        Some(identifier) if identifier.bytes().all(|byte| is_token(byte) || byte == b'@') => {
            format!("body.smime-identifier={identifier}")
        }
        Some(identifier) => format!("body.smime-identifier={}", quoted(&identifier)),
        None => format!("reason={}", reason(&verdict.reason())),
    };
    format!("Authentication-Results: {};\r\n\tsmime={} {said}\r\n", value(authserv_id), verdict.result())
}

/// A reason, short enough for a line.
pub(super) fn reason(text: &str) -> String {
    quoted(&text.chars().take(REASON_CHARS).collect::<String>())
}

/// A value of RFC 2045 §5.1: a token as it is, else quoted.
pub(super) fn value(text: &str) -> String {
    let token = !text.is_empty() && text.bytes().all(is_token);
    if token { text.to_owned() } else { quoted(text) }
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// One result of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodResult {
    /// The method, in lower case: `impp`.
    pub method: String,
    /// The result, in lower case: `pass`.
    pub result: String,
    /// The reason, where one is given.
    pub reason: Option<String>,
    /// `ptype.property` in lower case, and its value.
    pub properties: Vec<(String, String)>,
}

/// A field as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationResults {
    /// Who judged, in lower case.
    pub authserv_id: String,
    /// What was judged; empty for `none`.
    pub results: Vec<MethodResult>,
}

impl AuthenticationResults {
    /// Reads the body of a field (what follows the colon), folded or not.
    pub fn parse(body: &str) -> Option<AuthenticationResults> {
        if body.len() > FIELD_OCTETS {
            return None;
        }
        let mut reader = Reader { rest: body };
        let authserv_id = reader.value()?.to_ascii_lowercase();
        reader.space()?;
        if !reader.rest.is_empty() && !reader.rest.starts_with(';') && reader.keyword()? != "1" {
            // A version of which RFC 8601 §2.2 knows nothing.
            return None;
        }
        let mut results = Vec::new();
        while reader.take(';')? {
            reader.space()?;
            if reader.rest.is_empty() && !results.is_empty() {
                break;
            }
            if results.len() == RESULTS {
                return None;
            }
            match reader.result()? {
                Some(result) => results.push(result),
                None if results.is_empty() => break,
                None => return None,
            }
        }
        reader.space()?;
        (reader.rest.is_empty() && !authserv_id.is_empty()).then_some(AuthenticationResults { authserv_id, results })
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Passes over CFWS (RFC 5322 §3.2.2); `None` if a comment does not end.
    fn space(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if !self.rest.starts_with('(') {
                return Some(());
            }
            let mut depth = 0;
            let mut escaped = false;
            let end = self.rest.char_indices().find_map(|(at, c)| {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                (depth == 0 || depth > COMMENT_DEPTH).then_some(at + 1)
            })?;
            if depth > COMMENT_DEPTH {
                return None;
            }
            self.rest = &self.rest[end..];
        }
    }

    /// Takes `mark` if it is next, after CFWS.
    fn take(&mut self, mark: char) -> Option<bool> {
        self.space()?;
        let stripped = self.rest.strip_prefix(mark);
        self.rest = stripped.unwrap_or(self.rest);
        Some(stripped.is_some())
    }

    fn expect(&mut self, mark: char) -> Option<()> {
        self.take(mark)?.then_some(())
    }

    /// Letters, digits and hyphens (RFC 5321 §4.1.2), in lower case.
    fn keyword(&mut self) -> Option<String> {
        self.space()?;
        let word = self.while_matching(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (!word.is_empty()).then(|| word.to_ascii_lowercase())
    }

    fn while_matching(&mut self, matching: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !matching(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(out);
                }
                '\\' => out.push(chars.next()?.1),
                '\r' | '\n' => {}
                c => out.push(c),
            }
        }
        None
    }

    fn value(&mut self) -> Option<String> {
        self.space()?;
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        // RFC 6532 lets UTF-8 stand in it.
        let word = self.while_matching(|byte| is_token(byte) || byte >= 0x80);
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// A value, or an address whose local part may be quoted.
    fn property_value(&mut self) -> Option<String> {
        self.space()?;
        let mut out = String::new();
        if self.rest.starts_with('"') {
            let local = self.quoted()?;
            if !self.rest.starts_with('@') {
                return Some(local);
            }
            out.push_str(&local);
        }
        out.push_str(self.while_matching(|byte| !b" \t\r\n;()\"".contains(&byte)));
        Some(out)
    }

    /// `method=result`, its reason and its properties; `Some(None)` for `none`.
    fn result(&mut self) -> Option<Option<MethodResult>> {
        let method = self.keyword()?;
        if self.take('/')? {
            self.keyword()?;
        }
        if !self.take('=')? {
            return (method == "none").then_some(None);
        }
        let mut result = MethodResult { method, result: self.keyword()?, ..Default::default() };
        loop {
            self.space()?;
            if self.rest.is_empty() || self.rest.starts_with(';') {
                return Some(Some(result));
            }
            let word = self.keyword()?;
            if word == "reason" && result.properties.is_empty() && self.take('=')? {
                result.reason = Some(self.value()?);
                continue;
            }
            self.expect('.')?;
            let property = self.keyword()?;
            self.expect('=')?;
            let value = self.property_value()?;
            result.properties.push((format!("{word}.{property}"), value));
            if result.properties.len() > RESULTS {
                return None;
            }
        }
    }
}

/// What a trusted upstream relay found: the first of `fields` (bodies of Authentication-Results, the topmost first)
/// whose authserv-id is one of `trusted` decides. Only that one: those below it may have come from anywhere, since a
/// relay removes foreign fields of its own id but nobody else's (RFC 8601 §5, §7.1).
pub fn upstream(fields: &[&str], trusted: &[&str], role: Role, domain: &Domain) -> Finding {
    let unproven = |reason: String| Finding::Unproven { reason };
    let theirs = fields.iter().filter_map(|body| AuthenticationResults::parse(body));
    let is_trusted =
        |field: &AuthenticationResults| trusted.iter().any(|id| id.eq_ignore_ascii_case(&field.authserv_id));
    let Some(field) = theirs.into_iter().find(is_trusted) else {
        return unproven("the upstream relay has written no Authentication-Results".to_owned());
    };
    let wanted = match role {
        Role::Sender => "smtp.mailfrom",
        Role::Ehlo => "smtp.helo",
    };
    let about =
        |result: &&MethodResult| result.properties.iter().any(|(name, value)| name == wanted && is_of(value, domain));
    let Some(result) = field.results.iter().filter(|result| result.method == "impp").find(about) else {
        return unproven(format!("the upstream relay {} has not judged {domain}", field.authserv_id));
    };
    match result.result.as_str() {
        "pass" => Finding::Proven { by: By::Upstream },
        "temperror" => Finding::Unknown { reason: format!("the upstream relay {} could not tell", field.authserv_id) },
        other => unproven(format!("the upstream relay {} found impp={other}", field.authserv_id)),
    }
}

/// Whether a property's value is the domain or an address in it.
pub(super) fn is_of(value: &str, domain: &Domain) -> bool {
    let found = if value.contains('@') {
        let bare = value.strip_prefix('@').map(Domain::parse);
        bare.unwrap_or_else(|| Mailbox::parse(value).map(|mailbox| mailbox.domain().clone()))
    } else {
        Domain::parse(value)
    };
    found.as_ref() == Ok(domain)
}
