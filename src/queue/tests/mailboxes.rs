//! The line of the mail store, into which messages for people here go after a while.

use std::sync::Mutex;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::*;
use crate::accounts::Entries;
use crate::deliver::{Outcome, Scope};
use crate::queue::look_up::MAILBOXES;
use crate::reply::{EnhancedCode, Reply};
use crate::route::{MailHop, MailServer, TlsPolicy};

/// A mail store that is down, or up; and what it was offered.
#[derive(Default)]
struct Store {
    up: std::sync::atomic::AtomicBool,
    offered: Mutex<Vec<(QueueId, Vec<usize>)>>,
}

struct Hand(Arc<Store>, UnboundedSender<Report>);

impl Deliver for Hand {
    fn send(&self, work: Work) {
        let outcome = |index: &usize| match self.0.up.load(Relaxed) {
            true => (*index, Outcome::Stored { reply: Reply::bare(250, "ok") }),
            false => (*index, down()),
        };
        let outcomes = work.job.recipients.iter().map(outcome).collect();
        self.0.offered.lock().unwrap().push((work.job.id, work.job.recipients));
        let report = Report {
            id: work.job.id,
            destination: work.destination,
            relay: "store".to_owned(),
            outcomes,
            connecting: Duration::ZERO,
            transmitting: Duration::ZERO,
            device: None,
        };
        let _ = self.1.send(report);
    }
}

fn down() -> Outcome {
    let (status, reason) = (EnhancedCode::new(4, 4, 1), "refused".to_owned());
    Outcome::Deferred { scope: Scope::Destination, reply: None, status, reason, uncertain: false }
}

/// People of a.example get mail after ten minutes.
fn world(store: &Arc<Store>) -> World {
    let hop = MailHop {
        server: MailServer::Socket("/nonexistent".into()),
        lmtp: true,
        tls: TlsPolicy::None,
        bridges: Arc::default(),
    };
    let after = HashMap::from([(Domain::parse("a.example").unwrap(), Duration::from_secs(600))]);
    let table = Table::new([Domain::parse("a.example").unwrap()], []).with_store(Some(Arc::new(hop)), after);
    let deliver = |reports| -> Arc<dyn Deliver> { Arc::new(Hand(store.clone(), reports)) };
    World::wired(tempfile::tempdir().unwrap(), |_| {}, deliver, Arc::new(table))
}

impl World {
    /// Lets the queue see how late it is.
    async fn look(&self, id: QueueId) {
        self.commands.send(Command::Changed(id, Vec::new())).await.unwrap();
    }

    async fn in_line(&self) -> usize {
        let (answer, standings) = oneshot::channel();
        self.commands.send(Command::Standings(answer)).await.unwrap();
        let standings = standings.await.unwrap();
        standings.iter().find(|one| *one.destination == *MAILBOXES).map_or(0, |one| one.waiting)
    }
}

/// However often an administrator has it tried, and whatever times have come meanwhile.
#[tokio::test]
async fn a_message_is_in_the_line_of_the_mail_store_once() {
    let store = Arc::new(Store::default());
    let world = world(&store);
    let id = world.send(&["alice"], "one").await;
    // That it has arrived: commands are not asked before arrivals.
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.clock.1.store(601_000, Relaxed);
    world.look(QueueId(0)).await;
    let offered = || store.offered.lock().unwrap().len();
    becomes("it is offered", || offered() == 1).await;
    for _ in 0..5 {
        world.look(id).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.in_line().await <= 1, "{} in the line", world.in_line().await);
    let before = offered();
    store.up.store(true, Relaxed);
    world.clock.1.store(3_600_000, Relaxed);
    world.look(QueueId(0)).await;
    world.empties().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((offered(), world.in_line().await), (before + 1, 0));
}

/// Of one message some go sooner, some later, some never: each at their own time.
#[tokio::test]
async fn everybody_gets_mail_at_their_own_time() {
    let store = Arc::new(Store::default());
    store.up.store(true, Relaxed);
    let world = world(&store);
    let own = |name: &str, time: &str| format!("[account.\"{name}@a.example\"]\nfallback = \"{time}\"\n");
    let text = own("alice", "5m") + &own("carol", "never");
    world.accounts.send_modify(|accounts| {
        *accounts = Arc::new((**accounts).clone().with_entries(Entries::parse(&text).unwrap()));
    });
    let id = world.send(&["alice", "bob", "carol"], "one").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let offered = || store.offered.lock().unwrap().clone();
    for (minutes, expected) in [(4, vec![]), (6, vec![(id, vec![0])]), (11, vec![(id, vec![0]), (id, vec![1])])] {
        world.clock.1.store(minutes * 60_000, Relaxed);
        world.look(QueueId(0)).await;
        becomes(&format!("after {minutes} min {expected:?}"), || offered().len() >= expected.len()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(offered(), expected, "after {minutes} min");
    }
    world.clock.1.store(12 * 3_600_000, Relaxed);
    world.look(QueueId(0)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(offered().len(), 2, "carol wants none");
    assert_eq!(world.records()[0].open().collect::<Vec<_>>(), [2]);
}
