//! The spool against a model: any sequence of messages, settlements, restarts, crashes and compactions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::spool::tests::{copy, message, open};
use crate::timestamp::Timestamp;

/// One step.
#[derive(Clone, Debug)]
enum Step {
    /// The message of this number comes, for so many recipients.
    Accept(u8, usize),
    /// A recipient of the n-th message in the queue is closed, with or without a receipt.
    Close(usize, usize, bool),
    /// A recipient of the n-th message in the queue is deferred.
    Defer(usize, usize),
    /// A device, or an attachment without a name, has had the n-th message in the queue, for a recipient; whether that
    /// completes it, and for whom it is kept then.
    Had(usize, usize, Option<u8>, bool, Vec<u8>),
    /// A device is known, or forgotten.
    Device(u8, bool),
    /// The daemon ends and starts.
    Restart,
    /// The machine stops: what is on the disk now is what the next start finds.
    Crash,
    /// What is in memory is written into tables.
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), 1_usize..4).prop_map(|(number, recipients)| Step::Accept(number, recipients)),
        8 => (0_usize..8, 0_usize..4, any::<bool>()).prop_map(|(n, at, receipt)| Step::Close(n, at, receipt)),
        3 => (0_usize..8, 0_usize..4).prop_map(|(n, at)| Step::Defer(n, at)),
        8 => (0_usize..8, 0_usize..4, proptest::option::of(0_u8..4), any::<bool>(), proptest::collection::vec(0_u8..4, 0..3))
            .prop_map(|(n, at, who, completes, others)| Step::Had(n, at, who, completes, others)),
        2 => (0_u8..4, any::<bool>()).prop_map(|(device, known)| Step::Device(device, known)),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        2 => Just(Step::Flush),
    ]
}

/// What the spool should hold.
#[derive(Default)]
struct Model {
    messages: BTreeMap<u64, (String, Vec<State>)>,
    seen: BTreeMap<(String, usize), u64>,
    devices: BTreeMap<String, Known>,
    receipts: usize,
    arrivals: Vec<u64>,
}

impl Model {
    fn accept(&mut self, id: u64, name: &str, recipients: usize) {
        let mut states = vec![State::Open(Progress::default()); recipients];
        for (index, state) in states.iter_mut().enumerate() {
            if self.seen.contains_key(&(name.to_owned(), index)) {
                *state = State::Closed(Disposition::Duplicate);
            } else {
                self.seen.insert((name.to_owned(), index), id);
            }
        }
        if states.iter().any(|state| matches!(state, State::Open(_))) {
            self.messages.insert(id, (name.to_owned(), states));
            self.arrivals.push(id);
        }
    }

    /// Whether the recipient was open.
    fn set(&mut self, id: u64, at: usize, new: State) -> bool {
        let Some((_, states)) = self.messages.get_mut(&id) else { return false };
        match (states.get_mut(at), new) {
            (Some(State::Open(now)), State::Open(new)) => *now = Progress { had: now.had.clone(), ..new },
            (Some(now @ State::Open(_)), new) => *now = new,
            (Some(now @ State::Owed(_)), new @ State::Closed(Disposition::Delivered)) => *now = new,
            _ => return false,
        }
        self.tidy(id);
        true
    }

    fn tidy(&mut self, id: u64) {
        let closed = |(_, states): &(String, Vec<State>)| states.iter().all(|state| matches!(state, State::Closed(_)));
        if self.messages.get(&id).is_some_and(closed) {
            self.messages.remove(&id);
        }
    }

    /// Whether something has changed.
    fn had(&mut self, id: u64, at: usize, who: Option<Holder>, completes: bool, others: &[Holder]) -> bool {
        let Some((_, states)) = self.messages.get_mut(&id) else { return false };
        let Some(state) = states.get_mut(at) else { return false };
        let before = state.clone();
        *state = match before.clone() {
            State::Open(progress) if completes => {
                let kept = |other: &&Holder| who.as_ref() != Some(other) && !progress.had.contains(other);
                match others.iter().filter(kept).cloned().collect::<Vec<_>>() {
                    none if none.is_empty() => State::Closed(Disposition::Delivered),
                    some => State::Owed(some),
                }
            }
            State::Open(mut progress) => {
                progress.had.extend(who.filter(|who| !progress.had.contains(who)));
                State::Open(progress)
            }
            State::Owed(holders) => {
                match holders.into_iter().filter(|holder| who.as_ref() != Some(holder)).collect::<Vec<_>>() {
                    none if none.is_empty() => State::Closed(Disposition::Delivered),
                    some => State::Owed(some),
                }
            }
            closed => closed,
        };
        let changed = *state != before;
        self.tidy(id);
        changed
    }
}

fn device(number: u8) -> Holder {
    Holder::read(["phone", "desk", "bob@b.example/phone", "tablet"][usize::from(number)]).unwrap()
}

fn recipients(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("user{n}@b.example")).collect()
}

struct Run {
    dir: tempfile::TempDir,
    spool: Option<(Spool, Opened)>,
    model: Model,
}

impl Run {
    fn spool(&self) -> &Spool {
        &self.spool.as_ref().unwrap().0
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Accept(number, count) => {
                let name = format!("{}@a.example", number % 24);
                let to = recipients(count);
                let to: Vec<&str> = to.iter().map(String::as_str).collect();
                let accepted = self.spool().accept(message(&name, &to)).await.unwrap();
                self.model.accept(accepted.id.0, &name, count);
            }
            Step::Close(n, at, receipt) => {
                let receipt = receipt.then(|| {
                    self.model.receipts += 1;
                    format!("receipt{}@b.example", self.model.receipts)
                });
                self.settle(n, at, State::Closed(Disposition::Delivered), receipt).await;
            }
            Step::Defer(n, at) => {
                let last = Some("421 4.4.2 gone".to_owned());
                self.settle(n, at, State::Open(Progress { attempts: 1, last, ..Progress::default() }), None).await;
            }
            Step::Had(n, at, who, completes, mut others) => {
                others.sort_unstable();
                others.dedup();
                let (who, others) = (who.map(device), others.into_iter().map(device).collect::<Vec<_>>());
                let id = self.model.messages.keys().nth(n).copied().unwrap_or(1);
                let had = Had { index: at, holder: who.clone(), completes, others: others.clone() };
                let settlement = Settlement { had: vec![had], ..Settlement::new(QueueId(id)) };
                let settled = self.spool().settle(settlement).await.unwrap();
                assert_eq!(settled.applied, self.model.had(id, at, who, completes, &others));
            }
            Step::Device(number, known) => {
                let seen = Timestamp::from_secs(self.model.seen.len() as i64);
                let device = Known { inbox: "bob@b.example".to_owned(), holder: device(number), seen };
                if known {
                    self.model.devices.insert(device.holder.to_string(), device.clone());
                    self.spool().know(vec![device]).await.unwrap();
                } else {
                    self.model.devices.remove(device.holder.as_str());
                    self.spool().forget(vec![device]).await.unwrap();
                }
            }
            Step::Restart => {
                self.check_arrivals().await;
                self.spool = None;
                self.spool = Some(open(self.dir.path()));
            }
            Step::Crash => {
                self.check_arrivals().await;
                let next = tempfile::tempdir().unwrap();
                copy(self.dir.path(), next.path());
                self.spool = Some(open(next.path()));
                self.dir = next;
            }
            Step::Flush => self.spool().0.store.flush().unwrap(),
        }
        self.check().await;
    }

    async fn settle(&mut self, n: usize, at: usize, state: State, receipt: Option<String>) {
        let id = self.model.messages.keys().nth(n).copied().unwrap_or(1);
        let receipts = receipt.iter().map(|name| message(name, &["alice@a.example"])).collect();
        let states = vec![(at, state.clone())];
        let settlement = Settlement { states, receipts, ..Settlement::new(QueueId(id)) };
        let next = self.model.arrivals.iter().chain(self.model.seen.values()).max().copied().unwrap_or(0);
        let settled = self.spool().settle(settlement).await.unwrap();
        assert_eq!(settled.applied, self.model.set(id, at, state));
        if let (true, Some(name)) = (settled.applied, receipt) {
            let page = self.spool().page(QueueId(next + 1), 10).unwrap();
            self.model.accept(page.last().expect("the receipt").id.0, &name, 1);
        }
    }

    /// All that is expected, and no more; receipts come after the answer to what caused them.
    async fn check_arrivals(&mut self) {
        let arrivals = &mut self.spool.as_mut().unwrap().1.arrivals;
        let expected = std::mem::take(&mut self.model.arrivals);
        let mut arrived = Vec::new();
        while arrived.len() < expected.len() {
            arrived.push(arrivals.recv().await.expect("an open spool").id.0);
        }
        assert_eq!(arrived, expected);
        assert!(arrivals.try_recv().is_err(), "one arrival for one message");
    }

    async fn check(&self) {
        let spool = self.spool();
        let page = spool.page(QueueId(0), 1000).unwrap();
        let held: Vec<_> = page.iter().map(|record| (record.id.0, record.states.clone())).collect();
        let expected: Vec<_> = self.model.messages.iter().map(|(id, (_, states))| (*id, states.clone())).collect();
        assert_eq!(held, expected);
        let open = |states: &Vec<State>| states.iter().any(State::is_open);
        let open = expected.iter().filter(|(_, states)| open(states)).count();
        let status = spool.status();
        assert_eq!((status.messages, status.owed), (open as u64, (expected.len() - open) as u64));
        let devices: BTreeMap<_, _> =
            spool.devices().unwrap().into_iter().map(|device| (device.holder.to_string(), device)).collect();
        assert_eq!(devices, self.model.devices);
        assert_eq!(spool.status().octets, page.iter().map(|record| record.size).sum::<u64>());
        for (id, (name, _)) in &self.model.messages {
            let entity = spool.entity(QueueId(*id)).await.unwrap();
            assert_eq!(entity, Some(message(name, &[]).entity));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_what_the_model_holds(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let spool = Some(open(dir.path()));
        let mut run = Run { dir, spool, model: Model::default() };
        runtime.block_on(async {
            for step in steps {
                run.step(step).await;
            }
            run.check_arrivals().await;
        });
    }
}
