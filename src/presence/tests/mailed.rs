//! Watchers who have only mail, and presentities who do.

use std::time::Duration;

use super::super::engine::Request;
use super::super::{Author, Contents, Fate, Mailing, Reason, Refusal, State};
use super::net::{Net, Server, id, mailbox, open, publish};
use crate::address::Domain;
use crate::limits;
use crate::mime::presence::{Directive, Event};
use crate::pidf::{Basic, Document};
use crate::rules::Handling;
use crate::timestamp::Timestamp;

const ALICE: &str = "alice@mail.test";
const BOB: &str = "bob@b.test";

/// Somebody whom the bridge has found to be the author asks.
fn asks(server: &mut Server, now: Timestamp, from: &str, to: &str, directive: Directive) -> Result<(), Refusal> {
    let author = Author { mailbox: mailbox(from), proven: true, client: false, by_mail: true };
    server.at(now, true, |engine, facts| {
        let request = Request {
            author: &author,
            recipients: &[mailbox(to)],
            directive: &directive,
            body: ("", ""),
            entity: &bytes::Bytes::new(),
            signed: false,
            document: None,
            reader: None,
        };
        engine.say(facts, &request)
    })
}

fn subscribe(server: &mut Server, now: Timestamp, from: &str, to: &str) {
    let directive = Directive::Subscribe { id: id(1), expires: None, event: Event::Presence };
    asks(server, now, from, to, directive).unwrap();
}

/// The mails that are due to the people of a domain.
fn due(server: &mut Server, now: Timestamp, domain: &str) -> Vec<Mailing> {
    let domain = Domain::parse(domain).unwrap();
    server.at(now, false, |engine, facts| {
        let mut all = Vec::new();
        loop {
            engine.tick(facts);
            let due = engine.due_by_mail(facts, &domain);
            if due.is_empty() {
                return all;
            }
            all.extend(due);
        }
    })
}

fn in_short(mailing: &Mailing) -> String {
    let Contents::Told(told) = &mailing.contents else { return "confirm".to_owned() };
    let one = |told: &super::super::Told| {
        let document = told.view.as_deref().map(|view| Document::parse(view).unwrap());
        let basic = document.as_ref().and_then(Document::basic).map_or("", Basic::word);
        let note = document.as_ref().and_then(|document| document.person_notes().first());
        let note = note.map_or("", |note| note.text.as_str());
        format!("{} {:?} {basic} {note}", told.presentity.local(), told.state).trim_end().to_owned()
    };
    told.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What is mailed now, in short, and what becomes of it.
fn mailed(server: &mut Server, now: Timestamp, fate: Fate) -> Vec<String> {
    let all = due(server, now, "mail.test");
    for one in &all {
        server.at(now, true, |engine, facts| engine.reported(facts, one.token, &[(0, fate)]));
    }
    all.iter().map(in_short).collect()
}

fn says(net: &mut Net, who: &str, note: &str) {
    let text = open(who, note);
    let line = super::net::Line { from: who, to: &[who], directive: publish(None), body: &text };
    net.b.say(net.now, &line, (true, true)).unwrap();
}

fn later(net: &mut Net, seconds: u64) {
    let end = net.now.after(Duration::from_secs(seconds));
    net.now = net.now.after(Duration::from_secs(1));
    // Whatever is due at once, or after the pause between two changes, has its time.
    for _ in 0..2 {
        net.b.at(net.now, false, |engine, facts| engine.tick(facts));
    }
    net.now = end;
}

/// Alice watches Bob, who has allowed it, and has her first mail.
fn watched() -> Net {
    let mut net = Net::new();
    let now = net.now;
    net.b.rule(now, BOB, ALICE, Handling::Allow);
    says(&mut net, BOB, "one");
    subscribe(&mut net.b, now, ALICE, BOB);
    assert_eq!(mailed(&mut net.b, now, Fate::Accepted), ["bob Active closed one"]);
    net
}

#[test]
fn changes_are_gathered_and_the_latest_is_told() {
    let mut net = watched();
    net.b.rule(net.now, "carol@b.test", ALICE, Handling::Allow);
    subscribe(&mut net.b, net.now, ALICE, "carol@b.test");
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["carol Active closed"]);
    says(&mut net, BOB, "two");
    later(&mut net, 60);
    says(&mut net, "carol@b.test", "here");
    says(&mut net, BOB, "three");
    later(&mut net, 500);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0], "not before the pause is over");
    later(&mut net, 60);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["bob Active closed three; carol Active closed here"]);
    // What has come and gone is not worth a mail.
    says(&mut net, BOB, "four");
    later(&mut net, 60);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
    says(&mut net, BOB, "three");
    later(&mut net, 3600);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
}

#[test]
fn rules_hold_for_watchers_by_mail() {
    let mut net = Net::new();
    says(&mut net, BOB, "secret");
    subscribe(&mut net.b, net.now, ALICE, BOB);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["bob Pending"]);
    net.b.rule(net.now, BOB, ALICE, Handling::PoliteBlock);
    later(&mut net, 601);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["bob Active closed"]);
    net.b.rule(net.now, BOB, ALICE, Handling::Block);
    later(&mut net, 601);
    let rejected = format!("bob {:?}", State::Terminated(Some(Reason::Rejected)));
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [rejected.as_str()]);
    let fetch = Directive::Fetch { id: id(2), event: Event::Presence };
    asks(&mut net.b, net.now, ALICE, BOB, fetch).unwrap();
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [rejected]);
    let nobody = Directive::Fetch { id: id(2), event: Event::Presence };
    assert_eq!(asks(&mut net.b, net.now, ALICE, "nobody@b.test", nobody).unwrap_err().code(), 550);
}

#[test]
fn what_is_not_handed_over_is_told_later_as_it_is_then() {
    let mut net = watched();
    says(&mut net, BOB, "two");
    later(&mut net, 601);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Later), ["bob Active closed two"]);
    says(&mut net, BOB, "three");
    later(&mut net, 601);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["bob Active closed three"]);
    // An address that takes no mail watches no more.
    says(&mut net, BOB, "four");
    later(&mut net, 601);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Refused), ["bob Active closed four"]);
    says(&mut net, BOB, "five");
    later(&mut net, 601);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
    assert_eq!(net.b.engine.tables.subscriptions.len(), 0);
}

#[test]
fn a_crash_loses_no_watcher_and_repeats_no_mail() {
    let mut net = watched();
    subscribe(&mut net.b, net.now, ALICE, "carol@b.test");
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["carol Pending"]);
    net.b.crash(net.now, usize::MAX);
    later(&mut net, 3600);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
    later(&mut net, 3600);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
    says(&mut net, BOB, "two");
    net.b.crash(net.now, usize::MAX);
    later(&mut net, 60);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
    later(&mut net, 601);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["bob Active closed two"]);
}

#[test]
fn the_end_of_it() {
    let mut net = watched();
    let cancel = Directive::Cancel { id: id(9) };
    asks(&mut net.b, net.now, "mallory@mail.test", BOB, cancel.clone()).unwrap();
    assert_eq!(net.b.engine.tables.subscriptions.len(), 1, "nobody ends what is another's");
    asks(&mut net.b, net.now, ALICE, BOB, cancel).unwrap();
    let over = format!("bob {:?}", State::Terminated(Some(Reason::Timeout)));
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [over.as_str()]);
    assert_eq!(net.b.engine.tables.subscriptions.len(), 0);
    // After its time, without a word from her.
    let mut net = watched();
    later(&mut net, limits::MAILED_FOR.as_secs() + 1);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [over]);
    // Her mail comes back.
    let mut net = watched();
    let domain = Domain::parse("b.test").unwrap();
    let count = |net: &mut Net, domain: &Domain| {
        net.b.at(net.now, true, |engine, facts| engine.unsubscribe_by_mail(facts, &mailbox(ALICE), domain))
    };
    assert_eq!(count(&mut net, &Domain::parse("c.test").unwrap()), 0);
    assert_eq!((count(&mut net, &domain), count(&mut net, &domain)), (1, 0));
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0], "nobody writes there");
    assert_eq!(net.b.engine.tables.names.len(), 1, "bob's publication holds his name");
}

#[test]
fn whoever_asks_has_to_confirm() {
    let mut net = Net::new();
    let asked = |net: &mut Net, who: &str, whom: &str| {
        let (who, whom) = (mailbox(who), mailbox(whom));
        net.b.at(net.now, true, |engine, facts| engine.confirm_by_mail(facts, &who, &whom))
    };
    assert_eq!(asked(&mut net, ALICE, "nobody@b.test").unwrap_err().code(), 550);
    for _ in 0..3 {
        asked(&mut net, ALICE, BOB).unwrap();
    }
    assert_eq!(mailed(&mut net.b, net.now, Fate::Later), ["confirm"], "one question, however often it is asked");
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), ["confirm"]);
    assert_eq!(mailed(&mut net.b, net.now, Fate::Accepted), [""; 0]);
    assert_eq!((net.b.engine.tables.names.len(), net.b.engine.tables.subscriptions.len()), (0, 0));
    for number in 0..limits::MAILED_CONTACTS {
        subscribe(&mut net.b, net.now, ALICE, &format!("p{number}@b.test"));
    }
    let one_more = Directive::Subscribe { id: id(1), expires: None, event: Event::Presence };
    assert_eq!(asks(&mut net.b, net.now, ALICE, BOB, one_more).unwrap_err().code(), 452);
    let mails = due(&mut net.b, net.now, "mail.test");
    let of =
        |mailing: &Mailing| matches!(&mailing.contents, Contents::Told(all) if all.len() <= limits::MAILED_TOGETHER);
    assert!(mails.iter().all(of) && mails.len() >= limits::MAILED_CONTACTS / limits::MAILED_TOGETHER);
}

#[test]
fn somebody_who_has_only_mail_is_seen_so() {
    let mut net = Net::new();
    let line = super::net::Line { from: "bob@b.test", to: &[ALICE], directive: super::net::subscribe(1), body: "" };
    net.b.say(net.now, &line, (true, true)).unwrap();
    let domain = Domain::parse("mail.test").unwrap();
    let tell = |net: &mut Net, fate: Fate| {
        let due = net.b.at(net.now, true, |engine, facts| {
            engine.tick(facts);
            engine.due(facts, &domain)
        });
        for one in &due {
            net.b.at(net.now, true, |engine, facts| engine.reported(facts, one.token, &[(0, fate)]));
        }
        due.len()
    };
    assert_eq!(tell(&mut net, Fate::MailOnly), 1);
    assert_eq!(net.b.sees(net.now, BOB, ALICE), "Active open");
    let contacts = net.b.at(net.now, false, |engine, facts| {
        let name = engine.tables.names.find(&mailbox(BOB)).unwrap();
        engine.contacts_of(facts, name)
    });
    let document = Document::parse(contacts[0].view.as_deref().unwrap()).unwrap();
    let means: Vec<_> =
        document.tuples.iter().map(|one| (one.contact.as_deref().unwrap(), one.basic.unwrap())).collect();
    assert_eq!(means, [("im:alice@mail.test", Basic::Closed), ("mailto:alice@mail.test", Basic::Open)]);
    // It is found out again, and outlasts a crash.
    net.b.crash(net.now, usize::MAX);
    assert_eq!(net.b.sees(net.now, BOB, ALICE), "Active open");
    later(&mut net, 3500);
    assert_eq!(tell(&mut net, Fate::MailOnly), 1);
    later(&mut net, 3000);
    assert_eq!(net.b.sees(net.now, BOB, ALICE), "Active open");
}
