//! Values about the mail system.

use std::net::SocketAddr;

use super::{Kind, bare, describe, list, parse_domain, quoted, scalar, string};
use crate::address::{Domain, Mailbox};
use crate::bridge::intake::SpamField;

fn parse_authserv_id(text: &str) -> Result<String, String> {
    let token =
        !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    token.then(|| text.to_owned()).ok_or_else(|| quoted(text, "not a name of letters, digits, dots and hyphens"))
}

/// Names in Authentication-Results.
pub(in crate::config) const AUTHSERV_IDS: Kind<Vec<String>> = Kind {
    name: "a list of names, such as [\"mx.a.example\"]",
    read: |value| list(value, parse_authserv_id).map(bare),
};

/// Several domains.
pub(in crate::config) const DOMAINS: Kind<Vec<Domain>> = Kind {
    name: "a list of domain names, such as [\"list.example\"]",
    read: |value| list(value, parse_domain).map(bare),
};

/// An address.
pub(in crate::config) const MAILBOX: Kind<Mailbox> = Kind {
    name: "an address, such as \"postmaster@a.example\"",
    read: |value| {
        scalar(value, |v| {
            let text = string(v)?;
            Mailbox::parse(text).map_err(|fault| quoted(text, fault))
        })
    },
};

/// An address and port.
pub(in crate::config) const SOCKET: Kind<SocketAddr> = Kind {
    name: "an address and port, such as \"127.0.0.1:8058\" or \"[::]:443\"",
    read: |value| {
        scalar(value, |v| {
            let text = string(v)?;
            text.parse().map_err(|_| quoted(text, "not an address and a port"))
        })
    },
};

/// A page of the web, to which a query is added.
pub(in crate::config) const UNSUBSCRIBE_URL: Kind<String> = Kind {
    name: "\"https://host/path\", without ? and #",
    read: |value| {
        scalar(value, |v| {
            let text = string(v)?;
            let rest = text.strip_prefix("https://").filter(|rest| !rest.starts_with('/') && text.len() <= 200);
            let good = rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_graphic() && !b"?#<>,\"".contains(&octet))
            });
            if good { Ok(text.to_owned()) } else { Err(quoted(text, "not such a URL")) }
        })
    },
};

/// A count of servers.
pub(in crate::config) const HOPS: Kind<usize> = Kind {
    name: "a whole number from 0 to 10",
    read: |value| {
        scalar(value, |v| {
            let number = v.as_integer().and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
            number.filter(|number| *number <= 10).ok_or_else(|| format!("{} is not a number from 0 to 10", describe(v)))
        })
    },
};

/// Fields and how their values begin.
pub(in crate::config) const SPAM_FIELDS: Kind<Vec<SpamField>> = Kind {
    name: "a list of fields with the beginning of their values, such as [\"X-Spam-Flag: YES\"]",
    read: |value| {
        let read = |text: &str| SpamField::parse(text).ok_or_else(|| quoted(text, "not a name, a colon and a value"));
        list(value, read).map(bare)
    },
};
