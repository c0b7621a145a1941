//! Delivery lines in Postfix's form, so that the tools that administrators have read them:
//! `ID: to=<>, relay=, delay=, delays=a/b/c/d, dsn=, status=… (…)`. Never a body or a client's address.
//!
//! Invariant: one line for each recipient and attempt, and one with `status=sent` for each recipient that is delivered;
//! what further devices have of it is told in another form. The field `program` is the one of Postfix's that says such a
//! line.

use crate::deliver::{Outcome, Report};
use crate::queue::conclude::Conclusion;
use crate::queue::counters::Group;
use crate::spool::Record;
use crate::timestamp::Timestamp;

/// Whose line it would be.
fn program(group: Group) -> &'static str {
    match group {
        Group::Peer | Group::Route | Group::Mail => "smtp",
        Group::Store => "lmtp",
        Group::Device => "local",
        Group::Nowhere => "error",
    }
}

/// An attempt.
pub fn attempt(record: &Record, report: &Report, group: Group, started: Timestamp, now: Timestamp) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let delay = now.since(record.arrived).as_secs_f64();
    let waited = started.since(record.arrived).as_secs_f64();
    let (connecting, transmitting) = (report.connecting.as_secs_f64(), report.transmitting.as_secs_f64());
    for (index, outcome) in &report.outcomes {
        let Some(recipient) = record.envelope.recipients.get(*index) else { continue };
        let (dsn, status, text) = match outcome {
            Outcome::Delivered { reply } | Outcome::Relayed { reply } | Outcome::Stored { reply } => {
                (reply.status(), "sent", reply.to_string())
            }
            Outcome::Deferred { status, reply, reason, .. } => {
                (*status, "deferred", reply.as_ref().map_or_else(|| reason.clone(), ToString::to_string))
            }
            Outcome::Failed { status, reply, reason } => {
                (*status, "bounced", reply.as_ref().map_or_else(|| reason.clone(), ToString::to_string))
            }
        };
        tracing::info!(
            program = program(group),
            "{}: to=<{}>, relay={}, delay={delay:.2}, delays=0/{waited:.2}/{connecting:.2}/{transmitting:.2}, dsn={dsn}, status={status} ({text})",
            record.id,
            recipient.address,
            report.relay,
        );
    }
}

/// A further device has said something of a message that its recipient has had. It is no delivery: that has its line.
pub fn copy(record: &Record, report: &Report) {
    for (index, outcome) in &report.outcomes {
        let Some(recipient) = record.envelope.recipients.get(*index) else { continue };
        let said = match outcome {
            Outcome::Delivered { reply } | Outcome::Relayed { reply } | Outcome::Stored { reply } => reply.to_string(),
            Outcome::Deferred { reason, .. } | Outcome::Failed { reason, .. } => reason.clone(),
        };
        let address = &recipient.address;
        tracing::info!(program = "local", "{}: copy for <{address}>, relay={} ({said})", record.id, report.relay);
    }
}

/// Recipients that failed without an attempt.
pub fn failed(record: &Record, conclusion: &Conclusion, now: Timestamp) {
    let delay = now.since(record.arrived).as_secs_f64();
    for about in &conclusion.about {
        let Some(recipient) = record.envelope.recipients.get(about.index) else { continue };
        tracing::info!(
            program = program(Group::Nowhere),
            "{}: to=<{}>, relay=none, delay={delay:.2}, delays=0/{delay:.2}/0/0, dsn={}, status=bounced ({})",
            record.id,
            recipient.address,
            about.status,
            about.reason,
        );
    }
}
