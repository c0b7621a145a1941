//! 2.4: direct and through intermediaries; what an administrator can shut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::common::client::Reply;
use crate::common::daemon::{Setup, free_address};
use crate::common::sink::{Manner, Sink, field};
use crate::world::{World, check, report, send};

#[test]
fn r2_4_1_directly_and_through_a_proxy() {
    let world = World::new();
    let (a, b, c) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"), world.domain("c.test", "carol"));
    let via = |port: u16, host: &str| format!("[[route]]\ndomains = [\"b.test\"]\nvia = [\"{host}:{port}\"]\n");
    let c = c.with(&via(b.relay.unwrap().port(), "mx.b.test"));
    let b = b.with("[[route]]\nupstream = [\"mx.c.test\"]\n");
    let (direct, _b, _c) = (a.start(), b.start(), c.start());
    send(&a, "bob@b.test", "direct@a.test");
    let message = b.wait_for("bob@b.test", 1).remove(0);
    assert_eq!(message.matches("Received: ").count(), 2, "{message}");
    assert!(direct.stop().success());

    let a = a.with(&via(c.relay.unwrap().port(), "mx.c.test"));
    let _a = a.start();
    send(&a, "bob@b.test", "proxied@a.test");
    let proxied = |text: &String| field(text, "Message-ID").as_deref() == Some("<proxied@a.test>");
    let message = b.wait_for("bob@b.test", 2).into_iter().find(proxied).unwrap();
    assert_eq!(message.matches("Received: ").count(), 3, "{message}");
    // The proxy saw who a.test is; b.test believes it.
    check(&message, "Authentication-Results", "mx.b.test; impp=pass policy.proof=upstream smtp.mailfrom=a.test");
    assert!(message.contains("Authentication-Results: mx.c.test;\n\timpp=pass"), "{message}");
}

#[test]
fn r2_4_3_nobody_relays_without_a_route() {
    let world = World::new();
    let (_a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let _b = b.start();
    let (mut client, _) = world.peer("a.test", &b);
    assert_eq!(client.say("MAIL FROM:<alice@a.test>").unwrap().code, 250);
    let reply = client.say("RCPT TO:<carol@c.test>").unwrap();
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.7.1 "), "{reply:?}");
}

fn refused(reply: Reply) {
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.3.3 "), "{reply:?}");
}

#[test]
fn r2_4_4_a_domain_refuses_a_class() {
    let world = World::new();
    let (_a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let b = b.with("[[domain]]\nname = \"quiet.test\"\ninboxes = [\"bob\"]\nim = false\n");
    let _b = b.start();
    let (mut client, hello) = world.peer("a.test", &b);
    assert!(hello.lines.iter().any(|line| line == "IMPP IM"), "{hello:?}");
    refused(client.say("MAIL FROM:<alice@a.test> IMPP=PRES").unwrap());
    assert_eq!(client.say("MAIL FROM:<alice@a.test> IMPP=IM").unwrap().code, 250);
    refused(client.say("RCPT TO:<bob@quiet.test>").unwrap());
    assert_eq!(client.say("RCPT TO:<bob@b.test>").unwrap().code, 250);
}

#[test]
fn r2_4_4_messages_and_presence_have_ports_of_their_own() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    // Behind the port of presence nobody answers, as behind a firewall.
    world.service("_pres._impp.b.test.", Some("mx.b.test"), free_address().port());
    let (_a, _b) = (a.start(), b.start());
    send(&a, "bob@b.test", "port@a.test");
    b.wait_for("bob@b.test", 1);
    assert!(a.log().contains(&format!("relay=mx.b.test[127.0.0.1]:{}, ", b.relay.unwrap().port())), "{}", a.log());
    // And the other way round: a domain of presence alone gets no messages.
    world.service("_pres._impp.c.test.", Some("mx.b.test"), b.relay.unwrap().port());
    send(&a, "carol@c.test", "none@a.test");
    check(&report(&a, "failed"), "Status", "5.1.2");
}

/// One connection through a SOCKS5 proxy (RFC 1928) that takes everybody to one place; where it was asked to go.
fn proxied(mut client: TcpStream, to: SocketAddr) -> std::io::Result<String> {
    let mut head = [0; 2];
    client.read_exact(&mut head)?;
    client.read_exact(&mut vec![0; head[1].into()])?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    assert_eq!(request[..4], [5, 1, 0, 3], "CONNECT to a name, which the proxy resolves");
    let mut name = vec![0; usize::from(request[4]) + 2];
    client.read_exact(&mut name)?;
    let port = name.split_off(name.len() - 2);
    let mut server = TcpStream::connect(to)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut back, mut forth) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
    std::thread::spawn(move || std::io::copy(&mut client, &mut server));
    Ok(format!("{}:{}", String::from_utf8_lossy(&name), u16::from_be_bytes([port[0], port[1]])))
}

#[test]
fn r2_4_4_outbound_through_a_proxy_of_the_firewall() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::with(Manner::default());
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (proxy, asked) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let (to, heard) = (sink.address, asked.clone());
    std::thread::spawn(move || {
        for client in socket.incoming().flatten() {
            heard.lock().unwrap().push(proxied(client, to).unwrap());
        }
    });
    let route = "[[route]]\ndomains = [\"b.test\"]\nvia = \"hop.b.test:2779\"\ntls = \"none\"\n";
    let setup = Setup::new(directory.path()).with(&format!("{route}socks5 = \"{proxy}\"\n"));
    let daemon = setup.start();
    send(&setup, "bob@b.test", "proxied@a.test");
    let arrivals = sink.wait("the message", |arrivals| !arrivals.is_empty());
    assert_eq!(arrivals[0].field("Message-ID").as_deref(), Some("<proxied@a.test>"));
    assert_eq!(*asked.lock().unwrap(), ["hop.b.test:2779"]);
    assert!(daemon.stop().success(), "{}", setup.log());
}
