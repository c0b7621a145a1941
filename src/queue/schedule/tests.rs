use std::collections::HashSet;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn entry(id: u64) -> QueueId {
    QueueId(id)
}

fn hop() -> Onward {
    Onward::Nowhere(EnhancedCode::new(5, 1, 2), Arc::from("test"))
}

fn schedule(in_flight: usize, each: usize) -> Schedule {
    let options = Options { in_flight, in_flight_per_destination: each, ..Options::default() };
    Schedule::new(options, 7)
}

/// Everything that can be done at `now`, look-ups answered at once.
fn drain(schedule: &mut Schedule, now: Timestamp) -> Vec<(String, u64)> {
    let mut dispatched = Vec::new();
    while let Some(step) = schedule.next(now) {
        match step {
            Step::Resolve(destination) => {
                schedule.resolved(&destination, Resolved::Onward(hop(), Timestamp::MAX), now);
            }
            Step::Dispatch(destination, entry, _) => dispatched.push((destination.to_string(), entry.0)),
            Step::Expire(id) => dispatched.push(("expire".into(), id.0)),
            Step::Notice(id) => dispatched.push(("notice".into(), id.0)),
            Step::Mail(id) => dispatched.push(("mail".into(), id.0)),
        }
    }
    dispatched
}

fn ids(dispatched: &[(String, u64)]) -> Vec<u64> {
    dispatched.iter().map(|(_, id)| *id).collect()
}

#[test]
fn destinations_take_turns() {
    let mut schedule = schedule(100, 100);
    let (long, short): (Destination, Destination) = (Arc::from("long"), Arc::from("short"));
    for id in 0..5 {
        schedule.arrive(&long, entry(id));
    }
    schedule.arrive(&short, entry(9));
    let order = drain(&mut schedule, at(0));
    assert!(order.iter().position(|(_, id)| *id == 9).unwrap() <= 1, "{order:?}");
    assert_eq!(order.len(), 6);
}

#[test]
fn bounds_hold() {
    let mut schedule = schedule(5, 2);
    let destinations: Vec<Destination> = (0..4).map(|n| Arc::from(format!("d{n}"))).collect();
    for (n, destination) in destinations.iter().enumerate() {
        for id in 0..10 {
            schedule.arrive(destination, entry(n as u64 * 100 + id));
        }
    }
    let first = drain(&mut schedule, at(0));
    assert_eq!(first.len(), 5);
    for destination in &destinations {
        assert!(schedule.standing_of(destination).unwrap().in_flight <= 2);
    }
    let (name, id) = first[0].clone();
    schedule.ended(&Arc::from(name), entry(id), Ended::Done, at(1));
    assert_eq!(drain(&mut schedule, at(1)).len(), 1);
}

#[test]
fn a_failing_destination_waits_longer_each_time_and_keeps_its_order() {
    let mut schedule = schedule(100, 100);
    let destination: Destination = Arc::from("b.example");
    for id in 0..3 {
        schedule.arrive(&destination, entry(id));
    }
    let mut now = at(0);
    for pause in [5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 3_600_000] {
        let dispatched = ids(&drain(&mut schedule, now));
        assert_eq!(dispatched, [0, 1, 2]);
        for id in [2, 0, 1] {
            schedule.ended(&destination, entry(id), Ended::Destination("refused".into()), now);
        }
        assert_eq!(drain(&mut schedule, now), []);
        let next = schedule.wake_at().unwrap();
        let waited = next.since(now).as_millis() as i64;
        assert!((pause..=pause + pause / 10).contains(&waited), "{pause} {waited}");
        now = next;
    }
    assert_eq!(schedule.standing_of(&destination).unwrap().reason.as_deref(), Some("refused"));
}

#[test]
fn a_sign_of_life_ends_the_pause_and_success_the_count() {
    let mut schedule = schedule(100, 100);
    let destination: Destination = Arc::from("b.example");
    schedule.arrive(&destination, entry(1));
    drain(&mut schedule, at(0));
    schedule.ended(&destination, entry(1), Ended::Destination("refused".into()), at(0));
    schedule.wake(&destination);
    assert_eq!(ids(&drain(&mut schedule, at(1))), [1]);
    schedule.ended(&destination, entry(1), Ended::Done, at(2));
    assert_eq!(schedule.standing_of(&destination).unwrap().failures, 0);
}

#[test]
fn an_unanswered_look_up_backs_off() {
    let mut schedule = schedule(100, 100);
    let destination: Destination = Arc::from("b.example");
    schedule.arrive(&destination, entry(1));
    let Some(Step::Resolve(asked)) = schedule.next(at(0)) else { panic!() };
    schedule.resolved(&asked, Resolved::Later("SERVFAIL".into()), at(0));
    assert!(schedule.next(at(4_999)).is_none());
    assert!(matches!(schedule.next(at(5_500)), Some(Step::Resolve(_))));
}

#[test]
fn an_old_answer_is_asked_for_again() {
    let mut schedule = schedule(100, 100);
    let destination: Destination = Arc::from("b.example");
    schedule.arrive(&destination, entry(1));
    let Some(Step::Resolve(asked)) = schedule.next(at(0)) else { panic!() };
    schedule.resolved(&asked, Resolved::Onward(hop(), at(10)), at(0));
    assert!(matches!(schedule.next(at(0)), Some(Step::Dispatch(..))));
    schedule.arrive(&destination, entry(2));
    assert!(matches!(schedule.next(at(10)), Some(Step::Resolve(_))));
}

#[test]
fn a_deferred_recipient_is_retried_alone() {
    let mut schedule = schedule(100, 100);
    let destination: Destination = Arc::from("b.example");
    schedule.arrive(&destination, entry(1));
    drain(&mut schedule, at(0));
    schedule.ended(&destination, entry(1), Ended::Recipients { attempts: 1, deferred: vec![0] }, at(0));
    schedule.arrive(&destination, entry(2));
    assert_eq!(ids(&drain(&mut schedule, at(1))), [2]);
    assert_eq!(ids(&drain(&mut schedule, at(5_500))), [1]);
}

#[test]
fn time_is_called() {
    let mut schedule = schedule(1, 1);
    schedule.notice_at(QueueId(1), at(10));
    schedule.expire_at(QueueId(1), at(20));
    assert_eq!(drain(&mut schedule, at(9)), []);
    assert_eq!(drain(&mut schedule, at(10)), [("notice".to_owned(), 1)]);
    assert_eq!(drain(&mut schedule, at(25)), [("expire".to_owned(), 1)]);
}

#[test]
fn idle_destinations_are_forgotten() {
    let options = Options { idle_destinations: 10, ..Options::default() };
    let mut schedule = Schedule::new(options, 3);
    for n in 0..1000 {
        let destination: Destination = Arc::from(format!("d{n}"));
        schedule.arrive(&destination, entry(n));
        drain(&mut schedule, at(0));
        schedule.ended(&destination, entry(n), Ended::Done, at(0));
    }
    assert!(schedule.standings().len() <= 11);
}

/// Twenty destinations that take connections and say nothing leave room for the others until the first has answered.
#[test]
fn a_destination_that_has_answered_nothing_holds_few_places() {
    let mut schedule = Schedule::new(Options { in_flight: 10_000, ..Options::default() }, 7);
    let untried = Options::default().untried;
    for tarpit in 0..20 {
        let destination: Destination = Arc::from(format!("tarpit{tarpit}"));
        (0..1000).for_each(|id| schedule.arrive(&destination, entry(tarpit * 1000 + id)));
    }
    let held = drain(&mut schedule, at(0)).len();
    assert_eq!(held, 20 * untried);
    let lively: Destination = Arc::from("lively");
    (100_000..101_000).for_each(|id| schedule.arrive(&lively, entry(id)));
    assert_eq!(drain(&mut schedule, at(1)).len(), untried);
    schedule.ended(&lively, entry(100_000), Ended::Done, at(2));
    drain(&mut schedule, at(2));
    assert_eq!(schedule.standing_of(&lively).unwrap().in_flight, 512, "it has answered");
    schedule.ended(&lively, entry(100_001), Ended::Destination("silent".into()), at(3));
    for id in 100_002..100_513 {
        schedule.ended(&lively, entry(id), Ended::Destination("silent".into()), at(3));
    }
    let wake = schedule.wake_at().unwrap();
    drain(&mut schedule, wake);
    assert_eq!(schedule.standing_of(&lively).unwrap().in_flight, untried, "and is mute again");
}

/// Seeded: whatever happens, no message is lost by the schedule, none is out twice at once, and the bounds hold.
#[test]
fn nothing_is_lost_whatever_happens() {
    for seed in 1..200_u64 {
        let mut random = seed;
        let mut roll = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let mut schedule = schedule(8, 3);
        let destinations: Vec<Destination> = (0..3).map(|n| Arc::from(format!("d{n}"))).collect();
        let (mut now, mut next_id, mut done) = (at(0), 0, HashSet::new());
        let mut out: Vec<(Destination, u64)> = Vec::new();
        for round in 0..400 {
            if round < 200 && roll(2) == 0 {
                schedule.arrive(&destinations[roll(3) as usize], entry(next_id));
                next_id += 1;
            }
            while let Some(step) = schedule.next(now) {
                match step {
                    Step::Resolve(destination) => {
                        let answer = if round < 200 && roll(3) == 0 {
                            Resolved::Later("timeout".into())
                        } else {
                            Resolved::Onward(hop(), now.after(Duration::from_secs(roll(100))))
                        };
                        schedule.resolved(&destination, answer, now);
                    }
                    Step::Dispatch(destination, entry, _) => {
                        assert!(!out.iter().any(|(_, id)| *id == entry.0), "seed {seed}: out twice");
                        assert!(!done.contains(&entry.0), "seed {seed}: sent again");
                        out.push((destination, entry.0));
                        assert!(out.len() <= 8, "seed {seed}");
                    }
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
            while !out.is_empty() && (round >= 200 || roll(2) == 0) {
                let (destination, id) = out.swap_remove(roll(out.len() as u64) as usize);
                let ended = match if round < 200 { roll(4) } else { 0 } {
                    1 => Ended::Destination("gone".into()),
                    2 => Ended::Recipients { attempts: 1 + roll(5) as u16, deferred: vec![0] },
                    _ => Ended::Done,
                };
                if ended == Ended::Done {
                    assert!(done.insert(id));
                }
                schedule.ended(&destination, entry(id), ended, now);
            }
            if roll(20) == 0 {
                schedule.wake(&destinations[roll(3) as usize]);
            }
            let pause = if round < 200 { roll(3_000) as i64 } else { 4_000_000 };
            now = at(now.millis() + pause);
        }
        assert_eq!(done.len() as u64, next_id, "seed {seed}: lost");
        assert_eq!(schedule.in_flight(), 0, "seed {seed}");
    }
}
