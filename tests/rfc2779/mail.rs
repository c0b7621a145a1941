//! The bridge outward, before a mail system that is played: whoever has only mail gets mail, and the sender hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::clients::Home;
use crate::common::client::{Client, Reply, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::device::Device;
use crate::common::sink::{Arrival, Manner, Sink, field};
use crate::common::wait;
use crate::world::{World, check, report, reports, submit};

const KEYWORDS: [&str; 5] = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SIZE 0"];

fn mail_system(lmtp: bool, say: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Sink {
    Sink::with(Manner { keywords: KEYWORDS.to_vec(), say: Box::new(say), lmtp })
}

/// `a.test` without a peer that speaks IMPP; what is for others becomes mail.
fn bridged(world: &World, via: &str) -> Setup {
    let a = world.domain("a.test", "alice").with(&format!("[bridge]\nvia = {via:?}\n"));
    a.key("name = \"a.test\"", "bridge = \"im.a.test\"")
}

fn ask(a: &Setup, recipients: &[&str], text: &str) -> Reply {
    let rcpts: Vec<String> = recipients.iter().map(|to| format!("<{to}> NOTIFY=SUCCESS,FAILURE")).collect();
    let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
    let (mut client, _) = Client::hello(a.mail).unwrap();
    let message = entity("alice@a.test", recipients[0], "asked@a.test", text);
    client.transaction("<alice@a.test> ENVID=envelope-7", &rcpts, &message).unwrap()
}

fn mail(arrivals: &[Arrival]) -> &Arrival {
    arrivals.first().expect("a mail")
}

#[test]
fn r4_2_1_relayed_to_mail() {
    let (world, sink) = (World::new(), mail_system(false, |_| None));
    let a = bridged(&world, &format!("smtp:{}", sink.address));
    let _a = a.start();
    assert_eq!(ask(&a, &["bob@b.test"], "Hello Bob.").code, 250);
    let text = report(&a, "relayed");
    check(&text, "Status", "2.0.0");
    check(&text, "Original-Envelope-Id", "envelope-7");
    let arrivals = sink.wait("the mail", |all| all.len() == 1);
    let mail = mail(&arrivals);
    // The mail system knows to whom it reports, and what about.
    assert!(mail.mail.starts_with("<bounce+") && mail.mail.contains("@im.a.test>"), "{}", mail.mail);
    assert!(mail.mail.contains("ENVID=envelope-7") && mail.mail.contains("RET=HDRS"), "{}", mail.mail);
    assert_eq!(mail.rcpts, ["<bob@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@b.test"]);
    assert!(mail.entity.contains("\r\n\r\nHello Bob."), "{}", mail.entity);
}

#[test]
fn r4_2_1_delivered_into_a_mail_store() {
    let (world, sink) = (World::new(), mail_system(true, |_| None));
    let a = bridged(&world, &format!("lmtp:{}", sink.address));
    let _a = a.start();
    assert_eq!(ask(&a, &["bob@b.test"], "Hello Bob.").code, 250);
    let text = report(&a, "delivered");
    check(&text, "Status", "2.1.5");
    check(&text, "Diagnostic-Code", "smtp; 250 2.0.0 stored");
    assert_eq!(reports(&a).len(), 1);
}

#[test]
fn r5_4_1_a_mail_store_that_answers_for_each_recipient() {
    let say = |text: &str| text.contains("END <carol@").then(|| "552 5.2.2 the mailbox is full".to_owned());
    let (world, sink) = (World::new(), mail_system(true, say));
    let a = bridged(&world, &format!("lmtp:{}", sink.address));
    let _a = a.start();
    assert_eq!(ask(&a, &["bob@b.test", "carol@b.test", "dave@b.test"], "Hello all.").code, 250);
    let failed = report(&a, "failed");
    check(&failed, "Final-Recipient", "rfc822; carol@b.test");
    check(&failed, "Status", "5.2.2");
    check(&failed, "Diagnostic-Code", "smtp; 552 5.2.2 the mailbox is full");
    let delivered = report(&a, "delivered");
    for name in ["bob", "dave"] {
        assert!(delivered.contains(&format!("Final-Recipient: rfc822; {name}@b.test")), "{delivered}");
    }
    assert!(!delivered.contains("carol@b.test\nAction"), "{delivered}");
}

#[test]
fn r5_4_1_refused_by_the_mail_system() {
    let say = |text: &str| text.starts_with("RCPT").then(|| "550 5.1.1 no such user".to_owned());
    let (world, sink) = (World::new(), mail_system(false, say));
    let a = bridged(&world, &format!("smtp:{}", sink.address));
    let _a = a.start();
    assert_eq!(ask(&a, &["bob@b.test"], "Hello Bob.").code, 250);
    let text = report(&a, "failed");
    check(&text, "Status", "5.1.1");
    check(&text, "Diagnostic-Code", "smtp; 550 5.1.1 no such user");
}

#[test]
fn r5_4_1_a_mail_system_that_is_down_gets_it_later() {
    let world = World::new();
    let address = free_address();
    let a = bridged(&world, &format!("smtp:{address}"));
    let _a = a.start();
    assert_eq!(ask(&a, &["bob@b.test"], "Hello Bob.").code, 250);
    wait::until("the attempt that failed", || a.log().contains("status=deferred").then_some(()));
    let sink = Sink::at(address, Manner { keywords: KEYWORDS.to_vec(), ..Manner::default() });
    sink.wait("the mail", |all| all.len() == 1);
    report(&a, "relayed");
    assert_eq!(sink.arrivals().len(), 1);
}

#[test]
fn r4_1_3_mail_programs_see_a_thread_and_answer_to_the_bridge() {
    let (world, sink) = (World::new(), mail_system(false, |_| None));
    let a = bridged(&world, &format!("smtp:{}", sink.address));
    let _a = a.start();
    for number in ["1", "2"] {
        let (mut client, _) = Client::hello(a.mail).unwrap();
        let message = entity("alice@a.test", "bob@b.test", &format!("{number}@a.test"), number);
        assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap().code, 250);
    }
    let arrivals = sink.wait("both mails", |all| all.len() == 2);
    let of = |name: &str| {
        let values: Vec<_> = arrivals.iter().map(|mail| mail.field(name).unwrap_or_default()).collect();
        assert_eq!(values[0], values[1], "{name}");
        values[0].clone()
    };
    assert!(of("References").starts_with("<impart.") && of("In-Reply-To") == of("References"));
    assert_eq!(of("Chat-Version"), "1.0");
    assert_eq!(of("Reply-To"), "<alice@im.a.test>");
    assert!(of("From").contains("alice@a.test") && !of("Subject").is_empty());
    let identifiers: Vec<_> = arrivals.iter().map(|mail| mail.field("Message-ID").unwrap()).collect();
    assert_ne!(identifiers[0], identifiers[1], "they stay those of the messages");
    assert!(arrivals.iter().all(|mail| field(&mail.entity, "Impart-Bridge").is_some()));
}

#[test]
fn r4_2_1_a_typing_notice_never_becomes_mail() {
    let (world, sink) = (World::new(), mail_system(false, |_| None));
    let a = bridged(&world, &format!("smtp:{}", sink.address));
    let _a = a.start();
    let typing = "Content-Type: application/im-iscomposing+xml\r\n";
    let (mut client, _) = Client::hello(a.mail).unwrap();
    let message = entity("alice@a.test", "bob@b.test", "typing@a.test", "<isComposing/>");
    let message = [typing.as_bytes(), &message].concat();
    assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test> NOTIFY=NEVER"], &message).unwrap().code, 250);
    wait::until("the typing notice is given up", || a.log().contains("dsn=5.6.1, status=bounced").then_some(()));
    let reply = submit(&a, ("alice@a.test", ""), ("bob@b.test", ""), "after@a.test");
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrivals = sink.wait("what is a message", |all| !all.is_empty());
    assert!(arrivals.iter().all(|mail| mail.entity.contains("after@a.test")), "{arrivals:?}");
}

/// `a.test`, whose people get mail into a mail store when they are out of contact for so long.
fn with_mailboxes(store: &Sink, after: &str) -> Home {
    let via = format!("lmtp:{}", store.address);
    Home::new(|setup| {
        setup.key("[[domain]]", &format!("fallback = {after:?}")).with(&format!("[bridge]\nstore = {via:?}\n"))
    })
}

fn to_alice(home: &Home, text: &str) {
    let message = entity("bob@a.test", "alice@a.test", &format!("{text}@a.test"), text);
    let reply = home.bob().transaction("<bob@a.test>", &["<alice@a.test> NOTIFY=SUCCESS,FAILURE"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn r2_3_7_out_of_contact_means_mail() {
    let store = mail_system(true, |_| None);
    let home = with_mailboxes(&store, "500ms");
    to_alice(&home, "one");
    let arrivals = store.wait("the mail", |all| all.len() == 1);
    let mail = mail(&arrivals);
    assert!(mail.mail.starts_with("<bounce+") && mail.rcpts[0].starts_with("<alice@a.test>"), "{mail:?}");
    assert!(mail.entity.contains("\r\n\r\none\r\n"), "{}", mail.entity);
    wait::until("her inbox is empty", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
    // It was told on acceptance, and is told once.
    assert_eq!(home.setup.wait_for("bob@a.test", 1).len(), 1);
    let mut phone = Device::attach(home.alice(), "ATRN INBOX=alice@a.test DEVICE=phone");
    to_alice(&home, "two");
    assert_eq!(phone.text().as_deref(), Some("two"), "what was mailed does not come to a device too");
    wait::until("more time than a mail needs", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(store.arrivals().len(), 1, "whoever is there gets no mail");
}

#[test]
fn r2_3_7_each_account_has_a_time_of_its_own() {
    let store = mail_system(true, |_| None);
    let home = with_mailboxes(&store, "2s");
    let say = |account: &str, after: &str| {
        let output = home.setup.ctl(&["account", "fallback", account, after]);
        assert!(output.status.success(), "{output:?}");
    };
    say("alice@a.test", "never");
    say("bob@a.test", "1s");
    to_alice(&home, "one");
    let message = entity("alice@a.test", "bob@a.test", "two@a.test", "two");
    let reply = home.alice().transaction("<alice@a.test>", &["<bob@a.test>"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrivals = store.wait("the mail for bob", |all| !all.is_empty());
    assert!(arrivals[0].rcpts[0].starts_with("<bob@a.test>"), "{arrivals:?}");
    // Longer than what is usual; hers waits for her.
    std::thread::sleep(Duration::from_secs(3));
    assert!(store.arrivals().iter().all(|mail| mail.rcpts[0].starts_with("<bob@a.test>")));
    let mut phone = Device::attach(home.alice(), "ATRN INBOX=alice@a.test DEVICE=phone");
    assert_eq!(phone.text().as_deref(), Some("one"));
    // As her domain has it again.
    say("alice@a.test", "domain");
    drop(phone);
    to_alice(&home, "three");
    store.wait("the mail for alice", |all| all.iter().any(|mail| mail.rcpts[0].starts_with("<alice@a.test>")));
}

#[test]
fn r5_4_2_what_the_mail_store_refuses_waits_for_the_client() {
    let store = mail_system(true, |text| text.contains("END").then(|| "552 5.2.2 the mailbox is full".to_owned()));
    let home = with_mailboxes(&store, "500ms");
    to_alice(&home, "one");
    let refused = || home.setup.log().contains("552 5.2.2 the mailbox is full").then_some(());
    wait::until("the mail store's refusal", refused);
    let mut phone = Device::attach(home.alice(), "ATRN INBOX=alice@a.test DEVICE=phone");
    assert_eq!(phone.text().as_deref(), Some("one"));
    wait::until("her inbox is empty", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
}

#[test]
fn r5_4_2_what_a_device_may_have_does_not_go_by_mail() {
    let store = mail_system(true, |_| None);
    let home = with_mailboxes(&store, "500ms");
    let mut phone = Device::attach(home.alice(), "ATRN INBOX=alice@a.test DEVICE=phone");
    to_alice(&home, "one");
    assert_eq!(phone.unanswered().unwrap().text(), "one");
    drop(phone);
    to_alice(&home, "two");
    let arrivals = store.wait("the second as mail", |all| !all.is_empty());
    assert!(arrivals.iter().all(|mail| mail.entity.contains("\r\n\r\ntwo\r\n")), "{arrivals:?}");
    let mut phone = Device::attach(home.alice(), "ATRN INBOX=alice@a.test DEVICE=phone");
    assert_eq!(phone.text().as_deref(), Some("one"));
}

#[test]
fn r2_3_7_many_short_messages_become_one_mail() {
    let store = mail_system(true, |_| None);
    let home = with_mailboxes(&store, "5s");
    for text in ["one", "two", "three"] {
        to_alice(&home, text);
    }
    let arrivals = store.wait("the mail", |all| !all.is_empty());
    let mail = mail(&arrivals);
    let places: Vec<_> =
        ["one", "two", "three"].map(|text| mail.entity.find(&format!("bob@a.test:\r\n{text}\r\n"))).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", mail.entity);
    let thread = mail.field("References").unwrap_or_default();
    assert!(
        thread.starts_with("<impart.") && thread.ends_with(" <one@a.test> <two@a.test> <three@a.test>"),
        "{thread}"
    );
    wait::until("her inbox is empty", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
    assert_eq!(store.arrivals().len(), 1);
}

#[test]
fn r5_4_2_after_a_crash_it_is_the_same_mail() {
    // The mail store has the mail, and the daemon is killed before it hears of that: it cannot know.
    let (asked, first) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(true));
    let seen = asked.clone();
    let store = mail_system(true, move |text| {
        if text.starts_with("END") && first.swap(false, SeqCst) {
            seen.store(true, SeqCst);
            std::thread::sleep(Duration::from_secs(2));
        }
        None
    });
    let mut home = with_mailboxes(&store, "500ms");
    to_alice(&home, "one");
    wait::until("the mail store has it", || asked.load(SeqCst).then_some(()));
    home.kill_and_start();
    let arrivals = store.wait("it comes again", |all| all.len() >= 2);
    let identifiers: Vec<_> = arrivals.iter().map(|mail| mail.field("Message-ID")).collect();
    assert!(identifiers[0].is_some() && identifiers[0] == identifiers[1], "a mail store sees that: {identifiers:?}");
    wait::until("her inbox is empty", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
    assert_eq!(store.arrivals().len(), 2);
}
