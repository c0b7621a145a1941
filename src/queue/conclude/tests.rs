use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Body, Class, DeliverBy, Envelope, Notify, Recipient};
use crate::spool::{Origin, QueueId};

fn record(count: usize) -> Record {
    let recipient = |n: usize| Recipient {
        address: Mailbox::parse(&format!("user{n}@b.example")).unwrap(),
        notify: None,
        original: None,
    };
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Mailbox(Mailbox::parse("alice@a.example").unwrap()),
        body: Body::SevenBit,
        utf8: false,
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: (0..count).map(recipient).collect(),
    };
    Record {
        id: QueueId(7),
        envelope: Arc::new(envelope),
        states: vec![State::Open(Progress::default()); count],
        origin: Origin::Mail,
        arrived: Timestamp::from_secs(1000),
        expires: Timestamp::from_secs(90_000),
        size: 100,
        held: false,
    }
}

fn report(outcomes: Vec<(usize, Outcome)>) -> Report {
    Report {
        id: QueueId(7),
        destination: Arc::from("IM b.example"),
        relay: "mx.b.example[192.0.2.1]:2779".into(),
        outcomes,
        connecting: Duration::ZERO,
        transmitting: Duration::ZERO,
        device: None,
    }
}

fn reply(code: u16) -> Reply {
    Reply::new(code, EnhancedCode::new((code / 100) as u8, 0, 0), "text")
}

fn deferred(scope: Scope) -> Outcome {
    let status = EnhancedCode::new(4, 0, 0);
    Outcome::Deferred { scope, reply: None, status, reason: "why".into(), uncertain: false }
}

#[test]
fn each_recipient_gets_its_own_end() {
    let outcomes = vec![
        (0, Outcome::Delivered { reply: reply(250) }),
        (1, Outcome::Relayed { reply: reply(250) }),
        (2, Outcome::Failed { reply: Some(reply(550)), status: EnhancedCode::new(5, 1, 1), reason: "no".into() }),
        (3, deferred(Scope::Recipient)),
    ];
    let conclusion = attempt(&record(4), &report(outcomes));
    let closed = |disposition| State::Closed(disposition);
    assert_eq!(conclusion.states[0], (0, closed(Disposition::Delivered)));
    assert_eq!(conclusion.states[1], (1, closed(Disposition::Relayed)));
    assert_eq!(conclusion.states[2], (2, closed(Disposition::Failed)));
    let progress = Progress { attempts: 1, last: Some("why".into()), ..Progress::default() };
    assert_eq!(conclusion.states[3], (3, State::Open(progress)));
    let about: Vec<_> = conclusion.about.iter().map(|about| (about.index, about.action, about.status)).collect();
    let relayed = (1, Action::Relayed, EnhancedCode::new(2, 0, 0));
    assert_eq!(about, [relayed, (2, Action::Failed, EnhancedCode::new(5, 1, 1))]);
    assert_eq!(conclusion.about[1].remote.as_deref(), Some("mx.b.example"));
    assert_eq!(conclusion.ended, Ended::Recipients { attempts: 1, deferred: vec![3] });
}

#[test]
fn what_is_in_the_mail_store_is_delivered() {
    let stored = || report(vec![(0, Outcome::Stored { reply: reply(250) })]);
    let conclusion = attempt(&record(1), &stored());
    assert_eq!(conclusion.states, [(0, State::Closed(Disposition::Delivered))]);
    let about = &conclusion.about[0];
    assert_eq!((about.action, about.status), (Action::Delivered, EnhancedCode::new(2, 1, 5)));
    assert_eq!((about.remote.as_deref(), &about.diagnostic), (Some("mx.b.example"), &Some(reply(250))));
    // Who was told so on acceptance is not told again.
    let mut told = record(1);
    told.states[0] = State::Open(Progress { delivered_told: true, ..Progress::default() });
    assert!(attempt(&told, &stored()).about.is_empty());
}

#[test]
fn a_fault_of_the_destination_leaves_the_message_as_it_is() {
    let conclusion =
        attempt(&record(2), &report(vec![(0, deferred(Scope::Destination)), (1, deferred(Scope::Destination))]));
    assert!(conclusion.states.is_empty() && conclusion.about.is_empty());
    assert_eq!(conclusion.ended, Ended::Destination("why".into()));
}

#[test]
fn a_message_at_which_the_hop_went_away_waits_by_itself() {
    let status = EnhancedCode::new(4, 4, 2);
    let lost =
        Outcome::Deferred { scope: Scope::Destination, reply: None, status, reason: "gone".into(), uncertain: true };
    let conclusion = attempt(&record(1), &report(vec![(0, lost)]));
    assert_eq!(conclusion.ended, Ended::Recipients { attempts: 1, deferred: vec![0] });
    assert!(matches!(&conclusion.states[0].1, State::Open(progress) if progress.attempts == 1));
}

#[test]
fn a_recipient_that_is_closed_stays_closed() {
    let mut record = record(1);
    record.states[0] = State::Closed(Disposition::Delivered);
    let failed = Outcome::Failed { reply: None, status: EnhancedCode::new(5, 0, 0), reason: "late".into() };
    let conclusion = attempt(&record, &report(vec![(0, failed)]));
    assert!(conclusion.states.is_empty() && conclusion.about.is_empty());
    assert!(failure(&record, &[0], EnhancedCode::new(5, 0, 0), "x").states.is_empty());
}

#[test]
fn late_is_told_once() {
    let mut record = record(2);
    let conclusion = delay(&record, |_| Some("refused".to_owned()));
    assert_eq!(conclusion.about.len(), 2);
    assert_eq!(conclusion.about[0].reason, "refused");
    assert_eq!(conclusion.about[0].retry_until, Some(record.expires));
    for (index, state) in conclusion.states {
        record.states[index] = state;
    }
    assert!(delay(&record, |_| None).about.is_empty());
}

#[test]
fn an_inbox_says_delivered_where_it_was_asked_and_failed_if_nobody_takes_it() {
    let mut record = record(2);
    Arc::make_mut(&mut record.envelope).recipients[1].notify = Some(Notify { success: true, ..Notify::DEFAULT });
    let conclusion = inbox(&record, &[0, 1]);
    assert_eq!(conclusion.about.len(), 1);
    assert_eq!((conclusion.about[0].index, conclusion.about[0].action), (1, Action::Delivered));
    assert_eq!(conclusion.expires, Some(record.arrived.after(limits::LONGEST_STAY)));
    for (index, state) in conclusion.states {
        record.states[index] = state;
    }
    assert!(inbox(&record, &[0, 1]).about.is_empty(), "twice");
    let end = failure(&record, &[0, 1], EnhancedCode::new(5, 4, 7), "old");
    assert_eq!(end.states.len(), 2);
    assert_eq!(end.about.iter().map(|about| about.index).collect::<Vec<_>>(), [0, 1]);
    let end = expiry(&record, last_day(&record), |_| None);
    assert!(end.about.iter().any(|about| about.index == 1 && about.action == Action::Failed), "nobody came for it");
    let refused = Outcome::Failed { reply: Some(reply(554)), status: EnhancedCode::new(5, 0, 0), reason: "no".into() };
    let end = device(&record, 1, &refused, &Concluded::Fails);
    assert_eq!((end.about[0].action, &end.about[0].diagnostic), (Action::Failed, &Some(reply(554))));
}

#[test]
fn expiry_says_why() {
    let mut record = record(3);
    record.states[0] = State::Open(Progress { last: Some("451 try later".into()), ..Progress::default() });
    record.states[1] = State::Closed(Disposition::Delivered);
    let conclusion = expiry(&record, record.expires, |index| Some(format!("nobody answers at {index}")));
    let about: Vec<_> = conclusion.about.iter().map(|about| (about.index, about.status)).collect();
    let over = EnhancedCode::new(5, 4, 7);
    assert_eq!((conclusion.states.len(), about), (2, vec![(0, over), (2, over)]));
    for (about, fault) in conclusion.about.iter().zip(["451 try later", "nobody answers at 2"]) {
        assert!(about.reason.ends_with(&format!("the last fault was: {fault}")), "{}", about.reason);
    }
}

#[test]
fn a_job_out_of_time_is_no_news() {
    let outcome = Outcome::Deferred {
        scope: Scope::Recipient,
        reply: None,
        status: EnhancedCode::new(4, 4, 7),
        reason: "over".into(),
        uncertain: false,
    };
    let conclusion = attempt(&record(1), &report(vec![(0, outcome)]));
    assert_eq!((conclusion.states.len(), conclusion.ended), (0, Ended::Unasked));
}

#[test]
fn relay_names() {
    assert_eq!(host_of("mx.b.example[192.0.2.1]:2779").as_deref(), Some("mx.b.example"));
    assert_eq!(host_of("none"), None);
    assert_eq!(host_of("[192.0.2.1]:25"), None);
}

#[test]
fn a_copy_for_further_devices_does_not_outlive_the_time_that_was_given() {
    let mut record = record(1);
    record.states[0] = State::Owed(vec![]);
    let by = |mode| Some(DeliverBy { at: Timestamp::from_secs(1030), mode, trace: false });
    let closes = |record: &Record, at| !expiry(record, Timestamp::from_secs(at), |_| None).states.is_empty();
    Arc::make_mut(&mut record.envelope).deliver_by = by(ByMode::Return);
    assert!(!closes(&record, 1029) && closes(&record, 1030));
    Arc::make_mut(&mut record.envelope).deliver_by = by(ByMode::Notify);
    assert!(!closes(&record, 1030));
}
