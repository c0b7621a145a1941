//! 5.4.2: a message comes once, whatever happens on its way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::client::{Client, entity};
use crate::common::sink::field;
use crate::common::wait;
use crate::world::{World, send, submit};

#[test]
fn r5_4_2_submitted_twice() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    send(&a, "bob@b.test", "twice@a.test");
    send(&a, "bob@b.test", "twice@a.test");
    assert_eq!(a.status("duplicates"), 1);
    // One sender's messages for one recipient stay in order: nothing can come after the last.
    send(&a, "bob@b.test", "last@a.test");
    assert_eq!(ids(&b, 2), ["<twice@a.test>", "<last@a.test>"]);
}

fn ids(at: &crate::common::daemon::Setup, count: usize) -> Vec<String> {
    at.wait_for("bob@b.test", count).iter().map(|text| field(text, "Message-ID").unwrap_or_default()).collect()
}

#[test]
fn r5_4_2_the_acknowledgement_is_lost() {
    let world = World::new();
    let (_a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let _b = b.start();
    let message = entity("alice@a.test", "bob@b.test", "lost@a.test", "once");
    // The sender goes away without having read the answer.
    let (mut client, _) = world.peer("a.test", &b);
    for line in ["MAIL FROM:<alice@a.test>", "RCPT TO:<bob@b.test>"] {
        assert_eq!(client.say(line).unwrap().code, 250);
    }
    client.send(format!("BDAT {} LAST\r\n", message.len()).as_bytes()).unwrap();
    client.send(&message).unwrap();
    drop(client);
    b.wait_for("bob@b.test", 1);
    let (mut client, _) = world.peer("a.test", &b);
    assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap().code, 250);
    assert_eq!(b.status("duplicates"), 1);
    assert_eq!(ids(&b, 1), ["<lost@a.test>"]);
}

#[test]
fn r5_4_2_killed_between() {
    let world = World::new();
    let (_a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let daemon = b.start();
    let message = entity("alice@a.test", "bob@b.test", "killed@a.test", "once");
    let (mut client, _) = world.peer("a.test", &b);
    assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap().code, 250);
    daemon.kill();
    let _daemon = b.start();
    let (mut client, _) = world.peer("a.test", &b);
    assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap().code, 250);
    assert_eq!(b.status("duplicates"), 1);
    assert_eq!(ids(&b, 1), ["<killed@a.test>"]);
}

#[test]
fn r5_4_2_the_relay_loses_the_acknowledgement() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (way, cuts) = cutter(b.mail, 2);
    let a = a.route(&["b.test"], way);
    let (_a, _b) = (a.start(), b.start());
    send(&a, "bob@b.test", "cut@a.test");
    wait::until("a.test has its answer", || (a.status("messages") == 0).then_some(()));
    assert_eq!((cuts.load(Ordering::SeqCst), b.status("duplicates")), (2, 2));
    assert_eq!(ids(&b, 1), ["<cut@a.test>"]);
}

#[test]
fn r5_4_2_the_relay_is_killed_before_the_acknowledgement() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (way, cuts) = cutter(b.mail, 1);
    // After the cut it would wait for hours; so what comes next comes from the restart.
    let a = a.route(&["b.test"], way);
    let slow = crate::common::daemon::Setup { sections: a.sections.replace("\"50ms\"", "\"2h\""), ..a.clone() };
    let _b = b.start();
    let daemon = slow.start();
    let reply = submit(&slow, ("alice@a.test", ""), ("bob@b.test", " NOTIFY=SUCCESS"), "cut@a.test");
    assert_eq!(reply.code, 250, "{reply:?}");
    wait::until("the answer is lost", || (cuts.load(Ordering::SeqCst) == 1).then_some(()));
    daemon.kill();
    let _a = a.start();
    wait::until("b.test was offered it again", || (b.status("duplicates") == 1).then_some(()));
    assert_eq!(ids(&b, 1), ["<cut@a.test>"]);
    // The receipt is not doubled either.
    assert_eq!(a.wait_for("alice@a.test", 1).len(), 1);
}

/// A way to a server on which the first `losses` acknowledgements of entities are lost, with the connection. Tells how
/// many were.
fn cutter(server: SocketAddr, losses: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, cuts) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = cuts.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { continue };
            std::thread::spawn(move || {
                // However it ends, the other side learns that it has.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let counter = counter.clone();
            std::thread::spawn(move || answers(server, client, &counter, losses));
        }
    });
    (address, cuts)
}

fn answers(mut server: TcpStream, mut client: TcpStream, cuts: &AtomicUsize, losses: usize) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let answer = String::from_utf8_lossy(&buffer[..count]);
        if answer.contains("accepted as") && cuts.load(Ordering::SeqCst) < losses {
            for stream in [&client, &server] {
                let _ = stream.shutdown(Shutdown::Both);
            }
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if client.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn r5_4_2_another_text_is_another_message() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let _a = a.start();
    let (mut client, _) = Client::hello(a.mail).unwrap();
    for text in ["one", "two"] {
        let message = entity("alice@a.test", "alice@a.test", "same@a.test", text);
        assert_eq!(client.transaction("<alice@a.test>", &["<alice@a.test>"], &message).unwrap().code, 250);
    }
    assert_eq!((a.status("duplicates"), a.waiting("alice@a.test").len()), (0, 2));
}
