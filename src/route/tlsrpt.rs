//! What becomes of TLS at mail exchangers, counted by day, and the reports about it that domains ask for (RFC 8460). Pure.
//!
//! In: sessions, TXT records. Out: where reports go, the report of a day about a domain, counts as a text that outlives the
//! process. Invariants: bounded in days, domains, policies and troubles, whatever domains do; what has no room is not
//! counted. A day is one of UTC (RFC 8460 §4.1).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::address::{Domain, Mailbox};
use crate::timestamp::Timestamp;

/// Seconds of a day.
pub const DAY: u64 = 86_400;
/// What a record begins with.
const VERSION: &str = "v=TLSRPTv1";
/// Days that are kept until they are reported.
const DAYS: usize = 3;
/// Domains of one day.
const DOMAINS: usize = 2_000;
/// Policies of one domain in a day: it may change them.
const POLICIES: usize = 4;
/// Octets of the text of a policy, and lines: what has no room is left out of it.
const POLICY_OCTETS: usize = 4 * 1024;
const POLICY_LINES: usize = 100;
/// Kinds of trouble with one policy: by result, host and address.
const TROUBLES: usize = 50;
/// Addresses to which one report goes.
const ADDRESSES: usize = 5;

/// The name at which a domain asks for reports (RFC 8460 §3).
pub fn record_name(domain: &Domain) -> String {
    format!("_smtp._tls.{domain}")
}

/// Where a domain wants its reports, by mail (RFC 8460 §3); none where it does not ask, or not so that it can be read. Places
/// of the web are passed over.
pub fn addresses<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Vec<Mailbox> {
    let texts = records.into_iter().filter_map(|record| std::str::from_utf8(record).ok());
    let mut found = texts.filter_map(|text| {
        let (version, rest) = text.split_once(';')?;
        (version.trim() == VERSION).then_some(rest)
    });
    // More than one says nothing (RFC 8460 §3).
    let Some(fields) = found.next().filter(|_| found.next().is_none()) else { return Vec::new() };
    let rua = fields.split(';').filter_map(|field| field.split_once('=')).find(|(name, _)| name.trim() == "rua");
    let places = rua.map(|(_, value)| value).unwrap_or_default().split(',').map(str::trim);
    let mailbox = |place: &str| {
        let scheme = place.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:"))?;
        Mailbox::parse(place[scheme.len()..].split('?').next()?).ok()
    };
    places.filter_map(mailbox).take(ADDRESSES).collect()
}

/// What a domain says of its exchangers (RFC 8460 §4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub kind: Kind,
    /// It, line by line, or record by record.
    pub text: Vec<String>,
    /// The exchangers that an MTA-STS policy names.
    pub hosts: Vec<String>,
}

/// The kinds of policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// TLSA records.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// Nothing.
    #[default]
    None,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Tlsa => "tlsa",
            Kind::Sts => "sts",
            Kind::None => "no-policy-found",
        }
    }
}

/// What goes wrong (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// It does not offer STARTTLS.
    NoStartTls,
    /// The certificate names others.
    HostMismatch,
    /// The certificate's time is over, or has not begun.
    Expired,
    /// Nobody who is trusted has issued the certificate.
    NotTrusted,
    /// Anything else with TLS, or an exchanger that the MTA-STS policy does not name.
    Failure,
    /// Its certificate is none of its TLSA records, or no record can be used.
    TlsaInvalid,
}

impl Trouble {
    fn word(self) -> &'static str {
        match self {
            Trouble::NoStartTls => "starttls-not-supported",
            Trouble::HostMismatch => "certificate-host-mismatch",
            Trouble::Expired => "certificate-expired",
            Trouble::NotTrusted => "certificate-not-trusted",
            Trouble::Failure => "validation-failure",
            Trouble::TlsaInvalid => "tlsa-invalid",
        }
    }
}

/// One session with an exchanger, or the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose mail it takes.
    pub domain: Domain,
    /// What the domain says.
    pub policy: Policy,
    /// The exchanger.
    pub host: String,
    /// Its address, where it was reached.
    pub address: Option<IpAddr>,
    /// What was wrong; `None`: all is as it should be.
    pub trouble: Option<Trouble>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    policy: Policy,
    good: u64,
    bad: u64,
    troubles: Vec<Bad>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bad {
    trouble: Trouble,
    host: String,
    address: Option<IpAddr>,
    count: u64,
}

/// The counts, by day since 1970 and domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    days: BTreeMap<u64, BTreeMap<String, Vec<Counted>>>,
}

/// Who reports.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// The host.
    pub host: &'a Domain,
    /// Whom to ask about it.
    pub contact: &'a Mailbox,
}

/// The day of a time.
pub fn day_of(at: Timestamp) -> u64 {
    u64::try_from(at.secs()).unwrap_or_default() / DAY
}

impl Counts {
    /// As it was kept; nothing where it is none of ours.
    pub fn parse(text: &str) -> Counts {
        let mut counts: Counts = serde_json::from_str(text).unwrap_or_default();
        counts.bound();
        counts
    }

    /// To be kept.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn bound(&mut self) {
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
    }

    /// Counts a session.
    pub fn add(&mut self, at: Timestamp, session: Session) {
        let Session { domain, mut policy, host, address, trouble } = session;
        [&mut policy.text, &mut policy.hosts].into_iter().for_each(bounded);
        let day = self.days.entry(day_of(at)).or_default();
        if day.len() >= DOMAINS && !day.contains_key(domain.as_str()) {
            return;
        }
        let policies = day.entry(domain.as_str().to_owned()).or_default();
        let known = policies.iter().position(|one| one.policy == policy);
        let at = match known {
            Some(at) => at,
            None if policies.len() < POLICIES => {
                policies.push(Counted { policy, ..Counted::default() });
                policies.len() - 1
            }
            None => return,
        };
        let counted = &mut policies[at];
        match trouble {
            None => counted.good += 1,
            Some(trouble) => {
                counted.bad += 1;
                let same = |one: &&mut Bad| one.trouble == trouble && one.host == host && one.address == address;
                if let Some(one) = counted.troubles.iter_mut().find(same) {
                    one.count += 1;
                } else if counted.troubles.len() < TROUBLES {
                    counted.troubles.push(Bad { trouble, host, address, count: 1 });
                }
            }
        }
        self.bound();
    }

    /// What can be reported now: days that are over, and domains. The reports of a day are spread over the next morning, so that
    /// not all hosts of the world report at midnight (RFC 8460 §4.1); those of days before at once.
    pub fn due(&self, now: Timestamp) -> Vec<(u64, Domain)> {
        let today = day_of(now);
        let since = u64::try_from(now.secs()).unwrap_or_default() % DAY;
        let over = self.days.range(..today).flat_map(|(day, domains)| domains.keys().map(|domain| (*day, domain)));
        let due = over.filter(|(day, domain)| *day + 1 < today || offset(domain) <= since);
        due.filter_map(|(day, domain)| Some((day, Domain::parse(domain).ok()?))).collect()
    }

    /// It has been reported, or nobody asks for it.
    pub fn done(&mut self, day: u64, domain: &Domain) {
        if let Some(domains) = self.days.get_mut(&day) {
            domains.remove(domain.as_str());
            if domains.is_empty() {
                self.days.remove(&day);
            }
        }
    }

    /// The report of a day about a domain (RFC 8460 §4.4).
    pub fn report(&self, reporter: &Reporter<'_>, day: u64, domain: &Domain) -> Option<Value> {
        let policies = self.days.get(&day)?.get(domain.as_str())?;
        let one = |counted: &Counted| {
            let Counted { policy, good, bad, troubles } = counted;
            let mut said = json!({ "policy-type": policy.kind.word(), "policy-domain": domain.as_str() });
            if !policy.text.is_empty() {
                said["policy-string"] = json!(policy.text);
            }
            if !policy.hosts.is_empty() {
                said["mx-host"] = json!(policy.hosts);
            }
            let details: Vec<Value> = troubles.iter().map(detail).collect();
            let summary = json!({ "total-successful-session-count": good, "total-failure-session-count": bad });
            let mut one = json!({ "policy": said, "summary": summary });
            if !details.is_empty() {
                one["failure-details"] = json!(details);
            }
            one
        };
        let (from, to) = span(day);
        Some(json!({
            "organization-name": reporter.host.as_str(),
            "date-range": { "start-datetime": seconds(from), "end-datetime": seconds(to) },
            "contact-info": reporter.contact.to_string(),
            "report-id": id(reporter.host, day, domain),
            "policies": policies.iter().map(one).collect::<Vec<Value>>(),
        }))
    }
}

/// The first lines, as many as there is room for.
fn bounded(lines: &mut Vec<String>) {
    let octets = lines.iter().scan(0, |sum, line| {
        *sum += line.len();
        Some(*sum)
    });
    lines.truncate(octets.take(POLICY_LINES).take_while(|sum| *sum <= POLICY_OCTETS).count());
}

/// As RFC 8460 §4.4 shows times: without parts of a second.
fn seconds(at: Timestamp) -> String {
    at.rfc3339().replace(".000Z", "Z")
}

fn detail(bad: &Bad) -> Value {
    let mut detail = json!({
        "result-type": bad.trouble.word(),
        "receiving-mx-hostname": bad.host,
        "failed-session-count": bad.count,
    });
    if let Some(address) = bad.address {
        detail["receiving-ip"] = json!(address.to_string());
    }
    detail
}

/// The first and the last second of a day.
pub fn span(day: u64) -> (Timestamp, Timestamp) {
    let from = Timestamp::from_secs(i64::try_from(day * DAY).unwrap_or_default());
    (from, from.after(Duration::from_secs(DAY - 1)))
}

/// What tells the report from all others, always the same.
pub fn id(host: &Domain, day: u64, domain: &Domain) -> String {
    format!("{}_{domain}@{host}", span(day).0.rfc3339().chars().take(10).collect::<String>())
}

/// The second of the next day at which a domain's report is made: within the first four hours.
fn offset(domain: &str) -> u64 {
    domain.bytes().fold(0_u64, |sum, octet| sum.wrapping_mul(31).wrapping_add(octet.into())) % (4 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_046_400);

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn session(of: &str, kind: Kind, trouble: Option<Trouble>) -> Session {
        let (text, hosts) = match kind {
            Kind::Sts => {
                (vec!["version: STSv1".to_owned(), "mode: enforce".to_owned()], vec!["*.b.example".to_owned()])
            }
            Kind::Tlsa => (vec!["3 1 1 00".to_owned()], Vec::new()),
            Kind::None => Default::default(),
        };
        let policy = Policy { kind, text, hosts };
        let address = Some("192.0.2.1".parse().unwrap());
        Session { domain: domain(of), policy, host: "mx.b.example".to_owned(), address, trouble }
    }

    #[test]
    fn who_asks_for_reports() {
        let check = |records: &[&str], expected: &[&str]| {
            let found = addresses(records.iter().map(|record| record.as_bytes()));
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{records:?}");
        };
        check(&["v=TLSRPTv1; rua=mailto:r@b.example"], &["r@b.example"]);
        check(
            &["v=TLSRPTv1;rua=mailto:r@b.example,https://b.example/x, MAILTO:s@c.example?x"],
            &["r@b.example", "s@c.example"],
        );
        check(&["v=spf1 -all", "v=TLSRPTv1; rua=mailto:r@b.example;"], &["r@b.example"]);
        check(&["v=TLSRPTv1; x=y; rua = mailto:r@b.example"], &["r@b.example"]);
        check(&["v=TLSRPTv1; rua=mailto:r@b.example", "v=TLSRPTv1; rua=mailto:s@b.example"], &[]);
        check(&["v=TLSRPTv2; rua=mailto:r@b.example"], &[]);
        check(&["v=TLSRPTv1; rua=mailto:nobody"], &[]);
        check(&["v=TLSRPTv1"], &[]);
        let many: Vec<String> = (0..9).map(|number| format!("mailto:r{number}@b.example")).collect();
        assert_eq!(addresses([format!("v=TLSRPTv1; rua={}", many.join(",")).as_bytes()]).len(), ADDRESSES);
    }

    #[test]
    fn a_report_says_what_was_counted() {
        let mut counts = Counts::default();
        for trouble in [None, None, Some(Trouble::Expired), Some(Trouble::Expired), Some(Trouble::NoStartTls)] {
            counts.add(NOW, session("b.example", Kind::Sts, trouble));
        }
        counts.add(NOW, session("b.example", Kind::None, None));
        counts.add(NOW, session("c.example", Kind::Tlsa, None));
        let (host, contact) = (domain("mx.a.example"), Mailbox::parse("postmaster@a.example").unwrap());
        let reporter = Reporter { host: &host, contact: &contact };
        let day = day_of(NOW);
        let report = counts.report(&reporter, day, &domain("b.example")).unwrap();
        let expected = include_str!("../../tests/golden/tlsrpt/report.json");
        assert_eq!(report, serde_json::from_str::<Value>(expected).unwrap(), "{report:#}");
        assert_eq!(counts.report(&reporter, day, &domain("d.example")), None);
        assert_eq!(counts.report(&reporter, day + 1, &domain("b.example")), None);
        assert_eq!(Counts::parse(&counts.text()), counts);
        assert_eq!(Counts::parse("anything"), Counts::default());
    }

    #[test]
    fn reports_are_due_the_next_morning_and_once() {
        let mut counts = Counts::default();
        counts.add(NOW, session("b.example", Kind::None, None));
        counts.add(NOW, session("c.example", Kind::None, None));
        let day = day_of(NOW);
        let at = |seconds: u64| span(day + 1).0.after(Duration::from_secs(seconds));
        assert!(counts.due(NOW).is_empty() && counts.due(span(day).1).is_empty(), "the day goes on");
        let last = ["b.example", "c.example"].map(offset).into_iter().max().unwrap();
        assert!(last > 0 && counts.due(at(last - 1)).len() < 2 && counts.due(at(last)).len() == 2);
        counts.done(day, &domain("b.example"));
        assert_eq!(counts.due(at(last)), [(day, domain("c.example"))]);
        // One that was away for a day reports at once.
        assert_eq!(counts.due(at(DAY)), [(day, domain("c.example"))]);
        counts.done(day, &domain("c.example"));
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn bounded() {
        let mut counts = Counts::default();
        for number in 0..DOMAINS + 5 {
            counts.add(NOW, session(&format!("d{number}.example"), Kind::None, None));
        }
        assert_eq!(counts.days[&day_of(NOW)].len(), DOMAINS);
        for number in 0..200 {
            let mut one = session("d1.example", Kind::None, Some(Trouble::Failure));
            one.host = format!("mx{number}.d1.example");
            counts.add(NOW, one.clone());
            one.policy.text = vec![number.to_string()];
            counts.add(NOW, one);
        }
        let policies = &counts.days[&day_of(NOW)]["d1.example"];
        assert_eq!((policies.len(), policies[0].troubles.len(), policies[0].bad), (POLICIES, TROUBLES, 200));
        for (line, lines) in [("x".repeat(1000), 4), ("x".to_owned(), POLICY_LINES)] {
            let mut one = session("d2.example", Kind::Sts, None);
            one.policy.text = vec![line; 200];
            counts.add(NOW, one);
            let policies = &counts.days[&day_of(NOW)]["d2.example"];
            assert_eq!(policies.last().map(|one| one.policy.text.len()), Some(lines));
        }
        for number in 0..9 {
            counts.add(NOW.after(Duration::from_secs(number * DAY)), session("b.example", Kind::None, None));
        }
        assert_eq!(counts.days.len(), DAYS);
    }
}
