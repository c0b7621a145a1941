//! MTA-STS: what a domain says in DNS and at its policy host about its mail exchangers (RFC 8461). Pure.
//!
//! In: TXT records, or a policy as it was fetched. Out: the identifier of the policy, or the [`Policy`]. Whatever is not
//! written as RFC 8461 §3 has it is none; fields that are unknown are passed over, and of a field that may not be repeated the
//! first counts.

use std::fmt::Write as _;
use std::time::Duration;

use crate::address::Domain;
use crate::limits;

/// The longest that a policy is kept: a year and a day (RFC 8461 §3.2).
const LONGEST: u64 = 31_557_600;
/// What a record begins with.
const VERSION: &str = "v=STSv1;";

/// The name at which a domain says that it has a policy (RFC 8461 §3.1).
pub fn record_name(domain: &Domain) -> String {
    format!("_mta-sts.{domain}")
}

/// The host of a domain's policy (RFC 8461 §3.2); none where the name would be too long.
pub fn policy_host(domain: &Domain) -> Option<Domain> {
    Domain::parse(&format!("mta-sts.{domain}")).ok()
}

/// Where the policy is at that host (RFC 8461 §3.2).
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";

/// The identifier of the domain's policy, where exactly one record has one (RFC 8461 §3.1).
pub fn policy_id<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let texts = records.into_iter().filter_map(|record| std::str::from_utf8(record).ok()?.strip_prefix(VERSION));
    let mut found = texts;
    let text = found.next().filter(|_| found.next().is_none())?;
    let blank = |c: char| c == ' ' || c == '\t';
    let mut id = None;
    let fields: Vec<&str> = text.split(';').map(|field| field.trim_matches(blank)).collect();
    for (at, field) in fields.iter().enumerate() {
        // The last field may end with a semicolon.
        if field.is_empty() && at + 1 == fields.len() {
            break;
        }
        let (name, value) = field.split_once('=').filter(|(name, value)| is_name(name) && is_value(value))?;
        if name == "id" && id.is_none() {
            id = Some(value);
        }
    }
    let is_id = |id: &&str| id.len() <= 32 && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    id.filter(is_id).map(str::to_owned)
}

fn is_name(name: &str) -> bool {
    let rest = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    (1..=32).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(rest)
}

fn is_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=')
}

/// What is to happen where an exchanger is not as the policy says (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail all the same.
    Testing,
    /// The domain has no policy any more.
    None,
}

impl Mode {
    fn keyword(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        }
    }
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How strict it is.
    pub mode: Mode,
    /// How long it holds from when it was fetched.
    pub max_age: Duration,
    /// The names of its exchangers, `*.` for any one label; in lower case.
    exchangers: Vec<String>,
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// Not text.
    #[error("the policy is not text")]
    NotText,
    /// A line without a colon.
    #[error("a line of the policy is not a key and a value")]
    Line,
    /// A field that is needed.
    #[error("the policy has no {0}, or not as RFC 8461 has it")]
    Field(&'static str),
    /// More exchangers than are looked at.
    #[error("the policy names more than {} exchangers", limits::POLICY_EXCHANGERS)]
    Exchangers,
}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2).
    pub fn parse(text: &[u8]) -> Result<Policy, PolicyFault> {
        let text = std::str::from_utf8(text).map_err(|_| PolicyFault::NotText)?;
        let (mut version, mut mode, mut max_age, mut exchangers) = (None, None, None, Vec::new());
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or(PolicyFault::Line)?;
            let value = value.trim_matches([' ', '\t']);
            match key {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if exchangers.len() >= limits::POLICY_EXCHANGERS => return Err(PolicyFault::Exchangers),
                "mx" => exchangers.push(pattern(value).ok_or(PolicyFault::Field("mx"))?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyFault::Field("version"));
        }
        let all = [Mode::Enforce, Mode::Testing, Mode::None];
        let mode = all.into_iter().find(|known| mode == Some(known.keyword())).ok_or(PolicyFault::Field("mode"))?;
        let digits = |age: &&str| (1..=10).contains(&age.len()) && age.bytes().all(|octet| octet.is_ascii_digit());
        let age = max_age.filter(digits).and_then(|age| age.parse::<u64>().ok());
        let max_age = Duration::from_secs(age.ok_or(PolicyFault::Field("max_age"))?.min(LONGEST));
        if exchangers.is_empty() && mode != Mode::None {
            return Err(PolicyFault::Field("mx"));
        }
        Ok(Policy { mode, max_age, exchangers })
    }

    /// Whether a host is one of the domain's exchangers (RFC 8461 §4.1).
    pub fn names(&self, host: &Domain) -> bool {
        let parent = host.as_str().split_once('.').map(|(_, parent)| parent);
        self.exchangers.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => pattern == host.as_str(),
        })
    }

    /// As [`Policy::parse`] reads it.
    pub fn text(&self) -> String {
        let mut text = format!("version: STSv1\nmode: {}\nmax_age: {}\n", self.mode.keyword(), self.max_age.as_secs());
        // Writing to a string does not fail.
        self.exchangers.iter().for_each(|pattern| _ = writeln!(text, "mx: {pattern}"));
        text
    }
}

fn pattern(text: &str) -> Option<String> {
    let (star, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    Some(format!("{star}{}", Domain::parse(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records() {
        let check = |records: &[&str], expected: Option<&str>| {
            let got = policy_id(records.iter().map(|record| record.as_bytes()));
            assert_eq!(got.as_deref(), expected, "{records:?}");
        };
        check(&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z"));
        check(&["v=STSv1;id=1"], Some("1"));
        check(&["v=STSv1; id=1; x=y"], Some("1"));
        check(&["v=STSv1; x=y ;\tid=1 ; "], Some("1"));
        check(&["v=STSv1; id=1; id=2"], Some("1"));
        check(&["v=spf1 -all", "v=STSv1; id=1"], Some("1"));
        check(&["v=STSv1; id=1", "v=STSv1; id=2"], None);
        check(&["v=STSv1 ; id=1"], None);
        check(&[" v=STSv1; id=1"], None);
        check(&["V=STSv1; id=1"], None);
        check(&["v=STSv1;"], None);
        check(&["v=STSv1; id="], None);
        check(&["v=STSv1; id=a-b"], None);
        check(&["v=STSv1; id=1;; x=y"], None);
        check(&["v=STSv1; id=1; x"], None);
        check(&[&format!("v=STSv1; id={}", "1".repeat(33))], None);
        check(&[], None);
    }

    #[test]
    fn the_policy_of_the_rfc() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
                    mx: backupmx.example.com\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age.as_secs()), (Mode::Enforce, 604_800));
        let check =
            |host: &str, expected: bool| assert_eq!(policy.names(&Domain::parse(host).unwrap()), expected, "{host}");
        check("mail.example.com", true);
        check("MAIL.example.com", true);
        check("example.com", false);
        check("mx.example.net", true);
        check("example.net", false);
        check("a.mx.example.net", false);
        assert_eq!(Policy::parse(policy.text().as_bytes()), Ok(policy.clone()));
    }

    #[test]
    fn policies() {
        let check = |text: &str, expected: Result<&str, PolicyFault>| {
            let got = Policy::parse(text.as_bytes()).map(|policy| policy.text());
            assert_eq!(got, expected.map(str::to_owned), "{text}");
        };
        let good = "version: STSv1\nmode: testing\nmax_age: 60\nmx: a.example\n";
        check(good, Ok(good));
        check("version:STSv1\nmode:testing \nmode: enforce\nx-y: z\nmax_age:  60\nmx: A.example\n\n", Ok(good));
        check("mx: a.example\nmax_age: 60\nmode: testing\nversion: STSv1", Ok(good));
        let none = "version: STSv1\nmode: none\nmax_age: 31557600\n";
        check("version: STSv1\nmode: none\nmax_age: 9999999999", Ok(none));
        let field = |name| Err(PolicyFault::Field(name));
        check("", field("version"));
        check("version: STSv2\nmode: none\nmax_age: 1\n", field("version"));
        check("version: STSv1\nmode: Enforce\nmax_age: 1\nmx: a.example\n", field("mode"));
        check("version: STSv1\nmode: enforce\nmax_age: 1\n", field("mx"));
        check("version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.*.a.example\n", field("mx"));
        for age in ["", "-1", "1 s", "12345678901"] {
            check(&format!("version: STSv1\nmode: none\nmax_age: {age}\n"), field("max_age"));
        }
        check("<html>", Err(PolicyFault::Line));
        check(&format!("{good}{}", "mx: a.example\n".repeat(limits::POLICY_EXCHANGERS)), Err(PolicyFault::Exchangers));
        assert_eq!(Policy::parse(b"\xff"), Err(PolicyFault::NotText));
    }

    proptest! {
        #[test]
        fn nothing_panics(text: Vec<u8>, line in "[a-z_]{0,8}:[ -~]{0,20}") {
            let _ = Policy::parse(&text);
            let _ = Policy::parse(line.as_bytes());
            let _ = policy_id([text.as_slice(), format!("v=STSv1;{line}").as_bytes()]);
        }
    }
}
