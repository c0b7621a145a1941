//! The DNS records that make a domain reachable, in the form of a zone file (RFC 1035 §5.1).

use crate::address::Domain;

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The name of this server.
    pub host: Domain,
    /// The ports of its relays.
    pub ports: Vec<u16>,
    /// The ports for clients.
    pub client_ports: Vec<u16>,
    /// The domains served.
    pub domains: Vec<Offer>,
    /// SHA-256 of the public key of each certificate, in hexadecimal.
    pub key_digests: Vec<String>,
    /// The authorities of domains: owner and data of their SMIMEA records.
    pub authorities: Vec<(String, String)>,
}

/// What a domain offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The domain.
    pub domain: Domain,
    /// Instant inboxes.
    pub im: bool,
    /// Presentities.
    pub presence: bool,
}

impl Offer {
    /// The services of RFC 3861 §7, and whether they are offered.
    pub(super) fn services(&self) -> [(&'static str, bool); 2] {
        [("_im", self.im), ("_pres", self.presence)]
    }
}

/// Seconds that others may keep a record.
const TTL: u32 = 3600;

/// The records as lines of a zone file; names are absolute, so it can go into any zone.
pub fn zone(facts: &Facts) -> String {
    let mut out = String::new();
    let host = &facts.host;
    for offer in &facts.domains {
        let domain = &offer.domain;
        out.push_str(&format!("; {domain}: where its services are\n"));
        for (service, offered) in offer.services() {
            let owner = format!("{service}._impp.{domain}.");
            if offered && facts.ports.is_empty() {
                out.push_str(&format!("; no SRV record at {owner}: the configuration has no relay listener\n"));
                continue;
            }
            if !offered {
                // A target of "." says that the service is decidedly not offered (RFC 2782).
                out.push_str(&record(&owner, "SRV", "0 0 0 ."));
                continue;
            }
            for port in &facts.ports {
                out.push_str(&record(&owner, "SRV", &format!("0 1 {port} {host}.")));
            }
        }
        for port in facts.client_ports.iter().filter(|_| offer.im || offer.presence) {
            out.push_str(&record(&format!("_impp-client._tcp.{domain}."), "SRV", &format!("0 1 {port} {host}.")));
        }
    }
    if !facts.authorities.is_empty() {
        out.push_str(
            "; whose certificates for messages hold (RFC 8162); only in a zone that is signed, best with NSEC3\n",
        );
    }
    for (owner, data) in &facts.authorities {
        out.push_str(&record(&format!("{owner}."), "SMIMEA", data));
    }
    out.push_str(&format!("; {host}: this server; give it its public addresses\n"));
    out.push_str(&format!("; {host}. {TTL} IN A    192.0.2.1\n; {host}. {TTL} IN AAAA 2001:db8::1\n"));
    if facts.key_digests.is_empty() || facts.ports.is_empty() {
        out.push_str("; no TLSA record: there is no relay with a certificate\n");
        return out;
    }
    out.push_str(&format!("; {host}: its keys; only in a zone that is signed, and before a new key is used\n"));
    for port in facts.ports.iter().chain(&facts.client_ports) {
        for digest in &facts.key_digests {
            out.push_str(&record(&format!("_{port}._tcp.{host}."), "TLSA", &format!("3 1 1 {digest}")));
        }
    }
    out
}

fn record(owner: &str, kind: &str, data: &str) -> String {
    format!("{owner:<40} {TTL} IN {kind:<4} {data}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let domain = |name: &str| Domain::parse(name).unwrap();
        let mut facts = Facts {
            host: domain("mx.a.example"),
            ports: vec![2779],
            client_ports: vec![2780],
            domains: vec![
                Offer { domain: domain("a.example"), im: true, presence: true },
                Offer { domain: domain("b.example"), im: true, presence: false },
            ],
            key_digests: vec!["00ff".to_owned()],
            authorities: vec![("*._smimecert.a.example".to_owned(), "2 0 0 3082".to_owned())],
        };
        let text = zone(&facts);
        let records: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with(';'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            records,
            [
                "_im._impp.a.example. 3600 IN SRV 0 1 2779 mx.a.example.",
                "_pres._impp.a.example. 3600 IN SRV 0 1 2779 mx.a.example.",
                "_impp-client._tcp.a.example. 3600 IN SRV 0 1 2780 mx.a.example.",
                "_im._impp.b.example. 3600 IN SRV 0 1 2779 mx.a.example.",
                "_pres._impp.b.example. 3600 IN SRV 0 0 0 .",
                "_impp-client._tcp.b.example. 3600 IN SRV 0 1 2780 mx.a.example.",
                "*._smimecert.a.example. 3600 IN SMIMEA 2 0 0 3082",
                "_2779._tcp.mx.a.example. 3600 IN TLSA 3 1 1 00ff",
                "_2780._tcp.mx.a.example. 3600 IN TLSA 3 1 1 00ff",
            ]
        );
        facts.ports.clear();
        let text = zone(&facts);
        assert!(text.contains("; no SRV record at _im._impp.a.example.: the configuration has no relay listener\n"));
        assert!(text.contains("_pres._impp.b.example.                   3600 IN SRV  0 0 0 .\n"), "{text}");
    }
}
