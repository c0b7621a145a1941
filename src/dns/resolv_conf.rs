//! The system's list of resolvers, resolv.conf(5).
//!
//! Only `nameserver` and the option `trust-ad` matter here: names are always absolute.

use std::net::{IpAddr, Ipv4Addr};

/// Servers that are used, as in resolv.conf(5).
const SERVERS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// At least one.
    pub(super) servers: Vec<IpAddr>,
    /// The administrator says that the servers validate and that the way to them is safe.
    pub(super) trust_ad: bool,
}

impl ResolvConf {
    /// Reads the file's text; without a server it is the one on this host.
    pub(super) fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf { servers: Vec::new(), trust_ad: false };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < SERVERS => {
                    // A scope such as fe80::1%eth0 cannot be kept in an address; such a server is passed over.
                    conf.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("options") => conf.trust_ad |= words.any(|word| word == "trust-ad"),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        conf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, servers: &[&str], trust_ad: bool) {
        let servers = servers.iter().map(|server| server.parse().unwrap()).collect();
        assert_eq!(ResolvConf::parse(text), ResolvConf { servers, trust_ad }, "{text}");
    }

    #[test]
    fn files() {
        check("", &["127.0.0.1"], false);
        check("# nameserver 192.0.2.1\nsearch a.example\n", &["127.0.0.1"], false);
        check("nameserver 192.0.2.1 # first\nnameserver\t::1\noptions edns0 trust-ad\n", &["192.0.2.1", "::1"], true);
        check("nameserver fe80::1%eth0\nnameserver 192.0.2.9\n", &["192.0.2.9"], false);
        check(&"nameserver 192.0.2.1\n".repeat(9), &["192.0.2.1"; 3], false);
    }
}
