//! Pools without I/O.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Body, Class, Envelope, Recipient};
use crate::route::{Configured, TlsPolicy};
use crate::spool::QueueId;

fn work(destination: &str, id: u64, lane: u64, size: u64) -> Work {
    let address = Mailbox::parse("bob@b.example").unwrap();
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Null,
        body: Body::SevenBit,
        utf8: false,
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: vec![Recipient { address, notify: None, original: None }],
    };
    let route = Configured { name: destination.to_owned(), targets: vec![], tls: TlsPolicy::None, socks5: None };
    let (id, envelope, expires) = (QueueId(id), Arc::new(envelope), Timestamp::from_secs(1000 + id as i64));
    let job = Job { id, entity: None, envelope, recipients: vec![0], size, expires, lane, gathered: Vec::new() };
    Work { destination: destination.into(), hop: Arc::new(Hop::Configured(Arc::new(route))), job }
}

/// Pools with the connections that they asked for.
struct World {
    pools: Pools,
    starts: Vec<Start>,
}

impl World {
    fn new(per_destination: usize, in_all: usize) -> World {
        World { pools: Pools::new(Bounds { per_destination, in_all, bulk_octets: 100 }), starts: Vec::new() }
    }

    fn add(&mut self, work: Work) {
        self.pools.add(work, &mut self.starts).unwrap();
    }

    fn start(&mut self) -> Start {
        assert_eq!(self.starts.len(), 1);
        self.starts.remove(0)
    }

    fn turn(&mut self, start: &Start, finished: &[(u64, bool)], room: usize) -> (Order, Vec<u64>) {
        let mut out = VecDeque::new();
        let mut finished = finished.iter().map(|(lane, bulk)| Finished { lane: *lane, bulk: *bulk }).collect();
        let me = (&start.destination, start.id);
        let idle = room > 0;
        let order = self.pools.turn(me, &mut finished, room, idle, &mut out, &mut self.starts);
        (order, out.into_iter().map(|item| item.job.id.0).collect())
    }

    fn ready(&mut self, start: &Start, depth: usize) {
        self.pools.ready(&start.destination, start.id, depth, &mut self.starts);
    }
}

#[test]
fn paced_messages_share_a_connection() {
    let mut world = World::new(4, 10);
    world.add(work("b", 1, 1, 1));
    let start = world.start();
    world.ready(&start, 1);
    assert_eq!(world.turn(&start, &[], 1), (Order::Go, vec![1]));
    for id in 2..20 {
        assert_eq!(world.turn(&start, &[(id - 1, false)], 1), (Order::Go, vec![]));
        world.add(work("b", id, id, 1));
        assert_eq!(world.turn(&start, &[], 1), (Order::Go, vec![id]));
    }
    assert!(world.starts.is_empty());
    assert_eq!(world.turn(&start, &[(19, false)], 1), (Order::Go, vec![]));
    assert!(world.pools.part(&start.destination, start.id));
    world.pools.closed(&start.destination, &mut world.starts);
    assert_eq!(world.pools.count(), (0, 0), "forgotten");
}

#[test]
fn a_crowd_gets_more_connections_but_not_more_than_allowed() {
    let mut world = World::new(4, 10);
    let mut starts: Vec<Start> = Vec::new();
    for id in 1..1000 {
        world.add(work("b", id, id, 1));
        for start in std::mem::take(&mut world.starts) {
            world.ready(&start, 1);
            starts.push(start);
        }
    }
    assert_eq!(starts.len(), 3, "one is kept for bulk");
    world.add(work("b", 1000, 1000, 101));
    starts.push(world.start());
    world.add(work("b", 1001, 1001, 101));
    assert!(world.starts.is_empty());
    assert_eq!(world.pools.count(), (4, 1));
}

#[test]
fn a_connection_that_could_not_be_made_is_not_tried_again_while_others_work() {
    let mut world = World::new(4, 10);
    (1..=9).for_each(|id| world.add(work("b", id, id, 1)));
    let first = world.start();
    world.ready(&first, 1);
    let second = world.start();
    let none = VecDeque::new();
    assert!(world.pools.leave(&second.destination, second.id, &mut Vec::new(), none, |_| false).is_empty());
    assert!(world.pools.give_up(&second.destination, false).is_empty(), "the first takes them");
    world.pools.closed(&second.destination, &mut world.starts);
    (10..=99).for_each(|id| world.add(work("b", id, id, 1)));
    assert!(world.starts.is_empty());
}

#[test]
fn no_server() {
    let mut world = World::new(4, 10);
    world.add(work("b", 1, 1, 1));
    world.add(work("b", 2, 1, 1));
    let start = world.start();
    let none = VecDeque::new();
    world.pools.leave(&start.destination, start.id, &mut Vec::new(), none, |_| false);
    let items = world.pools.give_up(&start.destination, false);
    assert_eq!(items.iter().map(|item| item.job.id.0).collect::<Vec<_>>(), [1, 2]);
    world.pools.closed(&start.destination, &mut world.starts);
    assert_eq!(world.pools.count(), (0, 0));
}

#[test]
fn a_lane_stays_with_its_connection_while_a_job_is_in_flight() {
    let mut world = World::new(4, 10);
    (1..=9).for_each(|id| world.add(work("b", id, 7, 1)));
    let one = world.start();
    world.ready(&one, 1);
    let two = world.start();
    world.ready(&two, 1);
    assert_eq!(world.turn(&one, &[], 2).1, [1, 2]);
    world.add(work("b", 10, 8, 1));
    assert_eq!(world.turn(&two, &[], 2).1, [10], "the rest belongs to the first");
    assert_eq!(world.turn(&one, &[(7, false), (7, false)], 9).1, [3, 4, 5, 6, 7, 8, 9]);
    world.turn(&one, &[(7, false); 7], 0);
    world.add(work("b", 11, 7, 1));
    assert_eq!(world.turn(&two, &[(8, false)], 1).1, [11], "then any may have it");
}

#[test]
fn bulk_and_what_follows_it_goes_apart_in_order() {
    let mut world = World::new(4, 10);
    world.add(work("b", 1, 7, 1));
    let chat = world.start();
    world.ready(&chat, 10);
    world.add(work("b", 2, 7, 101));
    let bulk = world.start();
    world.ready(&bulk, 10);
    world.add(work("b", 3, 7, 1));
    world.add(work("b", 4, 8, 1));
    assert_eq!(world.turn(&bulk, &[], 5).1, [] as [u64; 0], "1 is before it");
    assert_eq!(world.turn(&chat, &[], 5).1, [1, 4]);
    world.turn(&chat, &[(7, false)], 0);
    assert_eq!(world.turn(&bulk, &[], 5).1, [2, 3]);
    world.turn(&bulk, &[(7, true), (7, true)], 0);
    world.add(work("b", 5, 7, 1));
    assert_eq!(world.turn(&chat, &[(8, false)], 5).1, [5]);
}

#[test]
fn with_one_connection_bulk_has_no_other() {
    let mut world = World::new(1, 10);
    world.add(work("b", 1, 1, 101));
    world.add(work("b", 2, 2, 1));
    let start = world.start();
    world.ready(&start, 1);
    assert_eq!(world.turn(&start, &[], 5).1, [1, 2]);
    assert!(world.starts.is_empty());
}

#[test]
fn an_idle_connection_gives_way() {
    let mut world = World::new(4, 1);
    world.add(work("b", 1, 1, 1));
    let b = world.start();
    world.ready(&b, 1);
    world.turn(&b, &[], 1);
    world.add(work("c", 2, 1, 1));
    assert!(world.starts.is_empty());
    assert_eq!(world.turn(&b, &[(1, false)], 1), (Order::Retire, vec![]));
    assert!(world.pools.part(&b.destination, b.id));
    world.pools.closed(&b.destination, &mut world.starts);
    assert_eq!(&*world.start().destination, "c");
}

#[test]
fn a_busy_connection_gives_way_after_its_share() {
    let mut world = World::new(1, 1);
    (0..2 * SHARE).for_each(|id| world.add(work("b", id, id, 1)));
    let b = world.start();
    world.ready(&b, 1000);
    world.add(work("c", 9999, 1, 1));
    let mut taken = 0;
    while let (Order::Go, jobs) = world.turn(&b, &[], 1000) {
        taken += jobs.len() as u64;
    }
    assert!((SHARE..SHARE + BATCH as u64).contains(&taken), "{taken}");
    assert!(world.pools.part(&b.destination, b.id));
    world.pools.closed(&b.destination, &mut world.starts);
    assert_eq!(&*world.start().destination, "c");
}

#[test]
fn unsent_jobs_come_back_in_order_unless_their_lane_is_doubtful() {
    let mut world = World::new(4, 10);
    for (id, lane) in [(1, 7), (2, 8), (3, 8), (4, 7)] {
        world.add(work("b", id, lane, 1));
    }
    let start = world.start();
    world.ready(&start, 10);
    let mut out = VecDeque::new();
    let me = (&start.destination, start.id);
    world.pools.turn(me, &mut Vec::new(), 3, false, &mut out, &mut world.starts);
    out.pop_front();
    let mut finished = vec![Finished { lane: 7, bulk: false }];
    let lost = world.pools.leave(&start.destination, start.id, &mut finished, out, |lane| lane == 7);
    assert!(lost.is_empty(), "4 was not bound yet");
    world.pools.closed(&start.destination, &mut world.starts);
    let next = world.start();
    world.ready(&next, 10);
    assert_eq!(world.turn(&next, &[], 10).1, [2, 3, 4]);
}

#[test]
fn time_runs_out_while_waiting() {
    let mut world = World::new(4, 10);
    (1..=3).for_each(|id| world.add(work("b", id, 7, 1)));
    assert!(world.pools.expire(Timestamp::from_secs(1000)).is_empty());
    let over = world.pools.expire(Timestamp::from_secs(1002));
    assert_eq!(over.iter().map(|(_, item)| item.job.id.0).collect::<Vec<_>>(), [1, 2]);
    let start = world.start();
    world.ready(&start, 1);
    assert_eq!(world.turn(&start, &[], 5).1, [3]);
}

#[test]
fn a_remembered_target_is_tried_first_once() {
    let mut world = World::new(4, 10);
    let target = Target { host: "mx.b.example".parse().map(crate::route::Host::Name).unwrap(), port: 1, secure: false };
    world.pools.remember(&"b".into(), target.clone());
    world.add(work("b", 1, 1, 1));
    assert_eq!(world.start().first, Some(target));
    world.add(work("c", 1, 1, 1));
    assert_eq!(world.start().first, None);
}

#[test]
fn the_end() {
    let mut world = World::new(4, 10);
    world.add(work("b", 1, 1, 1));
    let start = world.start();
    world.ready(&start, 1);
    world.pools.end(Order::Retire);
    assert!(world.pools.add(work("b", 2, 1, 1), &mut world.starts).is_err());
    assert_eq!(world.turn(&start, &[], 1), (Order::Retire, vec![1]), "what there is goes out");
    world.pools.end(Order::Abort);
    assert_eq!(world.turn(&start, &[], 1).0, Order::Abort);
}

#[derive(Clone, Debug)]
enum Act {
    Add { destination: u8, lane: u64, large: bool },
    Turn { connection: usize, room: usize, finish: usize },
    Part { connection: usize },
    Die { connection: usize },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let add =
        (0..3u8, 0..4u64, any::<bool>()).prop_map(|(destination, lane, large)| Act::Add { destination, lane, large });
    let turn =
        (0..8usize, 0..4usize, 0..4usize).prop_map(|(connection, room, finish)| Act::Turn { connection, room, finish });
    let part = (0..8usize).prop_map(|connection| Act::Part { connection });
    let die = (0..8usize).prop_map(|connection| Act::Die { connection });
    prop::collection::vec(prop_oneof![6 => add, 10 => turn, 2 => part, 1 => die], 1..200)
}

proptest! {
    /// Whatever happens: bounds hold, lanes keep their order and their connection, and all jobs come out in the end.
    #[test]
    fn nothing_is_lost_and_lanes_keep_their_order(acts in acts(), per in 1usize..5, all in 1usize..4) {
        let mut world = World::new(per, all);
        let mut live: Vec<(Start, VecDeque<Item>)> = Vec::new();
        let mut done: Vec<(Destination, u64, u64)> = Vec::new();
        let mut added = 0;
        let ending = (0..400).map(|step| match step % 8 {
            7 => Act::Part { connection: step / 8 },
            _ => Act::Turn { connection: step, room: 3, finish: 3 },
        });
        for act in acts.into_iter().chain(ending) {
            match act {
                Act::Add { destination, lane, large } => {
                    added += 1;
                    world.add(work(&destination.to_string(), added, lane, if large { 101 } else { 1 }));
                }
                Act::Turn { connection, room, finish } if !live.is_empty() => {
                    let at = connection % live.len();
                    let (start, jobs) = &mut live[at];
                    let finished: Vec<Item> = jobs.drain(..finish.min(jobs.len())).collect();
                    let mut list = finished.iter().map(|item| Finished { lane: item.job.lane, bulk: item.bulk }).collect();
                    done.extend(finished.iter().map(|item| (start.destination.clone(), item.job.lane, item.job.id.0)));
                    let (me, idle) = ((&start.destination, start.id), jobs.is_empty());
                    world.pools.turn(me, &mut list, room, idle, jobs, &mut world.starts);
                }
                Act::Part { connection } if !live.is_empty() => {
                    let at = connection % live.len();
                    if live[at].1.is_empty() && world.pools.part(&live[at].0.destination, live[at].0.id) {
                        let (start, _) = live.remove(at);
                        world.pools.closed(&start.destination, &mut world.starts);
                    }
                }
                Act::Die { connection } if !live.is_empty() => {
                    let (start, jobs) = live.remove(connection % live.len());
                    world.pools.leave(&start.destination, start.id, &mut Vec::new(), jobs, |_| false);
                    world.pools.closed(&start.destination, &mut world.starts);
                }
                _ => {}
            }
            for start in std::mem::take(&mut world.starts) {
                world.pools.ready(&start.destination, start.id, 2, &mut world.starts);
                live.push((start, VecDeque::new()));
            }
            prop_assert!(live.len() <= all);
            let mut of_lanes: HashSet<(Destination, u64)> = HashSet::new();
            for (start, jobs) in &live {
                let lanes: HashSet<u64> = jobs.iter().map(|item| item.job.lane).collect();
                for lane in lanes {
                    prop_assert!(of_lanes.insert((start.destination.clone(), lane)), "lane {lane} on two connections");
                }
            }
        }
        prop_assert_eq!(done.len() as u64, added, "every job came out");
        let mut last: HashMap<(Destination, u64), u64> = HashMap::new();
        for (destination, lane, id) in done {
            if let Some(before) = last.insert((destination, lane), id) {
                prop_assert!(before < id, "{id} after {before}");
            }
        }
    }
}
