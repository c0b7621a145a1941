//! People's clients: logging in, submitting, asking for inboxes.

use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::common::client::{Client, entity};
use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::device::Device;
use crate::common::person::Person;
use crate::common::sink::field;
use crate::common::wait;
use crate::world::{World, check, is};

/// a.test with accounts for alice and bob, whose password is `secret`, and listeners for them.
pub struct Home {
    pub world: World,
    pub setup: Setup,
    client: SocketAddr,
    odmr: SocketAddr,
    daemon: Option<Daemon>,
}

impl Home {
    pub fn new(change: impl FnOnce(Setup) -> Setup) -> Home {
        let world = World::new();
        let (client, odmr) = (free_address(), free_address());
        let listeners = format!(
            "[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n\
             [[listen]]\nservice = \"odmr\"\naddress = \"{odmr}\"\n"
        );
        let setup = change(world.domain("a.test", "alice").with(&listeners));
        setup.write();
        setup.account("alice@a.test", "secret");
        setup.account("bob@a.test", "secret");
        let daemon = setup.start();
        Home { world, setup, client, odmr, daemon: Some(daemon) }
    }

    /// A connection of a client at `laptop.home.test`, in TLS.
    fn connect(&self) -> Client {
        let stream = self.world.anonymous(self.client, "a.test").expect("a connection");
        let mut client = Client::over(stream).expect("a greeting");
        let hello = client.say("EHLO laptop.home.test").expect("an answer");
        assert!(hello.lines.iter().any(|line| line.starts_with("AUTH ") && line.contains("PLAIN")), "{hello:?}");
        assert!(hello.lines.iter().any(|line| line == "ATRN"), "{hello:?}");
        client
    }

    pub fn alice(&self) -> Client {
        self.client_of("alice@a.test")
    }

    pub fn bob(&self) -> Client {
        self.client_of("bob@a.test")
    }

    pub fn client_of(&self, account: &str) -> Client {
        let mut client = self.connect();
        assert_eq!(client.say(&plain(account, "secret")).unwrap().code, 235);
        client
    }

    /// Alice, on the port for relay on demand.
    pub fn on_demand(&self) -> Client {
        let tcp = TcpStream::connect(self.odmr).unwrap();
        let mut client = Client::over(tcp.try_clone().unwrap()).unwrap();
        client.say("EHLO laptop.home.test").unwrap();
        assert_eq!(client.say("STARTTLS").unwrap().code, 220);
        let mut client = self.world.after_starttls(tcp, "a.test");
        client.say("EHLO laptop.home.test").unwrap();
        assert_eq!(client.say(&plain("alice@a.test", "secret")).unwrap().code, 235);
        client
    }

    /// Somebody with an account here and the command `impart`, logged in.
    pub fn person(&self, address: &str) -> Person {
        self.person_at(address, "home")
    }

    /// The same at another host.
    pub fn person_at(&self, address: &str, host: &str) -> Person {
        let authorities = self.world.home("a.test").with_file_name("ca.pem");
        let home = self.setup.directory.join(host).join(address);
        Person::new(address, &home, self.client, &authorities).log_in("secret")
    }

    /// Where clients come.
    pub fn client_port(&self) -> SocketAddr {
        self.client
    }

    /// The daemon.
    pub fn daemon(&mut self) -> &mut Option<Daemon> {
        &mut self.daemon
    }

    /// As in a power failure.
    pub fn kill_and_start(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.daemon = Some(self.setup.start());
    }
}

/// AUTH PLAIN.
fn plain(account: &str, password: &str) -> String {
    let digits: String = format!("\0{account}\0{password}").bytes().map(|octet| format!("{octet:08b}")).collect();
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let sextet = |bits: &[u8]| {
        let bits = format!("{:0<6}", String::from_utf8_lossy(bits));
        alphabet[usize::from_str_radix(&bits, 2).unwrap()]
    };
    let mut text: String = digits.as_bytes().chunks(6).map(sextet).collect();
    while text.len() % 4 != 0 {
        text.push('=');
    }
    format!("AUTH PLAIN {text}")
}

#[test]
fn base64_of_the_test() {
    assert_eq!(plain("tim", "tanstaaftanstaaf"), "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
}

fn expect(client: &mut Client, line: &str, expected: &str) {
    let reply = client.say(line).expect("a reply");
    let shown = format!("{} {}", reply.code, reply.lines.join("\n"));
    assert!(shown.starts_with(expected), "{line}: {shown}");
}

#[test]
fn r5_4_5_no_client_address_leaves_at_submission() {
    let home = Home::new(|setup| setup);
    let b = home.world.domain("b.test", "bob");
    let _b = b.start();
    let mut client = home.alice();
    let reply = client.transaction("<alice@a.test>", &["<bob@b.test>"], b"To: bob@b.test\r\n\r\nhello\r\n").unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let message = b.wait_for("bob@b.test", 1).remove(0);
    assert!(!message.contains("laptop") && !message.contains("127.0.0.1"), "{message}");
    let submitted = message.split("Received: ").nth(2).unwrap_or_default();
    assert!(submitted.starts_with("from localhost\n\tby mx.a.test with ESMTPSA id "), "{message}");
    check(&message, "From", "alice@a.test");
    for added in ["Date", "Message-ID"] {
        assert!(field(&message, added).is_some(), "{added} in {message}");
    }
}

#[test]
fn r4_1_2_nobody_sends_in_anothers_name() {
    let home = Home::new(|setup| setup);
    let mut client = home.alice();
    expect(
        &mut client,
        "MAIL FROM:<bob@a.test>",
        "550 5.7.1 bob@a.test is not an address of yours; send as alice@a.test",
    );
    expect(&mut client, "MAIL FROM:<carol@c.test>", "550 5.7.1");
    let forged = entity("bob@a.test", "bob@a.test", "1@a.test", "hello");
    let reply = client.transaction("<alice@a.test>", &["<bob@a.test>"], &forged).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..5]), (550, "5.7.1"));
    let reply = client.transaction("<>", &["<bob@a.test>"], &entity("alice@a.test", "bob@a.test", "2@a.test", "hi"));
    assert!(reply.unwrap().lines[0].contains("only reports have a null sender"));
    let read = "From: alice@a.test\r\nContent-Type: multipart/report; boundary=x;\r\n report-type=disposition-notification\
                \r\nMessage-ID: <3@a.test>\r\n\r\n--x\r\n\r\nread\r\n--x--\r\n";
    assert_eq!(client.transaction("<>", &["<bob@a.test>"], read.as_bytes()).unwrap().code, 250);
    let with_sender = |sender: &str| format!("From: alice@a.test\r\nSender: {sender}\r\n\r\nhello\r\n");
    for sender in ["bob@a.test", "carol@c.test", "nobody in particular", "alice@a.test, bob@a.test"] {
        let reply = client.transaction("<alice@a.test>", &["<bob@a.test>"], with_sender(sender).as_bytes()).unwrap();
        assert_eq!((reply.code, &reply.lines[0][..12]), (550, "5.7.1 Sender"), "{sender}: {reply:?}");
    }
    let reply = client.transaction("<alice@a.test>", &["<bob@a.test>"], with_sender("Alice <alice@a.test>").as_bytes());
    assert_eq!(reply.unwrap().code, 250);
    let own = entity("ALICE@a.test", "bob@a.test", "4@a.test", "hello");
    assert_eq!(client.transaction("<alice@a.test> AUTH=<>", &["<bob@a.test>"], &own).unwrap().code, 250);
    home.setup.wait_for("bob@a.test", 3);
}

#[test]
fn r4_1_2_hidden_recipients_are_nobodys_business() {
    let home = Home::new(|setup| setup);
    let hidden = b"From: alice@a.test\r\nBcc: Bob <bob@a.test>,\r\n carol@c.test\r\nTo: alice@a.test\r\n\r\nhello\r\n";
    let mut client = home.alice();
    let rcpts = ["<bob@a.test>", "<alice@a.test>"];
    assert_eq!(client.transaction("<alice@a.test>", &rcpts, hidden).unwrap().code, 250);
    let (mut mail, _) = Client::hello(home.setup.mail).unwrap();
    assert_eq!(mail.transaction("<alice@a.test>", &rcpts, hidden).unwrap().code, 250);
    for inbox in ["bob@a.test", "alice@a.test"] {
        for message in home.setup.wait_for(inbox, 2) {
            check(&message, "To", "alice@a.test");
            // By the field, not by three letters: what a server numbers its messages with may have them too.
            assert!(field(&message, "Bcc").is_none() && !message.contains("carol"), "{message}");
            assert!(!message.contains("bob@a.test"), "{message}");
        }
    }
}

#[test]
fn r4_1_2_nothing_without_a_password() {
    let home = Home::new(|setup| setup);
    let mut clients: Vec<Client> = (0..10).map(|_| home.connect()).collect();
    for client in &mut clients {
        expect(client, "MAIL FROM:<alice@a.test>", "530 5.7.0");
        expect(client, "ATRN", "530 5.7.0");
    }
    drop(clients);
    let mut client = home.connect();
    expect(&mut client, "AUTH LOGIN", "504 5.5.4");
    expect(&mut client, &plain("alice@a.test", "guess"), "535 5.7.8");
    expect(&mut client, &plain("nobody@a.test", "secret"), "535 5.7.8");
    expect(&mut client, "MAIL FROM:<alice@a.test>", "530 5.7.0");
    expect(&mut client, &plain("bob@a.test", "alice"), "421 4.7.0");
    assert!(client.say("NOOP").is_err(), "the connection is closed");
}

/// What the server says of an account before anything is proven: the salt and the iterations of SCRAM (RFC 5802 §5.1).
fn salt_of(home: &Home, account: &str) -> String {
    let mut client = home.connect();
    let first = BASE64.encode(format!("n,,n={account},r=abcdef"));
    let reply = client.say(&format!("AUTH SCRAM-SHA-256 {first}")).unwrap();
    assert_eq!(reply.code, 334, "{reply:?}");
    let said = String::from_utf8(BASE64.decode(&reply.lines[0]).unwrap()).unwrap();
    said.split_once(",s=").expect("a salt").1.to_owned()
}

#[test]
fn r4_1_2_nobody_learns_which_accounts_there_are() {
    let mut home = Home::new(|setup| setup);
    let before = ["alice@a.test", "nobody@a.test", "noone@a.test"].map(|account| salt_of(&home, account));
    assert_eq!(salt_of(&home, "nobody@a.test"), before[1], "asked twice");
    assert!(before[0] != before[1] && before[1] != before[2], "{before:?}");
    assert_eq!(before[0].len(), before[1].len(), "{before:?}");
    // Nor does a restart tell: a salt that changes belongs to nobody.
    home.kill_and_start();
    assert_eq!(["alice@a.test", "nobody@a.test", "noone@a.test"].map(|account| salt_of(&home, account)), before);
}

#[test]
fn r2_3_6_a_stranger_does_not_read_an_inbox() {
    let home = Home::new(|setup| setup);
    let mut client = home.alice();
    expect(&mut client, "ATRN INBOX=bob@a.test", "550 5.7.1 bob@a.test is not an inbox that you may read");
    expect(&mut client, "ATRN INBOX=alice@a.test,nobody@a.test", "550 5.7.1 nobody@a.test is not");
    expect(&mut client, "ATRN INBOX=alice@a.test DEVICE=a/b", "501 5.1.3");
    expect(&mut client, "NOOP", "250");
}

#[test]
fn r2_3_6_relay_on_demand_is_for_those_who_log_in() {
    let home = Home::new(|setup| setup);
    let tcp = TcpStream::connect(home.odmr).unwrap();
    let mut client = Client::over(tcp.try_clone().unwrap()).unwrap();
    let hello = client.say("EHLO laptop.home.test").unwrap();
    for (keyword, shown) in [("STARTTLS", true), ("ATRN", true), ("AUTH", false)] {
        assert_eq!(hello.lines.iter().any(|line| line.starts_with(keyword)), shown, "{keyword} in {hello:?}");
    }
    expect(&mut client, "ATRN a.test", "530 5.7.0");
    expect(&mut client, &plain("alice@a.test", "secret"), "502 5.5.1");
    expect(&mut client, "MAIL FROM:<alice@a.test>", "502 5.5.1");
    expect(&mut client, "STARTTLS", "220 2.0.0");
    let mut client = home.world.after_starttls(tcp, "a.test");
    let hello = client.say("EHLO laptop.home.test").unwrap();
    assert!(hello.lines.iter().any(|line| line.starts_with("AUTH ")), "{hello:?}");
    expect(&mut client, &plain("alice@a.test", "secret"), "235 2.7.0");
    expect(&mut client, "ATRN b.test", "450 4.7.1");
    expect(&mut client, "ATRN a.test", "453 4.2.0 you have no mail");
    expect(&mut client, "QUIT", "221");
}

#[test]
fn r4_2_1_a_group_is_expanded() {
    let home = Home::new(|setup| setup.key("name = \"a.test\"", "aliases = { team = [\"alice\", \"bob\"] }"));
    let mut client = home.alice();
    let team = entity("alice@a.test", "team@a.test", "1@a.test", "hello");
    let rcpts = ["<team@a.test> NOTIFY=SUCCESS,FAILURE", "<bob@a.test>"];
    assert_eq!(client.transaction("<alice@a.test> ENVID=QQ1", &rcpts, &team).unwrap().code, 250);
    assert_eq!(home.setup.wait_for("bob@a.test", 1).len(), 1, "he gets it once");
    let both = home.setup.wait_for("alice@a.test", 2);
    let report = both.iter().find(|text| is(text, "Action", "expanded")).expect("a receipt");
    check(report, "Final-Recipient", "rfc822; team@a.test");
    check(report, "Original-Envelope-Id", "QQ1");
}

#[test]
fn r5_4_10_what_is_too_much() {
    let home = Home::new(|setup| setup.with("[limits]\nmessages_per_minute = 2\ninbox_messages = 2\n"));
    let mut client = home.alice();
    let send = |client: &mut Client, to: &str, number: usize| {
        let entity = entity("alice@a.test", to, &format!("{number}@a.test"), "hello");
        client.transaction("<alice@a.test>", &[&format!("<{to}>")], &entity).unwrap()
    };
    assert_eq!(send(&mut client, "bob@a.test", 1).code, 250);
    assert_eq!(send(&mut client, "bob@a.test", 2).code, 250);
    let refusal = send(&mut client, "bob@a.test", 3);
    assert_eq!((refusal.code, refusal.lines[0].starts_with("4.7.1 too many messages")), (450, true), "{refusal:?}");
}

#[test]
fn r5_4_10_a_full_inbox_says_so_until_its_owner_has_fetched_something() {
    let home = Home::new(|setup| setup.with("[limits]\ninbox_messages = 2\n"));
    let (mut alice, mut bob) = (home.alice(), home.bob());
    let mut send = |number: usize| {
        let entity = entity("alice@a.test", "bob@a.test", &format!("{number}@a.test"), "hello");
        alice.transaction("<alice@a.test>", &["<bob@a.test>"], &entity).unwrap()
    };
    assert_eq!([send(1).code, send(2).code], [250, 250]);
    let full = send(3);
    assert!(full.code == 452 && full.lines[0].starts_with("4.2.2 the inbox is full"), "{full:?}");
    expect(&mut bob, "NOOP", "250");
    let mut device = Device::attach(bob, "ATRN INBOX=bob@a.test DEVICE=phone");
    assert_eq!(device.text().as_deref(), Some("hello"));
    let room = || (send(4).code == 250).then_some(());
    wait::until("there is room again", room);
}
