//! Values of the configuration: TOML in, typed values out.
//!
//! Each kind of value has a name, which says what is expected, and a reader. A reader names the fault by the octets
//! that it is about, so that a mistake in a list points at its element.

mod mail;
mod services;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

pub(super) use self::mail::*;
pub(super) use self::services::*;
use super::problem::nearest;
use super::{Address, MailRoute, Pattern, Roots, Upstream, Upstreams, Via};
use crate::address::{Domain, Mailbox};
use crate::net::NetworkError;
use crate::policy::refused::{Party, PartyError};
use crate::route::{Host, MailServer, Target, TlsPolicy};
use crate::timestamp;

/// A fault and its place.
pub(super) type Fault = (Range<usize>, String);

/// A kind of value.
pub(super) struct Kind<T: 'static> {
    /// What is expected, for errors and the manual.
    pub name: &'static str,
    /// Reads it.
    pub read: fn(&Spanned<DeValue<'_>>) -> Result<T, Vec<Fault>>,
}

fn scalar<T>(value: &Spanned<DeValue<'_>>, read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Result<T, Vec<Fault>> {
    read(value.get_ref()).map_err(|message| vec![(value.span(), message)])
}

/// A list; all faulty elements are reported.
fn list<T>(value: &Spanned<DeValue<'_>>, read: fn(&str) -> Result<T, String>) -> Result<Vec<Spanned<T>>, Vec<Fault>> {
    let Some(elements) = value.get_ref().as_array() else {
        return Err(vec![(value.span(), format!("{} is not a list", describe(value.get_ref())))]);
    };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for element in elements {
        match string(element.get_ref()).and_then(read) {
            Ok(read) => good.push(Spanned::new(element.span(), read)),
            Err(message) => bad.push((element.span(), message)),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", text.escape_debug()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
        other => format!("a {}", other.type_str()),
    }
}

fn string<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{} is not a string", describe(value)))
}

fn quoted(text: &str, fault: impl std::fmt::Display) -> String {
    format!("\"{}\": {fault}", text.escape_debug())
}

/// `true` or `false`.
pub(super) const BOOLEAN: Kind<bool> = Kind {
    name: "true or false",
    read: |value| scalar(value, |v| v.as_bool().ok_or_else(|| format!("{} is not true or false", describe(v)))),
};

fn whole(value: &DeValue<'_>) -> Result<usize, String> {
    let number = value.as_integer().ok_or_else(|| format!("{} is not a whole number", describe(value)))?;
    let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
    let in_range = parsed.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=1_000_000).contains(n));
    in_range.ok_or_else(|| format!("{number} is out of range"))
}

/// A count.
pub(super) const COUNT: Kind<usize> =
    Kind { name: "a whole number from 1 to 1000000", read: |value| scalar(value, whole) };

/// A number of days.
pub(super) const DAYS: Kind<usize> = Kind {
    name: "a whole number from 1 to 3650",
    read: |value| {
        scalar(value, |v| {
            let days = whole(v)?;
            if days <= 3650 { Ok(days) } else { Err(format!("{days} is out of range")) }
        })
    },
};

/// A size with its unit.
pub(super) const SIZE: Kind<u64> = Kind {
    name: "a size from \"1 KiB\" to \"1 GiB\", such as \"512 KiB\" or \"10 MiB\"",
    read: |value| {
        scalar(value, |v| {
            let size = parse_size(string(v)?)?;
            let fits = (1024..=1 << 30).contains(&size);
            fits.then_some(size).ok_or_else(|| format!("{} is out of range", describe(v)))
        })
    },
};

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..split].parse().ok()?, text[split..].trim_start()))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || quoted(text, "not a number with one of the units B, KiB, MiB, GiB");
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A duration with its unit.
pub(super) const DURATION: Kind<Duration> = Kind {
    name: "a duration longer than zero, such as \"90s\", \"5m\", \"24h\" or \"7d\"",
    read: |value| scalar(value, |v| parse_duration(string(v)?)),
};

/// Reads a duration such as `90s`, `5m`, `24h`, `7d` or `500ms`; zero is refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    timestamp::duration(text).map_err(|fault| quoted(text, fault))
}

/// The retry schedule.
pub(super) const DURATIONS: Kind<Vec<Spanned<Duration>>> = Kind {
    name: "a list of durations, such as [\"5s\", \"1m\", \"1h\"]",
    read: |value| match list(value, parse_duration) {
        Ok(list) if list.is_empty() => Err(vec![(value.span(), "the list is empty".to_owned())]),
        other => other,
    },
};

fn parse_domain(text: &str) -> Result<Domain, String> {
    Domain::parse(text).map_err(|fault| quoted(text, fault))
}

/// A host name or mail domain.
pub(super) const DOMAIN: Kind<Domain> =
    Kind { name: "a domain name, such as \"a.example\"", read: |value| scalar(value, |v| parse_domain(string(v)?)) };

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') { Err(quoted(text, "not a path")) } else { Ok(PathBuf::from(text)) }
}

/// A path.
pub(super) const PATH: Kind<PathBuf> =
    Kind { name: "a path, not empty", read: |value| scalar(value, |v| parse_path(string(v)?)) };

/// Octets of the path of a Unix socket that every system takes (`sun_path` with its final NUL).
const SOCKET_PATH: usize = 107;

fn parse_socket_path(text: &str) -> Result<PathBuf, String> {
    if text.len() > SOCKET_PATH {
        return Err(format!("the path of the socket has {} octets", text.len()));
    }
    parse_path(text)
}

/// The path of a Unix socket.
pub(super) const SOCKET_FILE: Kind<PathBuf> = Kind {
    name: "a path of a Unix socket, at most 107 octets",
    read: |value| scalar(value, |v| parse_socket_path(string(v)?)),
};

/// Where to listen; the permissions of a Unix socket are a key of their own.
pub(super) const ADDRESS: Kind<Address> = Kind {
    name: "an IP address and port, such as \"[::]:2779\", or \"unix:/path\"",
    read: |value| {
        scalar(value, |v| {
            let text = string(v)?;
            match text.strip_prefix("unix:") {
                Some(path) => parse_socket_path(path).map(|path| Address::Unix(path, 0)),
                None => text.parse().map(Address::Tcp).map_err(|_| quoted(text, "not an IP address with a port")),
            }
        })
    },
};

/// Permission bits.
pub(super) const MODE: Kind<u32> = Kind {
    name: "three or four octal digits in quotes, such as \"0660\"",
    read: |value| {
        scalar(value, |v| {
            let text = string(v)?;
            let octal = (3..=4).contains(&text.len()).then(|| u32::from_str_radix(text, 8).ok()).flatten();
            octal.filter(|mode| *mode <= 0o777).ok_or_else(|| quoted(text, "not permission bits"))
        })
    },
};

/// Local parts of inboxes.
pub(super) const LOCAL_PARTS: Kind<Vec<Spanned<String>>> =
    Kind { name: "a list of local parts, such as [\"alice\", \"bob\"]", read: |value| list(value, parse_local_part) };

fn parse_local_part(text: &str) -> Result<String, String> {
    let any = Domain::parse("invalid").map_err(|fault| fault.to_string())?;
    if text.is_empty() {
        return Err("\"\": an inbox without a name".to_owned());
    }
    let mailbox = Mailbox::new(text, any).map_err(|fault| quoted(text, fault))?;
    Ok(mailbox.local().to_owned())
}

/// Root certificates.
pub(super) const ROOTS: Kind<Roots> = Kind {
    name: "\"system\", or a list of PEM files",
    read: |value| match value.get_ref().as_str() {
        Some("system") => Ok(Roots::System),
        Some(text) => Err(vec![(value.span(), quoted(text, "neither \"system\" nor a list"))]),
        None => list(value, parse_path).map(|files| Roots::Files(bare(files))),
    },
};

/// The values without their places.
pub(super) fn bare<T>(list: Vec<Spanned<T>>) -> Vec<T> {
    list.into_iter().map(Spanned::into_inner).collect()
}

fn with_port(text: &str, port: u16) -> Result<SocketAddr, String> {
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)));
    address.map_err(|_| quoted(text, "not an IP address, with or without a port"))
}

/// Resolvers.
pub(super) const DNS_SERVERS: Kind<Vec<Spanned<SocketAddr>>> = Kind {
    name: "a list of IP addresses with or without a port, such as [\"127.0.0.1\", \"[::1]:53\"]",
    read: |value| list(value, |text| with_port(text, 53)),
};

/// A SOCKS5 proxy.
pub(super) const PROXY: Kind<SocketAddr> = Kind {
    name: "an IP address and port, such as \"127.0.0.1:1080\"",
    read: |value| scalar(value, |v| with_port(string(v)?, 1080)),
};

/// Domains of a route.
pub(super) const PATTERNS: Kind<Vec<Spanned<Pattern>>> = Kind {
    name: "a list of domains (\"b.example\"), domains below one (\".b.example\"), or \"*\" for all",
    read: |value| list(value, |text| Pattern::parse(text).map_err(|fault| quoted(text, fault))),
};

fn parse_target(text: &str) -> Result<Target, String> {
    let wrong = || quoted(text, "not a host and port");
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Target { host: Host::Address(address.ip()), port: address.port(), secure: true });
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    Ok(Target { host: Host::Name(parse_domain(host)?), port, secure: true })
}

/// Servers of a route: one, or a list.
pub(super) const TARGETS: Kind<Vec<Target>> = Kind {
    name: "a host and port, such as \"mx.b.example:2779\" or \"[2001:db8::1]:2779\", or a list of them",
    read: |value| match value.get_ref() {
        DeValue::String(_) => scalar(value, |v| parse_target(string(v)?)).map(|target| vec![target]),
        _ => list(value, parse_target).map(bare),
    },
};

fn parse_mail_route(text: &str) -> Result<MailRoute, String> {
    let wrong = || quoted(text, "neither lmtp:unix:/path, lmtp:host:port nor smtp:host:port");
    let (protocol, place) = text.split_once(':').ok_or_else(wrong)?;
    let lmtp = match protocol {
        "lmtp" => true,
        "smtp" => false,
        _ => return Err(wrong()),
    };
    let server = match place.strip_prefix("unix:") {
        Some(path) if lmtp && path.starts_with('/') && path.len() <= 107 => MailServer::Socket(path.into()),
        Some(_) => return Err(wrong()),
        None => MailServer::Hosts(vec![parse_target(place)?]),
    };
    // What goes to this host itself is seen by nobody else.
    let here = |host: &Host| matches!(host, Host::Address(address) if address.to_canonical().is_loopback());
    let tls = match &server {
        MailServer::Hosts(targets) if !targets.iter().all(|target| here(&target.host)) => TlsPolicy::StartTls,
        _ => TlsPolicy::None,
    };
    Ok(MailRoute { lmtp, server, tls })
}

/// A way into the mail system.
pub(super) const MAIL_ROUTE: Kind<MailRoute> = Kind {
    name: "\"lmtp:unix:/path\", or lmtp or smtp with a host and port, such as \"smtp:127.0.0.1:25\"",
    read: |value| scalar(value, |v| parse_mail_route(string(v)?)),
};

/// A way into the mail system, or past it.
pub(super) const VIA: Kind<Via> = Kind {
    name: "\"mx\", \"lmtp:unix:/path\", or lmtp or smtp with a host and port, such as \"smtp:127.0.0.1:25\"",
    read: |value| {
        scalar(value, |v| match string(v)? {
            "mx" => Ok(Via::Exchangers),
            text => parse_mail_route(text).map(Via::Route),
        })
    },
};

fn parse_upstream(text: &str) -> Result<Upstream, String> {
    match text.parse() {
        Ok(network) => Ok(Upstream::Network(network)),
        Err(NetworkError::Address) => parse_domain(text).map(Upstream::Name),
        Err(fault) => Err(quoted(text, fault)),
    }
}

/// Who is kept out, or let in.
pub(super) const PARTIES: Kind<Vec<Party>> = Kind {
    name: "a list of IP addresses, networks, domains and addresses of mail",
    read: |value| list(value, |text| text.parse().map_err(|fault: PartyError| quoted(text, fault))).map(bare),
};

/// Upstream relays.
pub(super) const UPSTREAM: Kind<Upstreams> = Kind {
    name: "true (the servers of `via`), false, or a list of addresses, networks and certificate names",
    read: |value| match value.get_ref() {
        DeValue::Boolean(true) => Ok(Upstreams::Via),
        DeValue::Boolean(false) => Ok(Upstreams::None),
        _ => list(value, parse_upstream).map(|relays| Upstreams::From(bare(relays))),
    },
};

/// A value with a name, of a few.
pub(super) trait Choice: Copy + Sized + 'static {
    /// What is expected.
    const EXPECTED: &'static str;
    /// All of them.
    const CHOICES: &'static [(&'static str, Self)];
}

/// One of a few names.
pub(super) const fn choice<T: Choice>() -> Kind<T> {
    Kind {
        name: T::EXPECTED,
        read: |value| {
            scalar(value, |v| {
                let text = string(v)?;
                let found = T::CHOICES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
                found.ok_or_else(|| match nearest(text, T::CHOICES.iter().map(|(name, _)| *name)) {
                    Some(near) => quoted(text, format!("not known; did you mean \"{near}\"?")),
                    None => quoted(text, "not known"),
                })
            })
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug>(kind: &Kind<T>, text: &str, expected: Result<&str, &str>) {
        let value = DeValue::parse(text).unwrap();
        let got = (kind.read)(&value);
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(format!("{got:?}"), expected, "{text}"),
            (Err(got), Err(expected)) => assert_eq!(got[0].1, expected, "{text}"),
            (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn durations() {
        check(&DURATION, "\"90s\"", Ok("90s"));
        check(&DURATION, "\"24 h\"", Ok("86400s"));
        check(&DURATION, "\"250ms\"", Ok("250ms"));
        check(&DURATION, "\"0s\"", Err("\"0s\": no time at all"));
        let wrong = "not a number with one of the units ms, s, m, h, d";
        for bad in ["", "s", "5", "5 weeks", "-5s", "1.5h", "99999999999999999999s", "9999999999d"] {
            check(&DURATION, &format!("\"{bad}\""), Err(&format!("\"{bad}\": {wrong}")));
        }
        check(&DURATION, "5", Err("5 is not a string"));
    }

    #[test]
    fn sizes() {
        check(&SIZE, "\"10 MiB\"", Ok("10485760"));
        check(&SIZE, "\"4096B\"", Ok("4096"));
        check(&SIZE, "\"2 GiB\"", Err("\"2 GiB\" is out of range"));
        check(&SIZE, "\"10 MB\"", Err("\"10 MB\": not a number with one of the units B, KiB, MiB, GiB"));
        check(&SIZE, "10", Err("10 is not a string"));
    }

    #[test]
    fn addresses() {
        check(&ADDRESS, "\"[::]:2779\"", Ok("Tcp([::]:2779)"));
        check(&ADDRESS, "\"unix:/run/x\"", Ok("Unix(\"/run/x\", 0)"));
        check(&ADDRESS, "\"localhost:25\"", Err("\"localhost:25\": not an IP address with a port"));
        check(
            &DNS_SERVERS,
            "[\"::1\", \"127.0.0.1:53\"]",
            Ok("[Spanned { span: 1..6, value: [::1]:53 }, \
            Spanned { span: 8..22, value: 127.0.0.1:53 }]"),
        );
        check(&COUNT, "0", Err("0 is out of range"));
        check(&COUNT, "-1", Err("-1 is out of range"));
        check(&COUNT, "0x10", Ok("16"));
        check(&MODE, "\"0660\"", Ok("432"));
        check(&MODE, "\"0999\"", Err("\"0999\": not permission bits"));
    }

    #[test]
    fn targets_and_upstreams() {
        let target = |text: &str| parse_target(text).map(|t| (t.host, t.port));
        assert_eq!(target("[::1]:25"), Ok((Host::Address("::1".parse().unwrap()), 25)));
        assert_eq!(target("MX.b.example:25"), Ok((Host::Name(Domain::parse("mx.b.example").unwrap()), 25)));
        for bad in ["b.example", "b.example:0", "b.example:x", ":25", "::1:25x"] {
            assert!(target(bad).is_err(), "{bad}");
        }
        assert!(matches!(parse_upstream("192.0.2.0/24"), Ok(Upstream::Network(_))));
        assert!(matches!(parse_upstream("2001:db8::1"), Ok(Upstream::Network(_))));
        assert!(matches!(parse_upstream("mx.b.example"), Ok(Upstream::Name(_))));
        assert!(parse_upstream("192.0.2.0/33").is_err());
    }
}
