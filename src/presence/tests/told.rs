//! What devices are told of who watches, and what goes along with a view.

use std::sync::Arc;

use bytes::Bytes;

use super::super::engine::Request;
use super::super::letter;
use super::super::{Author, Fate, Outgoing};
use super::net::{Line, Net, mailbox, open, publish};
use crate::mime::presence::{Directive, Event};
use crate::pidf::watcherinfo::{Applied, Status, Table, WatcherInfo};
use crate::rules::{Handling, Provide};

const BOB: &str = "bob@b.test";

/// One watcher of bob's asks.
fn asks(net: &mut Net, number: u16) {
    let from = format!("w{number}@a.test");
    let [high, low] = number.to_be_bytes();
    let mut octets = [7; 16];
    (octets[0], octets[1]) = (high, low);
    let id = crate::mime::presence::SubscriptionId::new(octets);
    let directive = Directive::Subscribe { id, expires: Some(3000), event: Event::Presence };
    let line = Line { from: &from, to: &[BOB], directive, body: "" };
    net.b.say(net.now, &line, (true, false)).unwrap();
}

/// The lists that a device of bob's is shown now, each answered.
pub fn lists(net: &mut Net, feed: u64) -> Vec<WatcherInfo> {
    net.b.at(net.now, true, |engine, facts| {
        let mut all = Vec::new();
        while engine.waits(feed) {
            for shown in engine.take(facts, feed, 10) {
                let (media, text) = letter::body_of(&shown.written.entity).unwrap();
                if media == crate::pidf::watcherinfo::MEDIA {
                    all.push(WatcherInfo::parse(&text).unwrap());
                }
                engine.answered(feed, shown.token, false);
            }
        }
        all
    })
}

pub fn opened(net: &mut Net) -> u64 {
    net.b.at(net.now, true, |engine, facts| engine.open_feed(facts, &mailbox(BOB), Arc::default()))
}

fn listed(info: &WatcherInfo) -> Vec<(String, Status)> {
    info.lists[0].watchers.iter().map(|one| (one.uri.clone(), one.status)).collect()
}

#[test]
fn many_watchers_are_told_in_documents_that_follow_each_other() {
    let mut net = Net::new();
    net.b.engine.options.undecided = 5_000;
    for number in 0..2_300 {
        asks(&mut net, number);
    }
    let feed = opened(&mut net);
    let (all, mut table) = (lists(&mut net, feed), Table::default());
    let counts: Vec<_> = all.iter().map(|info| (info.full, info.lists[0].watchers.len())).collect();
    assert_eq!(counts, [(true, 1000), (false, 1000), (false, 300)]);
    assert!(all.iter().all(|info| table.apply(info) == Applied::Taken), "each follows the last");
    assert_eq!(table.watchers().count(), 2_300);
    // One change is one line, however many there are.
    net.b.rule(net.now, BOB, "w7@a.test", Handling::Allow);
    asks(&mut net, 2_300);
    let changed = lists(&mut net, feed);
    assert_eq!(changed.len(), 1);
    let mut told = listed(&changed[0]);
    told.sort_by(|one, two| one.0.cmp(&two.0));
    let expected = [("pres:w2300@a.test".to_owned(), Status::Pending), ("pres:w7@a.test".to_owned(), Status::Active)];
    assert_eq!((changed[0].full, told.as_slice()), (false, &expected[..]));
    assert_eq!(table.apply(&changed[0]), Applied::Taken);
    assert_eq!(table.watchers().count(), 2_301);
    // And so is an end.
    net.b.at(net.now, true, |engine, facts| engine.remove(facts, &mailbox(BOB), &mailbox("w9@a.test")));
    let changed = lists(&mut net, feed);
    assert_eq!(listed(&changed[0]), [("pres:w9@a.test".to_owned(), Status::Terminated)]);
    assert_eq!(table.apply(&changed[0]), Applied::Taken);
    assert_eq!(table.watchers().count(), 2_300);
}

#[test]
fn a_list_that_was_not_taken_is_told_whole() {
    let mut net = Net::new();
    asks(&mut net, 1);
    let feed = opened(&mut net);
    assert!(lists(&mut net, feed)[0].full);
    asks(&mut net, 2);
    net.b.at(net.now, true, |engine, facts| {
        let shown = engine.take(facts, feed, 10).remove(0);
        engine.answered(feed, shown.token, true);
    });
    let again = lists(&mut net, feed);
    assert_eq!((again.len(), again[0].full, again[0].lists[0].watchers.len()), (1, true, 2));
    // A watcher that comes and goes between two documents is told as gone.
    asks(&mut net, 3);
    net.b.at(net.now, true, |engine, facts| engine.remove(facts, &mailbox(BOB), &mailbox("w3@a.test")));
    let changed = lists(&mut net, feed);
    assert_eq!(listed(&changed[0]), [("pres:w3@a.test".to_owned(), Status::Terminated)]);
}

/// Bob publishes what he has signed.
fn publishes(net: &mut Net, entity: &'static str) {
    let (author, bob) = (Author { mailbox: mailbox(BOB), proven: true, client: true, by_mail: false }, [mailbox(BOB)]);
    // Laid out as views are, so that one of which nothing is left out has the same text.
    let text = open(BOB, "signed").replace("<status>", "\n    <status>").replace("<contact>", "\n    <contact>");
    let text = text.replace("</tuple>", "\n  </tuple>");
    let (directive, entity) = (publish(Some(3000)), Bytes::from_static(entity.as_bytes()));
    let request = Request {
        author: &author,
        recipients: &bob,
        directive: &directive,
        body: ("application/pidf+xml", &text),
        entity: &entity,
        signed: true,
        document: None,
        reader: None,
    };
    net.b.at(net.now, true, |engine, facts| engine.say(facts, &request)).unwrap();
}

/// What goes out now, which the other side takes.
fn all_goes(net: &mut Net) -> Vec<Outgoing> {
    let domain = crate::address::Domain::parse("a.test").unwrap();
    net.b.at(net.now, true, |engine, facts| {
        engine.tick(facts);
        let due = engine.due(facts, &domain);
        for one in &due {
            let fates: Vec<_> = (0..one.recipients.len()).map(|place| (place, Fate::Accepted)).collect();
            engine.reported(facts, one.token, &fates);
        }
        due
    })
}

fn text(entity: &Bytes) -> String {
    String::from_utf8(entity.to_vec()).unwrap()
}

/// The last entity that goes out now.
fn goes(net: &mut Net) -> String {
    all_goes(net).last().map(|one| text(&one.written.entity)).unwrap_or_default()
}

#[test]
fn what_the_author_has_signed_goes_along_with_a_whole_view_alone() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, "w1@a.test", Handling::Allow);
    asks(&mut net, 1);
    assert!(goes(&mut net).contains("<presence"));
    net.now = net.now.after(std::time::Duration::from_secs(1));
    publishes(&mut net, SIGNED);
    let entity = goes(&mut net);
    assert!(entity.contains("multipart/related") && entity.contains(SIGNED), "{entity}");
    assert_eq!(letter::body_of(entity.as_bytes()).unwrap().0, "application/pidf+xml");
    let mut becomes = |change: &mut dyn FnMut(&mut Net), along: bool| {
        net.now = net.now.after(std::time::Duration::from_secs(1));
        change(&mut net);
        let entity = goes(&mut net);
        assert!(entity.contains("<presence") && entity.contains("signed by bob") == along, "{entity}");
    };
    let rule = |handling| move |net: &mut Net| net.b.rule(net.now, BOB, "w1@a.test", handling);
    becomes(&mut rule(Handling::PoliteBlock), false);
    becomes(&mut rule(Handling::Allow), true);
    // After a crash too.
    becomes(&mut rule(Handling::PoliteBlock), false);
    let crash = |net: &mut Net| {
        let now = net.now;
        net.b.crash(now, usize::MAX);
        net.b.rule(now, BOB, "w1@a.test", Handling::Allow);
    };
    becomes(&mut { crash }, true);
    // And no more when he says something else.
    let says = |net: &mut Net| {
        let body = open(BOB, "unsigned");
        let line = Line { from: BOB, to: &[BOB], directive: publish(Some(3000)), body: &body };
        net.b.say(net.now, &line, (true, true)).unwrap();
    };
    becomes(&mut { says }, false);
}

/// All but the mood, of which there is none: the text is the same as for those who see everything.
fn all_but_the_mood() -> Provide {
    Provide { all_attributes: false, activities: true, note: true, ..Provide::everything() }
}

const SIGNED: &str = "From: <bob@b.test>\r\nPresence: publish\r\n\r\nsigned by bob\r\n";

#[test]
fn what_is_signed_does_not_go_to_whom_equal_text_is_shown_elsewhere() {
    // Whichever of them comes first.
    for restricted in [1, 2] {
        let mut net = Net::new();
        let who = format!("w{restricted}@a.test");
        net.b.rules.provide.borrow_mut().insert((BOB.to_owned(), who.clone()), all_but_the_mood());
        for number in [1, 2] {
            net.b.rule(net.now, BOB, &format!("w{number}@a.test"), Handling::Allow);
            asks(&mut net, number);
        }
        all_goes(&mut net);
        net.now = net.now.after(std::time::Duration::from_secs(1));
        publishes(&mut net, SIGNED);
        let mut told: Vec<(String, String, bool)> = Vec::new();
        for one in all_goes(&mut net) {
            let (_, view) = letter::body_of(&one.written.entity).unwrap();
            let along = text(&one.written.entity).contains("signed by bob");
            told.extend(one.recipients.iter().map(|to| (to.to_string(), view.trim_end().to_owned(), along)));
        }
        told.sort();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].1, told[1].1, "the texts are equal");
        assert!(told.iter().all(|(to, _, along)| *along == (*to != who)), "{told:?}");
    }
}

#[test]
fn what_is_signed_is_not_shown_to_devices_of_whom_equal_text_is_shown() {
    for restricted in ["ann@b.test", "cat@b.test"] {
        let mut net = Net::new();
        net.b.rules.provide.borrow_mut().insert((BOB.to_owned(), restricted.to_owned()), all_but_the_mood());
        for (number, who) in [(1, "ann@b.test"), (2, "cat@b.test")] {
            net.b.rule(net.now, BOB, who, Handling::Allow);
            let line = Line { from: who, to: &[BOB], directive: super::net::subscribe(number), body: "" };
            net.b.say(net.now, &line, (true, true)).unwrap();
        }
        net.now = net.now.after(std::time::Duration::from_secs(1));
        publishes(&mut net, SIGNED);
        for who in ["ann@b.test", "cat@b.test"] {
            let shown = net.b.at(net.now, true, |engine, facts| {
                let feed = engine.open_feed(facts, &mailbox(who), Arc::default());
                engine.take(facts, feed, 10)
            });
            let entity = text(&shown[0].written.entity);
            assert!(entity.contains("<presence"), "{entity}");
            assert_eq!(entity.contains("signed by bob"), who != restricted, "{entity}");
        }
    }
}
