//! The metrics: each once, with its name, its text and where its numbers come from; and the text that Prometheus reads.
//!
//! In: a [`Snapshot`]. Out: OpenMetrics. Invariant: labels have few values, all of them from the code: no address, and no
//! domain that somebody else could make up. Fails: never.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::attached;
use crate::deliver::HANDSHAKES;
use crate::dns::meters::ANSWERS;
use crate::meter::Distribution;
use crate::presence;
use crate::queue::counters::{CLASSES, Counters, Fate, Group};
use crate::receive::Meters;
use crate::receive::meters::SERVICES;
use crate::spool::{self, Distributions};

/// The labels of a number.
type Labels = Vec<(&'static str, &'static str)>;

/// What the metrics are made of, of one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub version: &'static str,
    /// Seconds since the epoch.
    pub started: f64,
    pub spool: spool::Status,
    pub commits: Distributions,
    /// Age of the oldest message that is not delivered, in seconds.
    pub oldest: f64,
    /// What waits for destinations, and what is in delivery to them.
    pub lines: Vec<(Group, u64, u64)>,
    pub attached: attached::Status,
    pub presence: presence::Status,
    pub connections_in: u64,
    pub connections_out: u64,
    pub accepted: Vec<(Labels, u64)>,
    pub connections: Vec<(Labels, u64)>,
    pub turned_away: u64,
    pub tls: Vec<(Labels, u64)>,
    pub signatures: Vec<(Labels, u64)>,
    /// For each fate.
    pub recipients: [Vec<(Labels, u64)>; 3],
    pub answers: Vec<(Labels, u64)>,
    pub remembered: u64,
}

enum Values {
    One(f64),
    Each(Vec<(Labels, u64)>),
    /// And how many of its units are one.
    Spread(Distribution, f64),
}

struct Metric {
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    help: &'static str,
    read: fn(&Snapshot) -> Values,
}

fn counter(name: &'static str, help: &'static str, read: fn(&Snapshot) -> Values) -> Metric {
    Metric { name, unit: None, kind: MetricType::Counter, help, read }
}

fn gauge(name: &'static str, help: &'static str, read: fn(&Snapshot) -> Values) -> Metric {
    Metric { name, unit: None, kind: MetricType::Gauge, help, read }
}

fn seconds(name: &'static str, help: &'static str, read: fn(&Snapshot) -> Values) -> Metric {
    Metric { name, unit: Some(Unit::Seconds), kind: MetricType::Gauge, help, read }
}

fn one(number: u64) -> Values {
    Values::One(number as f64)
}

fn spread(name: &'static str, unit: Option<Unit>, help: &'static str, read: fn(&Snapshot) -> Values) -> Metric {
    Metric { name, unit, kind: MetricType::Histogram, help, read }
}

fn messages() -> Vec<Metric> {
    vec![
        counter("accepted", "Messages accepted, by class and service", |s| Values::Each(s.accepted.clone())),
        counter("duplicates", "Second copies that were recognised and dropped", |s| one(s.spool.duplicates)),
        counter("delivered", "Recipients handed on, by class and group of the destination", |s| {
            Values::Each(s.recipients[0].clone())
        }),
        counter("deferred", "Attempts that were deferred, by class and group of the destination", |s| {
            Values::Each(s.recipients[1].clone())
        }),
        counter("failed", "Recipients that failed, by class and group of the destination", |s| {
            Values::Each(s.recipients[2].clone())
        }),
        gauge("queue_messages", "Messages in the spool that are to be delivered", |s| one(s.spool.messages)),
        gauge("queue_owed", "Messages that are delivered, and kept for further devices", |s| one(s.spool.owed)),
        gauge("queue_octets", "Octets of the entities of both", |s| one(s.spool.octets)),
        seconds("queue_oldest_age", "Age of the oldest message that is to be delivered", |s| Values::One(s.oldest)),
        gauge("queue_waiting", "Messages that wait, by group of the destination", |s| {
            Values::Each(s.lines.iter().map(|(group, waiting, _)| (of(*group), *waiting)).collect())
        }),
        gauge("queue_in_delivery", "Messages in delivery, by group of the destination", |s| {
            Values::Each(s.lines.iter().map(|(group, _, flying)| (of(*group), *flying)).collect())
        }),
        spread("commit", Some(Unit::Seconds), "What a commit of the spool took, its sync included", |s| {
            Values::Spread(s.commits.times.clone(), 1e6)
        }),
        spread("commit_size", None, "Commands that shared a commit", |s| Values::Spread(s.commits.sizes.clone(), 1.0)),
        counter("syncs", "Syncs of the spool", |s| one(s.spool.syncs)),
        gauge("spool_read_only", "Whether the spool takes nothing", |s| one(u64::from(s.spool.read_only.is_some()))),
        gauge("spool_set_aside", "Records that cannot be read", |s| one(s.spool.set_aside)),
    ]
}

fn connections() -> Vec<Metric> {
    vec![
        gauge("connections", "Connections there are, by direction", |s| {
            Values::Each(vec![
                (vec![("direction", "in")], s.connections_in),
                (vec![("direction", "out")], s.connections_out),
            ])
        }),
        counter("connections_taken", "Connections from outside, by service", |s| Values::Each(s.connections.clone())),
        counter("connections_refused", "Connections that found no place", |s| one(s.turned_away)),
        counter("tls_handshakes", "Handshakes of TLS, by direction and what came of them", |s| {
            Values::Each(s.tls.clone())
        }),
        counter("signatures", "Signatures of entities, by what was found", |s| Values::Each(s.signatures.clone())),
        counter("dns_answers", "Questions that DNS was asked, by what they brought", |s| {
            Values::Each(s.answers.clone())
        }),
        counter("dns_remembered", "Questions that were answered from memory", |s| one(s.remembered)),
        gauge("attached", "Connections of clients that are attached", |s| one(s.attached.attached as u64)),
        gauge("attached_inboxes", "Inboxes that they are attached to", |s| one(s.attached.inboxes as u64)),
        gauge("devices", "Devices that are known", |s| one(s.attached.devices as u64)),
        gauge("presentities", "Presentities with a document or a watcher", |s| one(s.presence.presentities as u64)),
        gauge("watchers", "Subscriptions to them", |s| one(s.presence.watchers as u64)),
        gauge("contacts", "Subscriptions of watchers here", |s| one(s.presence.contacts as u64)),
        gauge("notifications_due", "Subscriptions whose watcher's server is behind", |s| one(s.presence.due as u64)),
        counter("notifications", "Notifications that were acknowledged", |s| one(s.presence.notified)),
        seconds("start_time", "When the daemon started, since the epoch", |s| Values::One(s.started)),
        gauge("build_info", "The version of the program", |s| Values::Each(vec![(vec![("version", s.version)], 1)])),
    ]
}

fn all() -> impl Iterator<Item = Metric> {
    messages().into_iter().chain(connections())
}

/// The names of all metrics, as they are read.
pub fn names() -> Vec<String> {
    let name = |metric: Metric| {
        let unit = metric.unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let end = if matches!(metric.kind, MetricType::Counter) { "_total" } else { "" };
        format!("impart_{}{unit}{end}", metric.name)
    };
    all().map(name).collect()
}

fn of(group: Group) -> Labels {
    vec![("destination", group.word())]
}

/// What became of recipients, for each fate.
pub(super) fn recipients(counters: &Counters) -> [Vec<(Labels, u64)>; 3] {
    Fate::ALL.map(|fate| {
        let cells = CLASSES.into_iter().flat_map(|class| Group::ALL.map(|group| (class, group)));
        let labels = |class: crate::envelope::Class, group: Group| {
            vec![("class", class.keyword()), ("destination", group.word())]
        };
        cells.map(|(class, group)| (labels(class, group), counters.get(class, group, fate))).collect()
    })
}

/// What came over connections: messages accepted, and connections.
pub(super) fn services(meters: &Meters) -> [Vec<(Labels, u64)>; 2] {
    let word = super::build::service;
    let accepted = CLASSES.into_iter().flat_map(|class| SERVICES.map(|service| (class, service)));
    let accepted = accepted.map(|(class, service)| {
        (vec![("class", class.keyword()), ("service", word(service))], meters.accepted(service, class))
    });
    let connections = SERVICES.map(|service| (vec![("service", word(service))], meters.connections(service)));
    [accepted.collect(), connections.into()]
}

/// What came of TLS, from outside and with the servers that several have delivered to.
pub(super) fn tls<'a>(
    meters: &Meters,
    peers: impl Iterator<Item = [(&'static str, u64); HANDSHAKES.len()]> + 'a,
) -> Vec<(Labels, u64)> {
    let label = |direction, verdict| vec![("direction", direction), ("verdict", verdict)];
    let mut out = HANDSHAKES.map(|verdict| (label("out", verdict), 0));
    for counted in peers {
        counted.iter().zip(&mut out).for_each(|((_, count), (_, sum))| *sum += count);
    }
    let inward =
        [(label("in", "encrypted"), meters.encrypted.get()), (label("in", "failed"), meters.not_encrypted.get())];
    inward.into_iter().chain(out).collect()
}

/// Numbers by the word of one label.
pub(super) fn by(label: &'static str, counted: impl IntoIterator<Item = (&'static str, u64)>) -> Vec<(Labels, u64)> {
    counted.into_iter().map(|(word, count)| (vec![(label, word)], count)).collect()
}

/// What DNS brought, where nobody counts.
pub(super) fn no_answers() -> [(&'static str, u64); ANSWERS.len()] {
    ANSWERS.map(|answer| (answer, 0))
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for metric in all() {
            let Metric { name, unit, kind, help, read } = metric;
            let mut out = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            match read(self) {
                Values::One(number) => encode(&mut out, kind, number)?,
                Values::Each(numbers) => {
                    for (labels, number) in numbers {
                        encode(&mut out.encode_family(&labels)?, kind, number as f64)?;
                    }
                }
                Values::Spread(spread, scale) => {
                    let within: u64 = spread.buckets.iter().map(|(_, count)| count).sum();
                    let bound = |(bound, count): &(u64, u64)| (*bound as f64 / scale, *count);
                    let mut buckets: Vec<(f64, u64)> = spread.buckets.iter().map(bound).collect();
                    buckets.push((f64::INFINITY, spread.count - within));
                    out.encode_histogram::<NoLabelSet>(spread.sum as f64 / scale, spread.count, &buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(out: &mut MetricEncoder<'_>, kind: MetricType, number: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => out.encode_counter::<NoLabelSet, _, u64>(&(number as u64), None),
        _ => out.encode_gauge(&number),
    }
}

/// The text that Prometheus reads.
pub(super) fn page(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("impart");
    registry.register_collector(Box::new(snapshot));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}
