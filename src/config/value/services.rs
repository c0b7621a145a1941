//! Values about people and the services that know them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{Fault, Kind, bare, describe, list, parse_domain, parse_local_part, parse_path, quoted, scalar, string};
use crate::accounts::Place;
use crate::net::Host;
use crate::rules::edit::Who;

/// A place and a path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Url {
    pub place: Place,
    pub path: String,
}

/// An alias and its members, as written.
#[derive(Clone, Debug)]
pub(in crate::config) struct AliasEntry {
    pub alias: Spanned<String>,
    pub members: Vec<Spanned<String>>,
}

/// People and whole domains.
pub(in crate::config) const WHO: Kind<Vec<Spanned<Who>>> = Kind {
    name: "a list of domains and addresses",
    read: |value| list(value, |text| text.parse().map_err(|fault| quoted(text, fault))),
};

/// Files.
pub(in crate::config) const PATHS: Kind<Vec<PathBuf>> =
    Kind { name: "a list of paths", read: |value| list(value, parse_path).map(bare) };

fn parse_text(text: &str) -> Result<String, String> {
    let sane = !text.is_empty() && !text.chars().any(char::is_control);
    if sane { Ok(text.to_owned()) } else { Err(quoted(text, "empty, or with control characters")) }
}

/// A text.
pub(in crate::config) const TEXT: Kind<String> =
    Kind { name: "a text, not empty", read: |value| scalar(value, |v| parse_text(string(v)?)) };

/// The name of a credential of systemd, which is a file's.
pub(in crate::config) const CREDENTIAL: Kind<String> = Kind {
    name: "the name of a credential",
    read: |value| {
        scalar(value, |v| {
            let text = parse_text(string(v)?)?;
            let plain = !text.starts_with('.') && !text.contains('/');
            if plain { Ok(text) } else { Err(quoted(&text, "not the name of a file")) }
        })
    },
};

/// A text with a place for the account.
pub(in crate::config) const TEMPLATE: Kind<String> = Kind {
    name: "a distinguished name with {local}, {domain} or {address} in it",
    read: |value| {
        scalar(value, |v| {
            let text = parse_text(string(v)?)?;
            let varies = ["{local}", "{domain}", "{address}"].iter().any(|part| text.contains(part));
            if varies { Ok(text) } else { Err(quoted(&text, "the same for every account")) }
        })
    },
};

fn parse_url(text: &str, schemes: &[(&str, u16, bool)]) -> Result<Url, String> {
    let wrong = || quoted(text, "not such a URL");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let known = schemes.iter().find(|(name, ..)| scheme.eq_ignore_ascii_case(name));
    let (_, port, tls) = *known.ok_or_else(wrong)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !path.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(wrong());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => {
            (host, digits.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
        }
        _ => (authority, port),
    };
    let literal = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    let host = match literal.parse::<IpAddr>() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(parse_domain(host)?),
    };
    match &host {
        Host::Address(_) if tls => return Err(quoted(text, "a certificate names a host, not its address")),
        Host::Address(address) if !address.is_loopback() => return Err(quoted(text, "in the clear, to another host")),
        Host::Name(_) if !tls => return Err(quoted(text, "in the clear, and perhaps to another host")),
        _ => {}
    }
    Ok(Url { place: Place { host, port, tls }, path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
}

fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| quoted(text, "not an IP address and port"))?;
    match address.ip().to_canonical().is_loopback() {
        true => Ok(address),
        false => Err(quoted(text, "other hosts reach it, and it asks nobody who they are")),
    }
}

/// A socket for programs of this host.
pub(in crate::config) const LOOPBACK: Kind<SocketAddr> = Kind {
    name: "a loopback address and port, such as \"127.0.0.1:9779\"",
    read: |value| scalar(value, |v| parse_loopback(string(v)?)),
};

/// A directory.
pub(in crate::config) const LDAP_URL: Kind<Url> = Kind {
    name: "\"ldaps://host\" with or without a port, or \"ldap://\" with a loopback address",
    read: |value| scalar(value, |v| parse_url(string(v)?, &[("ldaps", 636, true), ("ldap", 389, false)])),
};

/// A page of a web server.
pub(in crate::config) const HTTPS_URL: Kind<Url> = Kind {
    name: "\"https://host/path\", or \"http://\" with a loopback address",
    read: |value| scalar(value, |v| parse_url(string(v)?, &[("https", 443, true), ("http", 80, false)])),
};

fn parse_member(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("\"\": a member without a name".to_owned()) } else { Ok(text.to_owned()) }
}

fn alias(name: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Spanned<String>>, Vec<Fault>> {
    parse_local_part(name).map_err(|fault| vec![(value.span(), fault)])?;
    let members = match value.get_ref() {
        DeValue::String(text) => {
            let member = parse_member(text).map_err(|fault| vec![(value.span(), fault)])?;
            vec![Spanned::new(value.span(), member)]
        }
        _ => list(value, parse_member)?,
    };
    if members.is_empty() { Err(vec![(value.span(), format!("nobody is behind {name}"))]) } else { Ok(members) }
}

/// Aliases and groups.
pub(in crate::config) const ALIASES: Kind<Vec<AliasEntry>> = Kind {
    name: "a table from local parts to a member or a list of members",
    read: |value| {
        let Some(table) = value.get_ref().as_table() else {
            return Err(vec![(value.span(), format!("{} is not a table", describe(value.get_ref())))]);
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (name, members) in table {
            match alias(name.get_ref(), members) {
                Ok(members) => {
                    good.push(AliasEntry { alias: Spanned::new(name.span(), name.get_ref().to_string()), members });
                }
                Err(faults) => bad.extend(faults),
            }
        }
        if bad.is_empty() { Ok(good) } else { Err(bad) }
    },
};
