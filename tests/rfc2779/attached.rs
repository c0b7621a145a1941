//! Attached clients: what waits, what comes, a list for each device, also when the daemon is killed.

use crate::clients::Home;
use crate::common::client::entity;
use crate::common::device::Device;
use crate::common::wait::until;
use crate::world::{check, is};

fn send(home: &Home, text: &str) {
    let mut bob = home.bob();
    let message = entity("bob@a.test", "alice@a.test", &format!("{text}@a.test"), text);
    let reply = bob.transaction("<bob@a.test>", &["<alice@a.test>"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn attach(home: &Home, device: &str) -> Device {
    let line = if device.is_empty() { "ATRN".to_owned() } else { format!("ATRN INBOX=alice@a.test DEVICE={device}") };
    Device::attach(home.alice(), &line)
}

fn attached(home: &Home, count: u64) {
    until("the clients are attached", || (home.setup.status("attached") == count).then_some(()));
}

#[test]
fn r2_3_7_an_attached_inbox_gets_messages_at_once() {
    let home = Home::new(|setup| setup);
    send(&home, "before");
    let mut phone = attach(&home, "phone");
    assert_eq!(phone.text().as_deref(), Some("before"));
    send(&home, "after");
    let delivery = phone.next_with("250 ok").unwrap();
    assert_eq!(delivery.text(), "after");
    assert!(delivery.mail.starts_with("MAIL FROM:<bob@a.test>"), "{}", delivery.mail);
    assert!(delivery.rcpt.starts_with("RCPT TO:<alice@a.test>"), "{}", delivery.rcpt);
    until("nothing is kept", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
}

#[test]
fn r2_3_7_every_device_gets_every_message_also_when_the_daemon_is_killed() {
    let mut home = Home::new(|setup| setup);
    let (mut phone, desk) = (attach(&home, "phone"), attach(&home, "desk"));
    attached(&home, 2);
    until("both are known", || (home.setup.status("devices") == 2).then_some(()));
    drop(desk);
    for text in ["one", "two", "three"] {
        send(&home, text);
    }
    assert_eq!((phone.text().as_deref(), phone.text().as_deref()), (Some("one"), Some("two")));
    assert_eq!(phone.unanswered().unwrap().text(), "three", "and the daemon is killed before the answer");
    until("what was answered is written", || (home.setup.status("owed") == 2).then_some(()));
    home.kill_and_start();
    let mut phone = attach(&home, "phone");
    assert_eq!(phone.text().as_deref(), Some("three"), "what it has answered does not come again");
    let mut desk = attach(&home, "desk");
    let texts: Vec<_> = (0..3).map(|_| desk.text().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    until("nothing is kept", || (home.setup.status("owed") == 0).then_some(()));
    send(&home, "four");
    assert_eq!((phone.text().as_deref(), desk.text().as_deref()), (Some("four"), Some("four")));
}

#[test]
fn r4_2_1_what_the_only_device_refuses_has_failed() {
    let home = Home::new(|setup| setup);
    let mut phone = attach(&home, "phone");
    send(&home, "nothing for it");
    phone.next_with("554 5.6.0 I cannot show this").unwrap();
    let receipt = home.setup.wait_for("bob@a.test", 1).remove(0);
    assert!(is(&receipt, "Action", "failed"), "{receipt}");
    check(&receipt, "Status", "5.6.0");
    assert!(!receipt.contains("phone") && !receipt.contains("127.0.0.1"), "nothing of her device: {receipt}");
}

#[test]
fn r2_3_7_an_older_connection_of_the_same_device_ends() {
    let home = Home::new(|setup| setup);
    let mut old = attach(&home, "phone");
    attached(&home, 1);
    let mut new = attach(&home, "phone");
    // It answers EHLO only when it reads.
    let new = std::thread::spawn(move || new.text());
    assert_eq!(old.unanswered(), None, "QUIT");
    send(&home, "hello");
    assert_eq!(new.join().unwrap().as_deref(), Some("hello"));
}

#[test]
fn r2_3_5_another_password_and_a_removed_account_end_what_is_attached() {
    // The inbox stands in the configuration too, and outlives the account.
    let home = Home::new(|setup| setup);
    let mut phone = attach(&home, "phone");
    attached(&home, 1);
    home.setup.with_password(&["account", "passwd", "alice@a.test"], "another");
    assert_eq!(phone.unanswered(), None, "QUIT");
    attached(&home, 0);
    home.setup.with_password(&["account", "passwd", "alice@a.test"], "secret");
    let mut phone = attach(&home, "phone");
    attached(&home, 1);
    let output = home.setup.ctl(&["account", "remove", "alice@a.test"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(phone.unanswered(), None, "QUIT");
    send(&home, "it is kept for whoever gets the account");
    assert_eq!(home.setup.wait_for("alice@a.test", 1).len(), 1);
}

#[test]
fn r5_4_10_clients_of_an_account_are_counted() {
    let home = Home::new(|setup| setup.with("[limits]\nattached = 1\n"));
    let _phone = attach(&home, "phone");
    let mut desk = home.alice();
    let reply = desk.say("ATRN INBOX=alice@a.test DEVICE=desk").unwrap();
    assert!(reply.code == 450 && reply.lines[0].starts_with("4.3.2 "), "{reply:?}");
}

#[test]
fn r2_3_7_a_stop_waits_for_what_a_device_is_reading() {
    let mut home = Home::new(|setup| setup);
    let mut phone = attach(&home, "phone");
    send(&home, "slowly");
    assert_eq!(phone.unanswered().unwrap().text(), "slowly");
    let daemon = home.daemon().take().unwrap();
    daemon.signal(rustix::process::Signal::TERM);
    std::thread::sleep(std::time::Duration::from_secs(6));
    phone.say("250 2.0.0 shown");
    assert!(daemon.end().success(), "it ends in order");
    *home.daemon() = Some(home.setup.start());
    assert_eq!(home.setup.waiting("alice@a.test"), [] as [String; 0], "its answer was taken");
}

#[test]
fn r2_3_6_relay_on_demand_hands_over_what_waits() {
    let home = Home::new(|setup| setup);
    send(&home, "one");
    send(&home, "two");
    let mut device = Device::attach(home.on_demand(), "ATRN a.test");
    assert_eq!((device.text().as_deref(), device.text().as_deref()), (Some("one"), Some("two")));
    assert_eq!(device.text(), None, "QUIT when nothing waits");
    let mut again = home.on_demand();
    assert_eq!(again.say("ATRN").unwrap().code, 453);
}
