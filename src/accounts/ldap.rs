//! Whether a directory takes a name and a password: a simple bind of LDAP (RFC 4511 §4.2).
//!
//! In: an account and a password. Out: whether the bind succeeds, or a [`Fault`]. Two messages of BER, so they are written
//! and read here. Invariants: an empty password is never sent, since it would succeed (RFC 4513 §5.1.2); what stands in the
//! name changes nothing of the distinguished name but its value (RFC 4514 §2.4); an answer has at most [`ANSWER`] octets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Fault;
use super::remote::{Place, QUESTION, connect};
use crate::address::Mailbox;
use crate::sasl::Secret;
use crate::tls::Connector;

/// Octets of an answer.
const ANSWER: usize = 64 * 1024;

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where it is.
    pub place: Place,
    /// The distinguished name of an account: `{local}`, `{domain}` and `{address}` stand for its parts.
    pub bind_dn: String,
}

/// Whether the directory takes the password for the account.
pub(super) async fn bind(
    options: &Options,
    connector: &Connector,
    account: &Mailbox,
    password: &Secret,
) -> Result<bool, Fault> {
    if password.reveal().is_empty() {
        return Ok(false);
    }
    let fault = |what: String| Fault(format!("the directory {}: {what}", options.place.host));
    let asked = async {
        let mut stream = connect(&options.place, connector).await?;
        let request = request(&distinguished_name(&options.bind_dn, account), password.reveal());
        stream.write_all(&request).await.map_err(|error| fault(error.to_string()))?;
        let mut answer = Vec::new();
        let code = loop {
            match result_code(&answer).map_err(|what| fault(what.to_owned()))? {
                Some(code) => break code,
                None if answer.len() > ANSWER => return Err(fault("an answer without end".to_owned())),
                None => {}
            }
            let read = stream.read_buf(&mut answer).await.map_err(|error| fault(error.to_string()))?;
            if read == 0 {
                return Err(fault("the connection was closed".to_owned()));
            }
        };
        // An unbind request, for a tidy log there; whether it arrives does not matter.
        let _ = stream.write_all(&[0x30, 5, 2, 1, 2, 0x42, 0]).await;
        verdict(code).ok_or_else(|| fault(format!("it answers the bind with result code {code}")))
    };
    timeout(QUESTION, asked).await.map_err(|_| fault(format!("no answer in {QUESTION:?}")))?
}

/// success; invalidCredentials, noSuchObject, invalidDNSyntax, inappropriateAuthentication, insufficientAccessRights
/// (RFC 4511 §A.2). Anything else says nothing of the password.
fn verdict(code: u8) -> Option<bool> {
    match code {
        0 => Some(true),
        32 | 34 | 48 | 49 | 50 => Some(false),
        _ => None,
    }
}

fn distinguished_name(template: &str, account: &Mailbox) -> String {
    let address = format!("{}@{}", account.local(), account.domain());
    let mut out = String::with_capacity(template.len() + address.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let parts = [("{local}", account.local()), ("{domain}", account.domain().as_str()), ("{address}", &address)];
        let Some((word, value)) = parts.into_iter().find(|(word, _)| tail.starts_with(word)) else {
            out.push('{');
            rest = &tail[1..];
            continue;
        };
        escape(value, &mut out);
        rest = &tail[word.len()..];
    }
    out.push_str(rest);
    out
}

/// RFC 4514 §2.4; all that could mean something in hexadecimal, which is always allowed.
fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#' | ' ' | '\0' => {
                out.push_str(&format!("\\{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
}

/// Tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..=127) => out.push(short),
        _ => {
            let octets = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
            out.push(0x84);
            out.extend(octets);
        }
    }
    out.extend(content);
    out
}

/// LDAPMessage { messageID 1, bindRequest { version 3, name, simple password } }.
fn request(name: &str, password: &str) -> Vec<u8> {
    let parts = [element(2, &[3]), element(4, name.as_bytes()), element(0x80, password.as_bytes())];
    element(0x30, &[element(2, &[1]), element(0x60, &parts.concat())].concat())
}

type Element<'a> = (u8, &'a [u8], &'a [u8]);

/// The first element and what follows it; `None` while it is not complete.
fn first(octets: &[u8]) -> Result<Option<Element<'_>>, &'static str> {
    let [tag, length, rest @ ..] = octets else { return Ok(None) };
    let (length, rest) = match length {
        0..=127 => (usize::from(*length), rest),
        0x81..=0x84 => {
            let Some((digits, rest)) = rest.split_at_checked(usize::from(length - 0x80)) else { return Ok(None) };
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return Err("an answer that is not LDAP"),
    };
    if length > ANSWER {
        return Err("an answer without end");
    }
    Ok(rest.split_at_checked(length).map(|(content, rest)| (*tag, content, rest)))
}

/// The result code of the bind response, once the answer is complete.
fn result_code(answer: &[u8]) -> Result<Option<u8>, &'static str> {
    const STRANGE: &str = "an answer that is none to a bind";
    let Some((0x30, message, _)) = first(answer)? else {
        return if answer.first().is_none_or(|tag| *tag == 0x30) { Ok(None) } else { Err(STRANGE) };
    };
    let Some((2, [1], operation)) = first(message)? else { return Err(STRANGE) };
    let Some((0x61, response, _)) = first(operation)? else { return Err(STRANGE) };
    let Some((10, [code], _)) = first(response)? else { return Err(STRANGE) };
    Ok(Some(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        let check = |template: &str, account: &str, expected: &str| {
            assert_eq!(distinguished_name(template, &Mailbox::parse(account).unwrap()), expected);
        };
        check("uid={local},dc=a,dc=example", "alice@a.example", "uid=alice,dc=a,dc=example");
        check("mail={address},ou={domain},o={x}", "al@a.example", "mail=al@a.example,ou=a.example,o={x}");
        check("uid={local},dc=x", "\"a,ou=b\"@a.example", "uid=a\\2cou\\3db,dc=x");
        check("uid={local}", "\"{domain} \\\\+#\"@a.example", "uid={domain}\\20\\5c\\2b\\23");
    }

    #[test]
    fn requests_and_answers() {
        assert_eq!(request("cn=a", "pw"), b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw");
        let answer = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00";
        assert_eq!(result_code(answer), Ok(Some(49)));
        for cut in 0..answer.len() {
            assert_eq!(result_code(&answer[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(
            result_code(b"\x30\x84\x00\x00\x00\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Ok(Some(0))
        );
        for bad in [
            &b"HTTP/1.1"[..],
            b"\x30\xff",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x03\x02\x01\x02",
            b"\x30\x05\x02\x01\x01\x65\x00",
        ] {
            assert!(result_code(bad).is_err(), "{bad:?}");
        }
    }
}
