//! From what happened to what is written down: pure.
//!
//! In: a record and what became of some of its recipients. Out: [`Conclusion`]: the states to settle, what the receipts
//! are about, what the schedule needs to know. Invariant: a recipient that is completed appears once in the states and at
//! most once in the receipts, so one commit holds both. RFC 3461 §5.2, RFC 2852 §4.

use crate::attached::Concluded;
use crate::deliver::{Outcome, Report, Scope};
use crate::envelope::{ByMode, DeliverBy};
use crate::limits;
use crate::queue::schedule::Ended;
use crate::receipt::{About, Action};
use crate::reply::{EnhancedCode, Reply};
use crate::spool::{Disposition, Had, Progress, Record, State};
use crate::timestamp::Timestamp;

/// Longest fault that is kept with a message, in characters.
const REASON_CHARS: usize = 300;

/// What delivery says of a job whose time was over before it was sent; no fault of the hop, and no news.
const OUT_OF_TIME: EnhancedCode = EnhancedCode::new(4, 4, 7);

/// What follows from an attempt.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// New states by index of recipient.
    pub states: Vec<(usize, State)>,
    /// What devices have had.
    pub had: Vec<Had>,
    /// What receipts are due about, as far as the sender wants them.
    pub about: Vec<About>,
    /// For the schedule.
    pub ended: Ended,
    /// A new time of expiry.
    pub expires: Option<Timestamp>,
}

impl Conclusion {
    fn nothing() -> Self {
        Conclusion { states: Vec::new(), had: Vec::new(), about: Vec::new(), ended: Ended::Done, expires: None }
    }

    /// Only this is written.
    pub fn had(had: Vec<Had>) -> Self {
        Conclusion { had, ..Conclusion::nothing() }
    }
}

/// What follows from a report about an attempt.
pub fn attempt(record: &Record, report: &Report) -> Conclusion {
    let mut conclusion = Conclusion::nothing();
    for (index, outcome) in &report.outcomes {
        let Some(State::Open(progress)) = record.states.get(*index) else { continue };
        match outcome {
            Outcome::Delivered { .. } => {
                conclusion.states.push((*index, State::Closed(Disposition::Delivered)));
            }
            Outcome::Relayed { reply } => {
                conclusion.states.push((*index, State::Closed(Disposition::Relayed)));
                if !is_told(record, *index) {
                    conclusion.about.push(handed_on(*index, report, reply));
                }
            }
            Outcome::Stored { reply } => {
                conclusion.states.push((*index, State::Closed(Disposition::Delivered)));
                if !is_told(record, *index) {
                    let remote = host_of(&report.relay);
                    conclusion.about.push(About { remote, diagnostic: Some(reply.clone()), ..delivered(*index) });
                }
            }
            Outcome::Failed { reply, status, reason } => {
                conclusion.states.push((*index, State::Closed(Disposition::Failed)));
                // Where there is a reply, it says why.
                let reason = if reply.is_some() { "" } else { reason };
                conclusion.about.push(About {
                    remote: reply.is_some().then(|| host_of(&report.relay)).flatten(),
                    diagnostic: reply.clone(),
                    ..About::new(*index, Action::Failed, *status, reason)
                });
            }
            Outcome::Deferred { reply: None, status: OUT_OF_TIME, .. } => conclusion.ended = Ended::Unasked,
            Outcome::Deferred { scope: Scope::Destination, reason, uncertain: false, .. } => {
                conclusion.ended = Ended::Destination(reason.clone());
            }
            // A hop that goes away whenever it gets this message shall not keep the others waiting: it waits by itself.
            Outcome::Deferred { reply, reason, .. } => {
                let deferred = deferred(progress, reply.as_ref(), reason);
                match &mut conclusion.ended {
                    Ended::Destination(_) => {}
                    Ended::Recipients { attempts, deferred: indexes } => {
                        *attempts = deferred.attempts;
                        indexes.push(*index);
                    }
                    ended => {
                        *ended = Ended::Recipients { attempts: deferred.attempts, deferred: vec![*index] };
                    }
                }
                conclusion.states.push((*index, State::Open(deferred)));
            }
        }
    }
    conclusion
}

fn handed_on(index: usize, report: &Report, reply: &Reply) -> About {
    About {
        remote: host_of(&report.relay),
        diagnostic: Some(reply.clone()),
        ..About::new(index, Action::Relayed, EnhancedCode::new(2, 0, 0), "")
    }
}

fn deferred(progress: &Progress, reply: Option<&Reply>, reason: &str) -> Progress {
    let said = reply.map_or_else(|| reason.to_owned(), Reply::to_string);
    Progress {
        attempts: progress.attempts.saturating_add(1),
        last: Some(said.chars().take(REASON_CHARS).collect()),
        ..progress.clone()
    }
}

/// The host in `mx.b.example[192.0.2.1]:2779`.
fn host_of(relay: &str) -> Option<String> {
    let host = relay.split(['[', ':']).next().unwrap_or_default();
    (!host.is_empty() && host != "none").then(|| host.to_owned())
}

/// All of `indexes` fail, with one status and reason.
pub fn failure(record: &Record, indexes: &[usize], status: EnhancedCode, reason: &str) -> Conclusion {
    let open = indexes.iter().filter(|index| matches!(record.states.get(**index), Some(State::Open(_))));
    let mut conclusion = Conclusion::nothing();
    for index in open {
        conclusion.states.push((*index, State::Closed(Disposition::Failed)));
        // Also after a receipt `delivered`, which said only that the inbox has it: nobody misses a failure (RFC 2779 §5.4).
        conclusion.about.push(About::new(*index, Action::Failed, status, reason));
    }
    conclusion
}

/// What follows from what a device said of a recipient. The reply is told to the sender, the device is not.
pub fn device(record: &Record, index: usize, outcome: &Outcome, concluded: &Concluded) -> Conclusion {
    match (concluded, outcome) {
        (Concluded::Nothing, _) => Conclusion::nothing(),
        (Concluded::Had(had), _) => {
            let mut conclusion = Conclusion::had(vec![had.clone()]);
            let wanted = had.completes && record.envelope.recipients[index].notify().success;
            if wanted && matches!(record.states[index], State::Open(_)) && !is_told(record, index) {
                conclusion.about.push(delivered(index));
            }
            conclusion
        }
        (Concluded::Fails, Outcome::Failed { reply, status, .. }) => {
            let mut conclusion = failure(record, &[index], *status, "");
            conclusion.about.iter_mut().for_each(|about| about.diagnostic.clone_from(reply));
            conclusion
        }
        (Concluded::Fails, _) => {
            failure(record, &[index], EnhancedCode::new(5, 0, 0), "the recipient's client refused it")
        }
    }
}

/// Whether the sender was told that the recipient has the message.
pub fn is_told(record: &Record, index: usize) -> bool {
    matches!(record.states.get(index), Some(State::Open(progress)) if progress.delivered_told)
}

fn delivered(index: usize) -> About {
    About::new(index, Action::Delivered, EnhancedCode::new(2, 1, 5), "")
}

/// When the devices of a delivered message that have not had it are given up.
pub fn last_day(record: &Record) -> Timestamp {
    record.arrived.after(limits::LONGEST_STAY)
}

/// The message's time is over: the recipients that are open fail, each with its last fault, which is its own or that of its
/// destination; those that are delivered are kept for further devices until [`last_day`], or for as
/// long as they were to be delivered at all.
pub fn expiry(record: &Record, now: Timestamp, destination: impl Fn(usize) -> Option<String>) -> Conclusion {
    let given = record.envelope.deliver_by.is_some_and(|by| by.mode == ByMode::Return);
    let time = if given { "that was given" } else { "that messages are kept" };
    let mut conclusion = Conclusion::nothing();
    for (index, state) in record.states.iter().enumerate() {
        let State::Open(progress) = state else { continue };
        let fault = progress.last.clone().or_else(|| destination(index));
        let why = fault.map(|fault| format!("; the last fault was: {fault}")).unwrap_or_default();
        let reason = format!("it could not be delivered in the time {time}{why}");
        // RFC 2852 §4.1.4 and RFC 3463 §3.5: delivery time expired, for want of time or of a way.
        let one = failure(record, &[index], EnhancedCode::new(5, 4, 7), &reason);
        conclusion.states.extend(one.states);
        conclusion.about.extend(one.about);
    }
    let returned = |by: DeliverBy| by.mode == ByMode::Return && by.at <= now;
    if last_day(record) <= now || record.envelope.deliver_by.is_some_and(returned) {
        conclusion.states.extend(record.owed().map(|index| (index, State::Closed(Disposition::Delivered))));
    }
    conclusion
}

/// The message is late: recipients that are open and whose sender was not told yet.
pub fn delay(record: &Record, destination: impl Fn(usize) -> Option<String>) -> Conclusion {
    let mut conclusion = Conclusion::nothing();
    for (index, state) in record.states.iter().enumerate() {
        let State::Open(progress) = state else { continue };
        if progress.delay_told || progress.delivered_told {
            continue;
        }
        conclusion.states.push((index, State::Open(Progress { delay_told: true, ..progress.clone() })));
        let reason = progress.last.clone().or_else(|| destination(index));
        let reason = reason.as_deref().unwrap_or("the recipient has not fetched it yet");
        let delayed = About::new(index, Action::Delayed, EnhancedCode::new(4, 4, 7), reason);
        conclusion.about.push(About { retry_until: Some(record.expires), ..delayed });
    }
    conclusion
}

/// Accepted into local inboxes: the server is the mailbox (RFC 3461 §5.2.3), and says so where it was asked. Having said
/// so it keeps the message for the longest stay.
pub fn inbox(record: &Record, indexes: &[usize]) -> Conclusion {
    let mut conclusion = Conclusion::nothing();
    for index in indexes {
        let Some(State::Open(progress)) = record.states.get(*index) else { continue };
        if progress.delivered_told || !record.envelope.recipients[*index].notify().success {
            continue;
        }
        conclusion.states.push((*index, State::Open(Progress { delivered_told: true, ..progress.clone() })));
        conclusion.expires = Some(last_day(record));
        conclusion.about.push(delivered(*index));
    }
    conclusion
}

#[cfg(test)]
mod tests;
