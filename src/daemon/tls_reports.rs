//! Reports of what became of TLS at mail exchangers, to the domains that ask for them (RFC 8460).
//!
//! In: what `deliver` counts, the time, DNS. Out: mails, by the queue, once for each day and domain. Invariants: what is counted
//! is on the disk after a minute; a report that DNS does not let go is tried again that day and the next, then given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Base;
use crate::address::{Domain, Mailbox};
use crate::bridge::tlsrpt::{Facts, Mail, compose};
use crate::clock::Clock;
use crate::config::{Config, Via};
use crate::deliver::TlsCounts;
use crate::dns::{Failure, Resolve};
use crate::mime;
use crate::route::tlsrpt::{self, Reporter, addresses, record_name};
use crate::spool::{NewMessage, Origin, Spool};
use crate::timestamp::Timestamp;

/// The file of the counts, in the spool.
const FILE: &str = "tls-reports.json";
/// How often it is looked at what is due, and counts are kept.
const EVERY: Duration = Duration::from_secs(60);
/// How long a report is tried to be delivered (RFC 8460 §5.5).
const DELIVERED_WITHIN: Duration = Duration::from_secs(86_400);

/// What reports are made with.
struct Parts {
    counts: TlsCounts,
    host: Domain,
    contact: Mailbox,
    resolver: Arc<dyn Resolve>,
    spool: Spool,
    clock: Arc<dyn Clock>,
}

/// Where sessions are counted, if that is configured.
pub(super) fn counts(config: &Config) -> Option<TlsCounts> {
    let straight = config.bridge.via == Some(Via::Exchangers);
    config.bridge.tls_reports.as_ref().filter(|_| straight).map(|_| TlsCounts::at(config.spool.join(FILE)))
}

/// Begins, if that is configured.
pub(super) fn start(config: &Config, base: &Base, closed: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
    let (Some(counts), Some(contact)) = (base.tls_counts.clone(), config.bridge.tls_reports.clone()) else { return };
    let (resolver, spool, clock) = (base.resolver.clone(), base.spool.clone(), base.clock.clone());
    let parts = Parts { counts, host: config.host.clone(), contact, resolver, spool, clock };
    tasks.spawn(run(parts, closed.clone()));
}

/// Runs until `stop` is true.
async fn run(parts: Parts, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let turn = async {
            tick.tick().await;
            // What is given up midway is reported again; its second copy is known by its name.
            parts.report().await;
        };
        let over = async { stop.wait_for(|stop| *stop).await.is_ok() };
        let is_over = tokio::select! {
            () = turn => false,
            _ = over => true,
        };
        parts.keep().await;
        if is_over {
            return;
        }
    }
}

impl Parts {
    async fn keep(&self) {
        let counts = self.counts.clone();
        // Only a panic keeps it from ending; then they are kept the next time.
        let _ = tokio::task::spawn_blocking(move || counts.keep()).await;
    }

    /// Makes the reports that are due.
    async fn report(&self) {
        let now = self.clock.now();
        for (day, domain) in self.counts.with(|counts| counts.due(now)) {
            let places = match self.resolver.txt(&record_name(&domain)).await {
                Ok(answer) => addresses(answer.records.iter().map(Vec::as_slice)),
                Err(Failure::NxDomain { .. }) => Vec::new(),
                Err(failure) if failure.is_absence() => Vec::new(),
                // Whoever could not be asked for a day is given up.
                Err(failure) if day + 2 > tlsrpt::day_of(now) => {
                    tracing::debug!(%domain, "nobody says where reports about TLS go: {failure}");
                    continue;
                }
                Err(_) => Vec::new(),
            };
            let reporter = Reporter { host: &self.host, contact: &self.contact };
            let report = self.counts.with(|counts| counts.report(&reporter, day, &domain));
            for to in places {
                let facts =
                    report.as_ref().map(|report| Facts { reporter, report, day, domain: &domain, to: &to, now });
                let Some(mail) = facts.as_ref().and_then(compose) else { continue };
                match self.spool.accept(message(mail, now)).await {
                    Ok(_) => tracing::info!("a report about TLS at the exchangers of {domain} goes to {to}"),
                    Err(fault) => tracing::warn!("a report about TLS at the exchangers of {domain} is lost: {fault}"),
                }
            }
            self.counts.change(|counts| counts.done(day, &domain));
        }
    }
}

fn message(mail: Mail, now: Timestamp) -> NewMessage {
    let Mail { envelope, entity, message_id } = mail;
    NewMessage {
        id: None,
        envelope,
        digest: mime::digest(&entity),
        entity,
        message_id: Some(message_id),
        repeatable: true,
        signed: Vec::new(),
        origin: Origin::Own,
        arrived: now,
        expires: now.after(DELIVERED_WITHIN),
    }
}
