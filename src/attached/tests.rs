mod simulation;

use std::time::{Duration, Instant};

use super::*;
use crate::limits;
use crate::spool::{Holder, Progress};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

pub(super) fn holder(text: &str) -> Holder {
    Holder::read(text).unwrap()
}

pub(super) fn item(id: u64) -> Item {
    Item { id: QueueId(id), index: 0 }
}

pub(super) fn open() -> State {
    State::Open(Progress::default())
}

fn alice() -> Mailbox {
    mailbox("alice@a.example")
}

fn board() -> Attached {
    let attached = Attached::new(Vec::new());
    attached.restored();
    attached
}

fn arrive(attached: &Attached, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        assert_eq!(attached.arrive(&alice(), item(id), 100, &open()), []);
    }
}

pub(super) fn join(attached: &Attached, account: &str, inbox: &str, reads: Reads, device: Option<&str>) -> Joined {
    let principal = Principal::vouched(mailbox(account));
    let device = device.map(|device| Device::parse(device).unwrap());
    attached.attach(&principal, &[(mailbox(inbox), reads)], device.as_ref(), NOW)
}

fn seat(attached: &Attached, device: Option<&str>) -> Feed {
    let Joined { feed, .. } = join(attached, "alice@a.example", "alice@a.example", Reads::Own, device);
    feed.ready(None);
    feed
}

fn bob(attached: &Attached, reads: Reads, device: Option<&str>) -> Feed {
    let Joined { feed, .. } = join(attached, "bob@a.example", "alice@a.example", reads, device);
    feed.ready(None);
    feed
}

fn take(feed: &Feed) -> Vec<Offer> {
    feed.take(100, Instant::now())
}

fn ids(offers: &[Offer]) -> Vec<u64> {
    offers.iter().map(|offer| offer.id().0).collect()
}

/// What follows from an answer, in words; it is written down at once.
fn answer(attached: &Attached, feed: &Feed, offer: &Offer, verdict: Verdict) -> String {
    let concluded = feed.answered(offer, verdict, Instant::now());
    if concluded != Concluded::Nothing {
        attached.settled(&alice(), offer.item);
    }
    show(concluded)
}

fn show(concluded: Concluded) -> String {
    match concluded {
        Concluded::Nothing => "nothing".to_owned(),
        Concluded::Fails => "fails".to_owned(),
        Concluded::Had(Had { holder, completes, others, .. }) => {
            let holder = holder.map_or("somebody".to_owned(), |holder| holder.to_string());
            let others: Vec<&str> = others.iter().map(Holder::as_str).collect();
            format!("{holder}{} [{}]", if completes { " completes" } else { "" }, others.join(" "))
        }
    }
}

#[test]
fn each_device_gets_each_message_and_the_first_completes() {
    let attached = board();
    let (phone, desk) = (seat(&attached, Some("phone")), seat(&attached, Some("desk")));
    arrive(&attached, 1..=2);
    let (on_phone, on_desk) = (take(&phone), take(&desk));
    assert_eq!((ids(&on_phone), ids(&on_desk)), (vec![1, 2], vec![1, 2]));
    assert_eq!(ids(&take(&phone)), [] as [u64; 0], "once");
    assert_eq!(answer(&attached, &desk, &on_desk[0], Verdict::Had), "desk completes [phone]");
    assert_eq!(attached.load(&alice()), Load { messages: 2, octets: 200, open: 1 });
    assert_eq!(answer(&attached, &phone, &on_phone[0], Verdict::Had), "phone []");
    assert_eq!(attached.load(&alice()), Load { messages: 1, octets: 100, open: 1 });
    assert_eq!(attached.waiting(&[alice()]), 1);
}

#[test]
fn a_device_that_was_away_gets_what_it_missed_in_order() {
    let attached = board();
    drop(seat(&attached, Some("desk")));
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, 1..=3);
    for offer in take(&phone) {
        assert_eq!(answer(&attached, &phone, &offer, Verdict::Had), "phone completes [desk]");
    }
    arrive(&attached, [4]);
    let desk = seat(&attached, Some("desk"));
    assert_eq!(ids(&take(&desk)), [1, 2, 3, 4]);
    assert_eq!(ids(&take(&seat(&attached, Some("new")))), [4], "a new device gets what nobody has had");
}

#[test]
fn without_a_name_there_is_no_list() {
    let attached = board();
    drop(seat(&attached, Some("phone")));
    arrive(&attached, 1..=2);
    let nameless = seat(&attached, None);
    let offers = take(&nameless);
    assert_eq!(answer(&attached, &nameless, &offers[0], Verdict::Had), "somebody completes [phone]");
    assert_eq!(ids(&take(&seat(&attached, None))), [2]);
    assert_eq!(answer(&attached, &nameless, &offers[1], Verdict::Refused), "nothing", "left to the phone");
    assert_eq!(ids(&take(&nameless)), [] as [u64; 0], "it is not offered that again");
    assert_eq!(attached.load(&alice()), Load { messages: 2, octets: 200, open: 1 });
    let phone = seat(&attached, Some("phone"));
    let offers = take(&phone);
    assert_eq!(ids(&offers), [1, 2]);
    assert_eq!(answer(&attached, &phone, &offers[1], Verdict::Had), "phone completes []");
    let attached = board();
    arrive(&attached, [3]);
    let nameless = seat(&attached, None);
    assert_eq!(answer(&attached, &nameless, &take(&nameless)[0], Verdict::Refused), "fails", "nobody else could");
    assert_eq!(attached.load(&alice()), Load::default());
}

#[test]
fn delegates_get_copies_and_complete_only_where_they_may() {
    let attached = board();
    let copy = bob(&attached, Reads::Copy, Some("phone"));
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, 1..=2);
    let (copied, own) = (take(&copy), take(&phone));
    assert_eq!(answer(&attached, &copy, &copied[0], Verdict::Had), "bob@a.example/phone []");
    assert_eq!(attached.waiting(&[alice()]), 2);
    assert_eq!(answer(&attached, &phone, &own[0], Verdict::Had), "phone completes []");
    assert_eq!(answer(&attached, &phone, &own[1], Verdict::Had), "phone completes [bob@a.example/phone]");
    assert_eq!(answer(&attached, &copy, &copied[1], Verdict::Had), "bob@a.example/phone []");
    assert_eq!(attached.load(&alice()), Load::default());
    arrive(&attached, [3]);
    let take_all = bob(&attached, Reads::Take, None);
    assert_eq!(
        answer(&attached, &take_all, &take(&take_all)[0], Verdict::Had),
        "somebody completes [bob@a.example/phone phone]"
    );
    assert!(matches!(bob(&attached, Reads::No, None).take(9, Instant::now())[..], []));
}

#[test]
fn what_is_kept_for_devices_that_stay_away_gives_way() {
    let attached = board();
    drop((seat(&attached, Some("desk")), seat(&attached, Some("old"))));
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, 1..=4);
    for offer in &take(&phone)[..3] {
        assert_eq!(answer(&attached, &phone, offer, Verdict::Had), "phone completes [desk old]");
    }
    let room = |messages, octets| attached.has_room(&alice(), messages, octets);
    assert!(room(2, 1000) && room(9, 101) && !room(1, 1000) && !room(9, 100), "only the fourth is in the way");
    assert!(attached.make_room(&alice(), 5, 401).is_empty(), "there is room");
    let given_up = attached.make_room(&alice(), 4, 1000).had;
    let shown: Vec<_> = given_up.iter().map(|(id, had)| (id.0, had.holder.as_ref().map(Holder::as_str))).collect();
    assert_eq!(shown, [(1, Some("desk")), (1, Some("old"))], "the oldest, for all who stay away");
    assert_eq!(attached.load(&alice()), Load { messages: 3, octets: 300, open: 1 });
    assert_eq!(attached.make_room(&alice(), 9, 150).had.len(), 4, "all that is kept, and not what nobody has had");
    assert_eq!(attached.load(&alice()), Load { messages: 1, octets: 100, open: 1 });
    assert_eq!(ids(&take(&seat(&attached, Some("desk")))), [4]);
    assert!(attached.has_room(&mailbox("nobody@a.example"), 1, 1));
}

#[test]
fn nothing_is_offered_while_too_many_answers_wait_for_the_disk() {
    let attached = board();
    let phone = seat(&attached, Some("phone"));
    let most = limits::SETTLING as u64;
    arrive(&attached, 1..=most + 2);
    let offers = phone.take(limits::SETTLING, Instant::now());
    for offer in &offers {
        assert_ne!(phone.answered(offer, Verdict::Had, Instant::now()), Concluded::Nothing);
    }
    assert_eq!(take(&phone), [], "the spool has written none of them");
    assert!(!phone.is_dry(), "and yet something waits");
    for offer in &offers[..limits::SETTLING / 2 - 1] {
        attached.settled(&alice(), offer.item);
    }
    assert_eq!(take(&phone), [], "until half of them are written");
    attached.settled(&alice(), offers[limits::SETTLING / 2].item);
    assert_eq!(ids(&take(&phone)), [most + 1, most + 2]);
}

#[test]
fn an_attachment_ends_when_what_proved_its_account_does_not_hold() {
    let attached = board();
    let (phone, desk) = (seat(&attached, Some("phone")), seat(&attached, Some("desk")));
    phone.revise(|_, _| Reads::Own);
    assert_eq!(phone.end(), None);
    phone.revise(|_, _| Reads::Copy);
    assert_eq!((phone.end(), desk.end()), (Some(End::Revoked), None));
    desk.end_by(End::Renewal);
    desk.end_by(End::Closing);
    assert_eq!(desk.end(), Some(End::Renewal), "the first reason stays");
}

#[test]
fn refusals_for_good() {
    let attached = board();
    let (phone, desk) = (seat(&attached, Some("phone")), seat(&attached, Some("desk")));
    arrive(&attached, 1..=2);
    let (on_phone, on_desk) = (take(&phone), take(&desk));
    assert_eq!(answer(&attached, &phone, &on_phone[0], Verdict::Refused), "phone []", "left to the other");
    assert_eq!(answer(&attached, &desk, &on_desk[0], Verdict::Had), "desk completes []");
    assert_eq!(answer(&attached, &phone, &on_phone[1], Verdict::Refused), "phone []");
    assert_eq!(answer(&attached, &desk, &on_desk[1], Verdict::Refused), "fails", "the last that could");
    assert_eq!(attached.load(&alice()), Load::default());
}

#[test]
fn refusals_for_now_wait_and_hold_back_for_a_while() {
    let attached = board();
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, 1..=2);
    let mut now = Instant::now();
    for pause in [5, 15] {
        let offers = phone.take(9, now);
        assert_eq!(offers[0].id(), QueueId(1));
        assert_eq!(phone.answered(&offers[0], Verdict::Later, now), Concluded::Nothing);
        for other in &offers[1..] {
            phone.soon(other, now);
        }
        now += Duration::from_secs(pause) - Duration::from_millis(1);
        assert!(!ids(&phone.take(9, now)).contains(&1));
        now += Duration::from_millis(1);
    }
    let offers = phone.take(1, now);
    assert_eq!(ids(&offers), [1]);
    phone.answered(&offers[0], Verdict::Later, now);
    arrive(&attached, [3]);
    assert_eq!(ids(&phone.take(9, now)), [3], "it does not hold others back for ever");
    assert_eq!(phone.next_due(), Some(now + Duration::from_secs(60)));
}

#[test]
fn a_device_that_attaches_again_ends_its_older_connection() {
    let attached = board();
    let old = seat(&attached, Some("phone"));
    arrive(&attached, [1]);
    let offers = take(&old);
    let new = seat(&attached, Some("phone"));
    assert_eq!((old.end(), new.end()), (Some(End::Replaced), None));
    assert_eq!(ids(&take(&new)), [] as [u64; 0], "the older connection may still answer");
    arrive(&attached, [2]);
    assert_eq!(ids(&take(&old)), [] as [u64; 0]);
    assert_eq!(ids(&take(&new)), [2]);
    drop(old);
    assert_eq!(ids(&take(&new)), [1]);
    assert_eq!(show(new.answered(&offers[0], Verdict::Had, Instant::now())), "phone completes []");
    let other = seat(&attached, Some("desk"));
    assert_eq!((new.end(), other.end()), (None, None), "another device is another");
}

#[test]
fn the_younger_connection_stays_whichever_is_ready_first() {
    let attached = board();
    let join = || join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("phone")).feed;
    let (old, new) = (join(), join());
    new.ready(None);
    old.ready(None);
    assert_eq!((old.end(), new.end()), (Some(End::Replaced), None));
    drop((old, new));
    let (old, new) = (join(), join());
    new.ready(Some(1000));
    old.ready(Some(10));
    assert_eq!((old.end(), new.end()), (None, None));
    attached.arrive(&alice(), item(1), 10, &open());
    attached.arrive(&alice(), item(2), 11, &open());
    assert_eq!((ids(&take(&old)), ids(&take(&new))), (vec![1], vec![2]));
}

#[test]
fn a_second_connection_for_large_messages() {
    let attached = board();
    let Joined { feed: small, .. } = join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("phone"));
    small.ready(Some(1000));
    for (id, size) in [(1, 500), (2, 5000), (3, 1000), (4, 90_000)] {
        attached.arrive(&alice(), item(id), size, &open());
    }
    let Joined { feed: large, .. } = join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("phone"));
    large.ready(Some(10_000));
    assert_eq!((small.end(), large.end()), (None, None));
    assert_eq!((ids(&take(&small)), ids(&take(&large))), (vec![1, 3], vec![2]));
    let Joined { feed: same, .. } = join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("phone"));
    same.ready(Some(10_000));
    assert_eq!((small.end(), large.end()), (None, Some(End::Replaced)));
    drop((small, large, same));
    assert_eq!(ids(&take(&seat(&attached, Some("phone")))), [1, 2, 3, 4]);
}

#[test]
fn what_the_connection_for_small_messages_took_is_taken_over() {
    let attached = board();
    let join = || join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("phone")).feed;
    let (small, medium, large) = (join(), join(), join());
    small.ready(Some(10));
    medium.ready(Some(100));
    large.ready(None);
    for (id, size) in [(1, 5), (2, 50), (3, 500)] {
        attached.arrive(&alice(), item(id), size, &open());
    }
    assert_eq!(ids(&take(&large)), [3]);
    drop(medium);
    assert_eq!(ids(&take(&large)), [2]);
    let on_small = take(&small);
    assert_eq!(ids(&on_small), [1]);
    assert_eq!(answer(&attached, &small, &on_small[0], Verdict::Had), "phone completes []");
    attached.arrive(&alice(), item(4), 5, &open());
    assert_eq!(ids(&take(&large)), [] as [u64; 0]);
    drop(small);
    assert_eq!(ids(&take(&large)), [4]);
    attached.arrive(&alice(), item(5), 5, &open());
    assert_eq!(ids(&take(&large)), [5]);
}

#[test]
fn what_comes_late_or_again_is_not_passed_over() {
    let attached = board();
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, [2, 4]);
    assert_eq!(ids(&take(&phone)), [2, 4]);
    arrive(&attached, [3, 5, 1]);
    assert_eq!(ids(&take(&phone)), [1, 3, 5]);
    arrive(&attached, [6]);
    attached.hold(&alice(), item(6));
    arrive(&attached, [7]);
    assert_eq!(ids(&take(&phone)), [7]);
    assert_eq!(attached.waiting(&[alice()]), 6);
    arrive(&attached, [6]);
    assert_eq!(ids(&take(&phone)), [6], "released");
    attached.withdraw(&alice(), item(5));
    assert_eq!(attached.load(&alice()).messages, 6);
}

#[test]
fn nothing_is_offered_before_all_is_known() {
    let attached = Attached::new(Vec::new());
    let phone = seat(&attached, Some("phone"));
    assert_eq!(attached.waiting(&[alice()]), 1, "perhaps");
    arrive(&attached, [7]);
    assert_eq!(ids(&take(&phone)), [] as [u64; 0]);
    arrive(&attached, [3]);
    assert!(!phone.is_dry(), "nobody knows");
    attached.restored();
    assert_eq!(ids(&take(&phone)), [3, 7]);
    assert!(phone.is_dry());
    let joined = join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("desk"));
    assert_eq!(ids(&take(&joined.feed)), [] as [u64; 0], "not ready");
    let known = Known { inbox: "alice@a.example".into(), holder: holder("desk"), seen: NOW };
    assert_eq!(joined.upkeep, Upkeep { know: vec![known], ..Upkeep::default() });
}

#[test]
fn what_the_spool_keeps_for_devices_is_taken_up_again() {
    let known = |name: &str| Known { inbox: "alice@a.example".into(), holder: holder(name), seen: NOW };
    let attached = Attached::new(vec![known("phone"), known("desk")]);
    attached.restored();
    let owed = State::Owed(vec![holder("phone"), holder("gone")]);
    let strangers = attached.arrive(&alice(), item(1), 10, &owed);
    assert_eq!(strangers.into_iter().map(|had| show(Concluded::Had(had))).collect::<Vec<_>>(), ["gone []"]);
    assert_eq!(attached.arrive(&alice(), item(2), 10, &State::Owed(vec![holder("gone")])).len(), 1);
    let had = State::Open(Progress { had: vec![holder("phone"), holder("gone")], ..Progress::default() });
    assert_eq!(attached.arrive(&alice(), item(3), 10, &had), []);
    assert_eq!(attached.load(&alice()), Load { messages: 2, octets: 20, open: 1 });
    assert_eq!(ids(&take(&seat(&attached, Some("phone")))), [1]);
    let desk = seat(&attached, Some("desk"));
    let offers = take(&desk);
    assert_eq!(ids(&offers), [3]);
    assert_eq!(answer(&attached, &desk, &offers[0], Verdict::Had), "desk completes []");
}

#[test]
fn an_answer_that_is_not_written_yet_is_under_way() {
    let attached = board();
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, [1]);
    assert!(!attached.is_under_way(&alice(), item(1)));
    let offers = take(&phone);
    assert!(attached.is_under_way(&alice(), item(1)), "offered");
    phone.answered(&offers[0], Verdict::Had, Instant::now());
    assert!(attached.is_under_way(&alice(), item(1)), "answered");
    arrive(&attached, [1]);
    assert_eq!(ids(&take(&phone)), [] as [u64; 0], "the spool's state is older");
    attached.settled(&alice(), item(1));
    assert!(!attached.is_under_way(&alice(), item(1)));
    assert_eq!(attached.load(&alice()), Load::default());
}

#[test]
fn devices_are_forgotten_with_what_was_kept_for_them() {
    let attached = board();
    drop(seat(&attached, Some("desk")));
    let phone = seat(&attached, Some("phone"));
    arrive(&attached, [1]);
    answer(&attached, &phone, &take(&phone)[0], Verdict::Had);
    let day = Duration::from_secs(86_400);
    assert!(attached.upkeep(NOW.after(day)).is_empty());
    let seen = NOW.after(day * 15);
    let upkeep = attached.upkeep(seen);
    let known = |name: &str, seen| Known { inbox: "alice@a.example".into(), holder: holder(name), seen };
    assert_eq!(upkeep.know, [known("phone", seen)], "it is attached");
    assert_eq!(upkeep.forget, [known("desk", NOW)]);
    let had = Had { index: 0, holder: Some(holder("desk")), completes: false, others: Vec::new() };
    assert_eq!(upkeep.had, [(QueueId(1), had)]);
    assert_eq!(attached.load(&alice()), Load::default());
    assert_eq!(attached.status(), Status { attached: 1, inboxes: 1, devices: 1 });
}

#[test]
fn what_could_not_be_written_is_due_again() {
    let attached = board();
    let joined = || join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("desk"));
    let first = joined().upkeep;
    assert_eq!(first.know.len(), 1);
    attached.again(first.clone());
    assert_eq!(joined().upkeep, first, "before it is offered anything");
    assert!(attached.upkeep(NOW).is_empty(), "once");
    attached.again(first.clone());
    let known = |name: &str| Known { inbox: "alice@a.example".into(), holder: holder(name), seen: NOW };
    let forget = vec![known("desk"), known("gone")];
    attached.again(Upkeep { know: vec![known("gone")], forget, had: Vec::new() });
    let due = attached.upkeep(NOW);
    assert_eq!((due.know, due.forget), (first.know, vec![known("gone")]), "not what is different by now");
}

#[test]
fn a_delegate_does_not_put_out_the_devices_of_others() {
    let attached = board();
    drop((0..limits::DEVICES).map(|n| seat(&attached, Some(&format!("d{n}")))).collect::<Vec<_>>());
    let delegate =
        |name: &str| join(&attached, "bob@a.example", "alice@a.example", Reads::Copy, Some(name)).upkeep.forget;
    assert_eq!(delegate("one"), [], "served without a list");
    drop(bob(&attached, Reads::Copy, Some("one")));
    let own = |name: &str| join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some(name)).upkeep.forget;
    assert_eq!(own("more").len(), 1);
    attached.upkeep(NOW.after(Duration::from_secs(86_400 * 365)));
    drop(bob(&attached, Reads::Copy, Some("one")));
    drop((1..limits::DEVICES).map(|n| seat(&attached, Some(&format!("d{n}")))).collect::<Vec<_>>());
    assert_eq!(delegate("two")[0].holder, holder("bob@a.example/one"), "his own");
    assert_eq!(own("more")[0].holder, holder("bob@a.example/two"), "the owner's goes for anybody's");
}

#[test]
fn devices_are_bounded() {
    let attached = board();
    let feeds: Vec<Feed> = (0..limits::DEVICES).map(|n| seat(&attached, Some(&format!("d{n}")))).collect();
    arrive(&attached, [1]);
    let more = seat(&attached, Some("more"));
    assert_eq!(attached.status().devices, limits::DEVICES);
    assert_eq!(ids(&take(&more)), [1], "served without a list");
    drop(more);
    let mut feeds = feeds.into_iter();
    drop(feeds.next());
    let offers = take(&feeds.as_slice()[0]);
    let said = answer(&attached, &feeds.as_slice()[0], &offers[0], Verdict::Had);
    assert!(said.starts_with("d1 completes [d0 d2 "), "{said}");
    let joined = join(&attached, "alice@a.example", "alice@a.example", Reads::Own, Some("more"));
    assert_eq!(joined.upkeep.forget[0].holder, holder("d0"));
    assert_eq!(joined.upkeep.had.len(), 1);
    assert_eq!(attached.status().devices, limits::DEVICES);
}

/// Clients that come at once, as after a restart; each has a message waiting.
const CROWD: u64 = 10_000;

#[test]
fn ten_thousand_attach_at_once() {
    let attached = board();
    let name = |number: u64| format!("user{number}@a.example");
    for number in 0..CROWD {
        assert_eq!(attached.arrive(&mailbox(&name(number)), item(number + 1), 100, &open()), []);
    }
    let start = Instant::now();
    for round in 0..2 {
        // From several threads, as connections are.
        let feeds: Vec<(u64, Feed)> = std::thread::scope(|scope| {
            let some = |first: u64| {
                let attached = &attached;
                scope.spawn(move || {
                    let one = |number: u64| {
                        let name = format!("user{number}@a.example");
                        let Joined { feed, .. } = join(attached, &name, &name, Reads::Own, Some("phone"));
                        feed.ready(None);
                        (number, feed)
                    };
                    (first..CROWD).step_by(8).map(one).collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..8).map(some).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((attached.status().attached, attached.status().devices), (CROWD as usize, CROWD as usize));
        for (number, feed) in &feeds {
            let offers = take(feed);
            assert_eq!(ids(&offers), [number + 1], "each has its own, in round {round}");
            if round == 1 {
                let inbox = mailbox(&name(*number));
                let concluded = feed.answered(&offers[0], Verdict::Had, Instant::now());
                attached.settled(&inbox, offers[0].item);
                assert_eq!(show(concluded), "phone completes []");
                assert_eq!(attached.load(&inbox).messages, 0);
            }
        }
        // All are gone at once, and what they did not answer is there for them when they come back.
        drop(feeds);
        assert_eq!(attached.status().attached, 0);
    }
    // Each costs the same, whatever the number of the others.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn attachments_end_when_they_must() {
    let attached = board();
    let (own, copy) = (seat(&attached, None), bob(&attached, Reads::Take, None));
    attached.revise(|principal, inbox| if principal.account == *inbox { Reads::Own } else { Reads::Copy });
    assert_eq!((own.end(), copy.end()), (None, Some(End::Revoked)));
    attached.close();
    assert_eq!((own.end(), seat(&attached, None).end()), (Some(End::Closing), Some(End::Closing)));
    drop((own, copy));
    assert_eq!(attached.status(), Status::default());
}

#[test]
fn a_message_that_waits_is_small() {
    assert!(size_of::<(Item, inbox::Waiting)>() <= 40);
    assert!(size_of::<seat::Seat>() <= 400, "{}", size_of::<seat::Seat>());
}

#[test]
fn a_message_goes_another_way_only_if_nobody_may_have_it() {
    let attached = board();
    arrive(&attached, [1, 2, 3]);
    assert!(attached.take_away(&alice(), item(1)));
    assert!(!attached.take_away(&alice(), item(1)), "it is away");
    assert!(!attached.take_away(&alice(), item(9)), "it is not there");
    let phone = seat(&attached, Some("phone"));
    assert!(!attached.take_away(&alice(), item(2)), "somebody is there");
    let offers = take(&phone);
    assert_eq!(ids(&offers), [2, 3], "what is away is offered to nobody");
    assert_eq!(answer(&attached, &phone, &offers[1], Verdict::Later), "nothing");
    drop(phone);
    assert!(!attached.take_away(&alice(), item(2)), "the phone may have it");
    assert!(attached.take_away(&alice(), item(3)), "the phone has answered that it does not");
    arrive(&attached, [1]);
    let phone = seat(&attached, Some("phone"));
    assert_eq!(ids(&take(&phone)), [1, 2], "what was given back is offered again");
}

#[test]
fn who_only_gets_copies_keeps_nothing_from_going_another_way() {
    let attached = board();
    arrive(&attached, [1, 2, 3]);
    let copies = bob(&attached, Reads::Copy, Some("pad"));
    assert_eq!(ids(&take(&copies)), [1, 2, 3]);
    assert!(attached.take_away(&alice(), item(1)), "nobody fetches it");
    let phone = seat(&attached, Some("phone"));
    take(&phone);
    drop(phone);
    let tab = bob(&attached, Reads::Copy, Some("tab"));
    let offers = take(&tab);
    assert_eq!(ids(&offers), [2, 3]);
    assert_eq!(answer(&attached, &tab, &offers[0], Verdict::Later), "nothing");
    assert!(!attached.take_away(&alice(), item(2)), "the phone may have it, whatever others say");
    drop((copies, tab));
    assert!(!attached.take_away(&alice(), item(3)));
}

#[test]
fn nothing_goes_another_way_before_everything_is_known() {
    let attached = Attached::new(Vec::new());
    arrive(&attached, [1]);
    assert!(!attached.take_away(&alice(), item(1)));
    attached.restored();
    assert!(attached.take_away(&alice(), item(1)));
}
