//! Bad input from attached clients: whatever they do costs nobody a message, and others nothing at all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use crate::clients::Home;
use crate::common::client::{Client, Stream, entity};
use crate::common::device::Device;
use crate::common::wait::until;

fn send(home: &Home, text: &str) {
    let message = entity("bob@a.test", "alice@a.test", &format!("{text}@a.test"), text);
    let reply = home.bob().transaction("<bob@a.test>", &["<alice@a.test>"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn attached(home: &Home, count: u64) {
    until(&format!("{count} are attached"), || (home.setup.status("attached") == count).then_some(()));
}

/// Attached, and not yet greeted.
fn turned(home: &Home) -> BufReader<Box<dyn Stream>> {
    let mut client = home.alice();
    assert_eq!(client.say("ATRN").unwrap().code, 250);
    client.into_reader()
}

fn say(device: &mut BufReader<Box<dyn Stream>>, octets: &[u8]) {
    // The daemon may have closed already.
    let _ = device.get_mut().write_all(octets).and_then(|()| device.get_mut().flush());
}

#[test]
fn r5_4_1_garbage_from_an_attached_client_loses_nothing() {
    let home = Home::new(|setup| setup);
    send(&home, "precious");
    let long = "x".repeat(100_000);
    let manners: [&[u8]; 7] = [
        b"\0\xff\x17 not a reply at all\r\n",
        b"999 hello\r\n",
        b"220-never ends\r\n220-",
        b"554 no service\r\n",
        long.as_bytes(),
        b"EHLO laptop.home.test\r\nMAIL FROM:<alice@a.test>\r\n",
        b"220 one\r\n250 two\r\n250 three\r\n250 four\r\n250 five\r\n250 six\r\n250 seven\r\n",
    ];
    for manner in manners {
        let mut device = turned(&home);
        say(&mut device, manner);
        if manner.ends_with(b"220-") || manner.len() == long.len() {
            // Nothing more follows, and it goes.
            drop(device);
        } else {
            // Whatever the daemon still says, the connection ends.
            let mut rest = Vec::new();
            let _ = device.read_to_end(&mut rest);
        }
        attached(&home, 0);
        assert_eq!(home.setup.waiting("alice@a.test").len(), 1, "{}", String::from_utf8_lossy(&manner[..7]));
    }
    assert_eq!(Device::attach(home.alice(), "ATRN").text().as_deref(), Some("precious"));
}

#[test]
fn r5_4_1_answers_that_make_no_sense_lose_nothing() {
    let home = Home::new(|setup| setup);
    send(&home, "precious");
    for answer in ["354 go on", "nonsense", "250-and", "25", "421 4.3.2 I am tired"] {
        let mut device = Device::attach(home.alice(), "ATRN");
        let delivery = device.next_with(answer);
        assert_eq!(delivery.map(|it| it.text().to_owned()).as_deref(), Some("precious"), "{answer}");
        drop(device);
        attached(&home, 0);
        assert_eq!(home.setup.waiting("alice@a.test").len(), 1, "{answer}");
    }
    assert_eq!(Device::attach(home.alice(), "ATRN").text().as_deref(), Some("precious"));
    until("nothing is kept", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
}

#[test]
fn r5_4_1_what_was_said_before_the_turn_is_no_answer() {
    let home = Home::new(|setup| setup);
    send(&home, "precious");
    // A greeting, and a 250 for each step, in one write with ATRN: buffered input is discarded.
    let mut client = home.alice();
    let early = format!("ATRN\r\n220 early\r\n{}", "250 ok\r\n".repeat(20));
    client.send(early.as_bytes()).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let mut device = client.into_reader();
    say(&mut device, b"220 device\r\n");
    let mut line = String::new();
    device.read_line(&mut line).unwrap();
    assert!(line.starts_with("EHLO "), "{line}");
    drop(device);
    attached(&home, 0);
    assert_eq!(home.setup.waiting("alice@a.test").len(), 1);
}

#[test]
fn r5_4_1_a_silent_client_holds_up_nobody() {
    let home = Home::new(|setup| setup);
    let silent: Vec<_> = (0..20).map(|_| turned(&home)).collect();
    // One that greets and takes everything, but answers nothing.
    let mut deaf = Device::attach(home.alice(), "ATRN DEVICE=deaf");
    let listening = std::thread::spawn(move || {
        let delivery = deaf.unanswered();
        (deaf, delivery)
    });
    attached(&home, 21);
    let mut phone = Device::attach(home.alice(), "ATRN DEVICE=phone");
    for text in ["one", "two", "three"] {
        send(&home, text);
        assert_eq!(phone.text().as_deref(), Some(text));
    }
    drop(silent);
    let (_deaf, delivery) = listening.join().unwrap();
    assert_eq!(delivery.map(|it| it.text().to_owned()).as_deref(), Some("one"));
}

#[test]
fn r2_3_6_a_client_is_told_which_inbox_is_not_its_own() {
    let home = Home::new(|setup| setup);
    let alice = home.person("alice@a.test");
    let config = alice.home.join("config/impart/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}inboxes = [\"bob@a.test\"]\n")).unwrap();
    let output = alice.run(&["listen"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("bob@a.test is not an inbox that you may read"), "{said}");
}

#[test]
fn r2_3_7_two_clients_with_one_name_are_told() {
    let home = Home::new(|setup| setup);
    // The same name of a device at another host.
    let (desk, other) = (home.person("alice@a.test"), home.person_at("alice@a.test", "elsewhere"));
    let first = desk.listen();
    first.wait_for(&[("state", "connected")]);
    let second = other.listen();
    let lost = first.wait_for(&[("state", "lost")]);
    assert!(lost["text"].as_str().unwrap().contains("another program uses this device's name"), "{lost}");
    send(&home, "hello");
    until("one of them has it", || (first.texts().len() + second.texts().len() == 1).then_some(()));
}

#[test]
fn r5_4_2_who_attaches_while_the_daemon_stops_loses_nothing() {
    let mut home = Home::new(|setup| setup);
    send(&home, "precious");
    let mut clients: Vec<Client> = (0..8).map(|_| home.alice()).collect();
    // One that is in the middle of an entity is waited for.
    let mut busy = home.bob();
    for line in ["MAIL FROM:<bob@a.test>", "RCPT TO:<alice@a.test>"] {
        assert_eq!(busy.say(line).unwrap().code, 250);
    }
    busy.send(b"BDAT 1000 LAST\r\nFrom: ").unwrap();
    let daemon = home.daemon().take().unwrap();
    daemon.signal(rustix::process::Signal::TERM);
    for client in &mut clients {
        // Refused for now, or closed; before the signal was seen it may have been taken, and is closed then.
        if let Ok(reply) = client.say("ATRN") {
            assert!([250, 421, 450].contains(&reply.code), "{reply:?}");
        }
    }
    drop((clients, busy));
    assert!(daemon.end().success(), "{}", home.setup.log());
    *home.daemon() = Some(home.setup.start());
    assert_eq!(Device::attach(home.alice(), "ATRN").text().as_deref(), Some("precious"));
}

/// Accounts, and clients of each, that attach at once; more than an account may have.
const CROWD: (usize, usize) = (6, 36);

#[test]
fn r5_4_10_hundreds_attach_at_once() {
    let limits = format!("[limits]\nconnections_per_address = {}\n", 2 * CROWD.0 * CROWD.1);
    let home = Home::new(|setup| setup.with(&limits));
    let names: Vec<String> = (0..CROWD.0).map(|number| format!("member{number}@a.test")).collect();
    names.iter().for_each(|name| home.setup.account(name, "secret"));
    let log_in = |name: &str| (0..CROWD.1).map(|_| home.client_of(name)).collect::<Vec<_>>();
    let logged_in: Vec<Client> = std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| log_in(name))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let attach = |mut client: Client| {
        let reply = client.say("ATRN").unwrap();
        if reply.code == 250 {
            client.send(b"220 device\r\n").unwrap();
            return Ok(client);
        }
        assert_eq!(reply.code, 450, "{reply:?}");
        assert_eq!(client.say("NOOP").unwrap().code, 250, "it may still submit");
        Err(reply)
    };
    let all: Vec<Result<Client, _>> = std::thread::scope(|scope| {
        let threads: Vec<_> = logged_in.into_iter().map(|client| scope.spawn(|| attach(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let taken: Vec<Client> = all.into_iter().flatten().collect();
    println!("{} of {} attached", taken.len(), CROWD.0 * CROWD.1);
    assert!(taken.len() >= CROWD.0 * impart::limits::ATTACHED);
    attached(&home, taken.len() as u64);
    drop(taken);
    attached(&home, 0);
    // And it goes on as if nothing had been.
    send(&home, "hello");
    assert_eq!(Device::attach(home.alice(), "ATRN").text().as_deref(), Some("hello"));
}
