//! The arguments of AUTH and ATRN.
//!
//! In: the text after the verb. Out: a mechanism with its first response, decoded; the inboxes or domains that a client
//! wants to receive for. Base64 is strict: no octet beside the alphabet, padding only where it belongs, and all of it
//! (RFC 4954 §4). RFC 2645 §5.2.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::address::{Device, Domain, Mailbox};
use crate::limits;
use crate::smtp::command::CommandError;

/// AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The mechanism, as it was written.
    pub mechanism: String,
    /// The first response, which may be empty; `None` where the client waits for a challenge.
    pub initial: Option<Vec<u8>>,
}

/// ATRN: for whom the client wants to receive; all that it may where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Atrn {
    /// INBOX, on the port for clients.
    pub inboxes: Vec<Mailbox>,
    /// Domains, on the port for on-demand relay.
    pub domains: Vec<Domain>,
    /// DEVICE, on the port for clients.
    pub device: Option<Device>,
}

/// Decodes a response; `None` where it is not base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Encodes a challenge or a response.
pub fn encode(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// Reads `mechanism [initial-response]`.
pub(super) fn auth(argument: &str, wrong: CommandError) -> Result<Auth, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let is_token =
        |word: &&str| word.len() <= 20 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let mechanism = words.next().filter(is_token).ok_or(wrong.clone())?.to_owned();
    let initial = match words.next() {
        None => None,
        Some("=") => Some(Vec::new()),
        Some(word) => Some(decode(word.as_bytes()).ok_or(CommandError::Base64)?),
    };
    if words.next().is_some() { Err(wrong) } else { Ok(Auth { mechanism, initial }) }
}

/// Reads `[domain *("," domain)]` or `[INBOX=mailbox *("," mailbox)] [DEVICE=name]`.
pub(super) fn atrn(argument: &str, wrong: CommandError) -> Result<Atrn, CommandError> {
    let mut atrn = Atrn::default();
    let words: Vec<&str> = outside_quotes(argument, ' ').filter(|word| !word.is_empty()).collect();
    if let [domains] = words[..]
        && !domains.contains('=')
    {
        for domain in domains.split(',') {
            atrn.domains.push(Domain::parse(domain).map_err(CommandError::Recipient)?);
        }
    } else {
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("INBOX") && atrn.inboxes.is_empty() => {
                    for inbox in outside_quotes(value, ',') {
                        atrn.inboxes.push(Mailbox::parse(inbox).map_err(CommandError::Recipient)?);
                    }
                }
                Some((name, value)) if name.eq_ignore_ascii_case("DEVICE") && atrn.device.is_none() => {
                    atrn.device = Some(Device::parse(value).map_err(CommandError::Recipient)?);
                }
                _ => return Err(wrong),
            }
        }
    }
    let fits = atrn.inboxes.len().max(atrn.domains.len()) <= limits::ATRN_NAMES;
    if fits { Ok(atrn) } else { Err(CommandError::TooManyNames) }
}

/// The pieces between `at`s that are in no quoted string.
fn outside_quotes(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == at && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: CommandError = CommandError::Argument("so");

    #[test]
    fn auth_arguments() {
        let check = |text: &str, expected: Result<(&str, Option<&[u8]>), CommandError>| {
            let got = auth(text, WRONG).map(|auth| (auth.mechanism, auth.initial));
            let expected = expected.map(|(name, initial)| (name.to_owned(), initial.map(<[u8]>::to_vec)));
            assert_eq!(got, expected, "{text}");
        };
        check("PLAIN", Ok(("PLAIN", None)));
        check("plain =", Ok(("plain", Some(b""))));
        check("PLAIN AGEAYg==", Ok(("PLAIN", Some(b"\0a\0b"))));
        for bad in ["AGEAYg", "AGEAYg=", "=AGE", "AGE=AGE=", "AGEAYh==", "A*EA", "\u{e9}", "=="] {
            check(&format!("PLAIN {bad}"), Err(CommandError::Base64));
        }
        check("PLAIN AAAA AAAA", Err(WRONG));
        check("", Err(WRONG));
        check("PLAIN;X", Err(WRONG));
        check("MUCH-TOO-LONG-TO-BE-ONE", Err(WRONG));
    }

    #[test]
    fn atrn_arguments() {
        let check = |text: &str, expected: Result<&str, CommandError>| {
            let got = atrn(text, WRONG).map(|atrn| {
                let inboxes: Vec<_> = atrn.inboxes.iter().map(Mailbox::to_string).collect();
                let domains: Vec<_> = atrn.domains.iter().map(Domain::as_str).collect();
                format!(
                    "{} {} {}",
                    inboxes.join(" "),
                    domains.join(" "),
                    atrn.device.map_or(String::new(), |d| d.to_string())
                )
            });
            assert_eq!(got, expected.map(str::to_owned), "{text}");
        };
        use crate::address::AddressError;
        check("", Ok("  "));
        check("a.example", Ok(" a.example "));
        check("A.example,b.example", Ok(" a.example b.example "));
        check("INBOX=alice@a.example,bob@a.example DEVICE=phone", Ok("alice@a.example bob@a.example  phone"));
        check("device=phone", Ok("  phone"));
        check("inbox=\"a, \\\" b\"@a.example,c@a.example", Ok("\"a, \\\" b\"@a.example c@a.example  "));
        check("a.example b.example", Err(WRONG));
        check("a.example,", Err(CommandError::Recipient(AddressError::Empty)));
        check("INBOX=", Err(CommandError::Recipient(AddressError::Empty)));
        check("INBOX=alice", Err(CommandError::Recipient(AddressError::NoDomain)));
        check("DEVICE=a,b", Err(CommandError::Recipient(AddressError::Device)));
        check("DEVICE=a DEVICE=b", Err(WRONG));
        check("INBOX=a@a.example INBOX=b@a.example", Err(WRONG));
        check("QUEUE=x", Err(WRONG));
        check(&vec!["a.example"; 33].join(","), Err(CommandError::TooManyNames));
    }
}
