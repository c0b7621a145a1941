//! The section about mail. In: its table. Out: plain data; a domain whose people get mail has a mail store.

use toml::de::DeTable;

use super::build::{Problems, section};
use super::problem::Problem;
use super::read::Table;
use super::{Bridge, MailRoute, Via, keys};
use crate::policy::identity::mail::Believed;
use crate::route::TlsPolicy;

/// The section bridge.
pub(super) fn bridge(table: &Table<'_>, document: &DeTable<'_>, problems: &mut Problems) -> Option<Bridge> {
    let faults = problems.len();
    let via = table.value(&keys::BRIDGE_VIA, problems);
    let store = table.value(&keys::BRIDGE_STORE, problems);
    let tls = table.value(&keys::BRIDGE_TLS, problems);
    let authserv_ids = table.value(&keys::BRIDGE_AUTHSERV_IDS, problems);
    let hops = table.value(&keys::BRIDGE_HOPS, problems);
    let examination = table.value(&keys::BRIDGE_EXAMINATION, problems);
    let sealers = table.value(&keys::BRIDGE_SEALERS, problems);
    let spam = table.value(&keys::BRIDGE_SPAM, problems);
    let tls_reports = table.value(&keys::BRIDGE_TLS_REPORTS, problems);
    let unsubscribe_url = table.value(&keys::BRIDGE_UNSUBSCRIBE_URL, problems);
    let unsubscribe_listen = table.value(&keys::BRIDGE_UNSUBSCRIBE_LISTEN, problems);
    if let (Some(span), None) = (table.has(&keys::BRIDGE_UNSUBSCRIBE_LISTEN), &unsubscribe_url) {
        let problem = Problem::new(span, "`unsubscribe_listen` is there, but no mail says where to click");
        problems.push(problem.expected("`unsubscribe_url`, the URL at which others reach it"));
    }
    if problems.len() > faults {
        return None;
    }
    let route = match &via {
        Some(Via::Route(route)) => Some(route.clone()),
        Some(Via::Exchangers) | None => None,
    };
    if let (None, None, Some(span)) = (&route, &store, table.has(&keys::BRIDGE_TLS)) {
        problems.push(
            Problem::new(span, "`tls` is there, but no server").hint("name one in `via` or `store`, or leave it out"),
        );
    }
    for domain in Table::repeated(document, section("domain"), &mut Vec::new()) {
        if let (None, None, Some(span)) = (&route, &store, domain.has(&keys::DOMAIN_FALLBACK)) {
            let problem = Problem::new(span, "`fallback` is set, but mail has nowhere to go");
            problems.push(problem.expected("`store`, or a server in `via`, in the section [bridge]"));
        }
    }
    let proven = |route: MailRoute| match tls {
        // A socket, or loopback, is this host.
        Some(tls) if route.tls != TlsPolicy::None => MailRoute { tls, ..route },
        _ => route,
    };
    let (route, store) = (route.map(proven), store.map(proven));
    let via = via.map(|via| route.clone().map_or(via, Via::Route));
    let believed = Believed { authserv_ids: authserv_ids?, hops: hops?, examination: examination? };
    Some(Bridge {
        store: store.or(route),
        via,
        believed,
        sealers: sealers?,
        spam: spam?,
        tls_reports,
        unsubscribe_url,
        unsubscribe_listen,
    })
}
