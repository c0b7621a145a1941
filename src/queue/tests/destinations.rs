//! Messages with several destinations.

use std::sync::Mutex;

use tokio::sync::mpsc::UnboundedSender;

use super::*;
use crate::deliver::{Outcome, Report, Scope};
use crate::reply::EnhancedCode;
use crate::route::{Configured, Pattern, Rule, TlsPolicy};

/// What each job was for, in order: the recipients of which message, going where.
type Tries = Arc<Mutex<Vec<(String, QueueId, Vec<usize>)>>>;

/// Says of each recipient of each job what became of it.
struct Scripted<F> {
    tries: Tries,
    reports: UnboundedSender<Report>,
    outcome: F,
}

impl<F: Fn(&Work, usize) -> Outcome + Send + Sync> Deliver for Scripted<F> {
    fn send(&self, work: Work) {
        let outcomes = work.job.recipients.iter().map(|index| (*index, (self.outcome)(&work, *index))).collect();
        let job = (work.destination.to_string(), work.job.id, work.job.recipients);
        self.tries.lock().unwrap().push(job);
        let report = Report {
            id: work.job.id,
            destination: work.destination,
            relay: "none".to_owned(),
            outcomes,
            connecting: Duration::ZERO,
            transmitting: Duration::ZERO,
            device: None,
        };
        let _ = self.reports.send(report);
    }
}

fn deferred(scope: Scope) -> Outcome {
    let status = EnhancedCode::new(4, 4, 1);
    Outcome::Deferred { scope, reply: None, status, reason: "refused".to_owned(), uncertain: false }
}

fn route(domain: &str) -> Rule {
    let hop = Configured { name: domain.to_owned(), targets: Vec::new(), tls: TlsPolicy::None, socks5: None };
    Rule { pattern: Pattern::parse(domain).unwrap(), class: None, hop: Arc::new(hop) }
}

fn to(addresses: &[&str]) -> Vec<Recipient> {
    let recipient = |text: &&str| Recipient { address: Mailbox::parse(text).unwrap(), notify: None, original: None };
    addresses.iter().map(recipient).collect()
}

fn to_both(envelope: &mut Envelope) {
    envelope.recipients = to(&["bob@b.example", "carol@c.example"]);
}

/// `hold`, `remove` and `bounce` are seen by every line that has the message, not only by the first that is tried.
#[tokio::test]
async fn a_change_counts_for_every_destination_of_a_message() {
    let tries = Tries::default();
    let table = Table::new([], [route("b.example"), route("c.example")]);
    let outcome = |_: &Work, _| deferred(Scope::Destination);
    let deliver = |reports| -> Arc<dyn Deliver> { Arc::new(Scripted { tries: tries.clone(), reports, outcome }) };
    let world = World::wired(tempfile::tempdir().unwrap(), |_| {}, deliver, Arc::new(table));
    let tried = |id| tries.lock().unwrap().iter().filter(|(_, of, _)| *of == id).count();
    let first = world.send_with(&[], "finds both down", to_both).await;
    becomes("both are tried", || tried(first) == 2).await;
    let held = world.send_with(&[], "held", to_both).await;
    let gone = world.send_with(&[], "removed", to_both).await;
    let untouched = world.send_with(&[], "neither", to_both).await;
    // That they have arrived: commands are not asked before arrivals.
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.spool.settle(Settlement { held: Some(true), ..Settlement::new(held) }).await.unwrap();
    let removed = |index| (index, State::Closed(crate::spool::Disposition::Removed));
    world.spool.settle(Settlement { states: vec![removed(0), removed(1)], ..Settlement::new(gone) }).await.unwrap();
    for id in [held, gone] {
        world.commands.send(Command::Changed(id, Vec::new())).await.unwrap();
    }
    world.clock.1.store(6_000, Relaxed);
    world.commands.send(Command::Changed(QueueId(0), Vec::new())).await.unwrap();
    becomes("both are tried again", || tried(first) == 4 && tried(untouched) == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((tried(held), tried(gone)), (0, 0), "{tries:?}");
}

/// One recipient of several is deferred: what comes for that one waits until the first is through, what is for others goes.
#[tokio::test]
async fn what_is_deferred_is_tried_again_at_its_time_and_what_waits_for_it_follows_at_once() {
    let tries = Tries::default();
    let count = tries.clone();
    let outcome = move |work: &Work, index: usize| match (
        work.job.envelope.recipients[index].address.to_string().as_str(),
        count.lock().unwrap().len(),
    ) {
        ("bob@b.example", 0) => deferred(Scope::Recipient),
        _ => Outcome::Relayed { reply: crate::reply::Reply::bare(250, "ok") },
    };
    let deliver = |reports| -> Arc<dyn Deliver> { Arc::new(Scripted { tries: tries.clone(), reports, outcome }) };
    let table = Table::new([], [route("b.example")]);
    let world = World::wired(tempfile::tempdir().unwrap(), |_| {}, deliver, Arc::new(table));
    let send = |text, addresses: &'static [&'static str]| {
        world.send_with(&[], text, |envelope| envelope.recipients = to(addresses))
    };
    let seen = || tries.lock().unwrap().iter().map(|(_, id, indexes)| (*id, indexes.clone())).collect::<Vec<_>>();
    let both = send("for both", &["alice@b.example", "bob@b.example"]).await;
    becomes("it is tried", || seen().len() == 1).await;
    // That it is written that bob is deferred.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = send("for bob", &["bob@b.example"]).await;
    let other = send("for alice", &["alice@b.example"]).await;
    becomes("nothing holds alice's", || seen().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(seen(), [(both, vec![0, 1]), (other, vec![0])]);
    // The first pause is 5 s and up to a tenth more; what was deferred would hold others back for 30 s.
    world.clock.1.store(6_000, Relaxed);
    world.commands.send(Command::Changed(QueueId(0), Vec::new())).await.unwrap();
    becomes("both have gone", || seen().len() == 4).await;
    assert_eq!(seen()[2..], [(both, vec![1]), (later, vec![0])]);
}
