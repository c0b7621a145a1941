//! Messages with several destinations.

use std::sync::Mutex;

use tokio::sync::mpsc::UnboundedSender;

use super::*;
use crate::deliver::{Outcome, Report, Scope};
use crate::reply::EnhancedCode;
use crate::route::{Configured, Pattern, Rule, TlsPolicy};

/// Every destination is down, until it is not.
struct Down(Arc<Mutex<Vec<(String, QueueId)>>>, UnboundedSender<Report>);

impl Deliver for Down {
    fn send(&self, work: Work) {
        self.0.lock().unwrap().push((work.destination.to_string(), work.job.id));
        let down = Outcome::Deferred {
            scope: Scope::Destination,
            reply: None,
            status: EnhancedCode::new(4, 4, 1),
            reason: "refused".to_owned(),
            uncertain: false,
        };
        let report = Report {
            id: work.job.id,
            destination: work.destination,
            relay: "none".to_owned(),
            outcomes: work.job.recipients.into_iter().map(|index| (index, down.clone())).collect(),
            connecting: Duration::ZERO,
            transmitting: Duration::ZERO,
            device: None,
        };
        let _ = self.1.send(report);
    }
}

fn route(domain: &str) -> Rule {
    let hop = Configured { name: domain.to_owned(), targets: Vec::new(), tls: TlsPolicy::None, socks5: None };
    Rule { pattern: Pattern::parse(domain).unwrap(), class: None, hop: Arc::new(hop) }
}

fn to_both(envelope: &mut Envelope) {
    let recipient = |text: &str| Recipient { address: Mailbox::parse(text).unwrap(), notify: None, original: None };
    envelope.recipients = vec![recipient("bob@b.example"), recipient("carol@c.example")];
}

/// `hold`, `remove` and `bounce` are seen by every line that has the message, not only by the first that is tried.
#[tokio::test]
async fn a_change_counts_for_every_destination_of_a_message() {
    let tried: Arc<Mutex<Vec<(String, QueueId)>>> = Arc::default();
    let table = Table::new([], [route("b.example"), route("c.example")]);
    let deliver = |reports| -> Arc<dyn Deliver> { Arc::new(Down(tried.clone(), reports)) };
    let world = World::wired(tempfile::tempdir().unwrap(), |_| {}, deliver, Arc::new(table));
    let tries = |id| tried.lock().unwrap().iter().filter(|(_, of)| *of == id).count();
    let first = world.send_with(&[], "finds both down", to_both).await;
    becomes("both are tried", || tries(first) == 2).await;
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
    becomes("both are tried again", || tries(first) == 4 && tries(untouched) == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((tries(held), tries(gone)), (0, 0), "{tried:?}");
}
