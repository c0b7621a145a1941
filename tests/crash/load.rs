//! Senders that offer their messages until each has been answered 250, over connections that may break at any time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::common::client::{Client, entity};
use crate::common::wait;

/// A message that was answered 250.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its Message-ID, without brackets; also its envelope identifier.
    pub id: String,
    /// Whether the next hop refuses its recipient.
    pub refused: bool,
    /// Whether a receipt for success was asked for.
    pub asked: bool,
}

/// Senders at work.
pub struct Load {
    senders: Vec<JoinHandle<Vec<Sent>>>,
    answered: Arc<AtomicU64>,
}

impl Load {
    /// Starts `senders` threads with `each` messages each; their ids start with `name`.
    pub fn start(server: SocketAddr, name: &str, senders: u64, each: u64) -> Load {
        Load::start_for(server, None, name, senders, each)
    }

    /// The same for one recipient.
    pub fn start_for(server: SocketAddr, to: Option<&'static str>, name: &str, senders: u64, each: u64) -> Load {
        let answered = Arc::new(AtomicU64::new(0));
        let start = |sender: u64| {
            let (name, answered) = (format!("{name}-{sender}"), answered.clone());
            std::thread::spawn(move || send(server, to, &name, each, &answered))
        };
        Load { senders: (0..senders).map(start).collect(), answered }
    }

    /// Messages that were answered 250 so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until all have been answered.
    pub fn finish(self) -> Vec<Sent> {
        self.senders.into_iter().flat_map(|sender| sender.join().expect("a sender does not fail")).collect()
    }
}

fn send(server: SocketAddr, to: Option<&'static str>, name: &str, each: u64, answered: &AtomicU64) -> Vec<Sent> {
    let mut client = None;
    let mut sent = Vec::new();
    for number in 0..each {
        let (refused, asked) = (to.is_none() && number % 7 == 3, to.is_none() && number % 2 == 0);
        let message = Sent { id: format!("{name}-{number}@c.test"), refused, asked };
        wait::until("a message is answered 250", || match offer(&mut client, server, to, &message) {
            Ok(250) => Some(()),
            Ok(code) if code >= 500 => panic!("{} was refused: {code}", message.id),
            Ok(_) => None,
            Err(_) => {
                client = None;
                None
            }
        });
        answered.fetch_add(1, Ordering::SeqCst);
        sent.push(message);
    }
    sent
}

fn offer(client: &mut Option<Client>, server: SocketAddr, to: Option<&str>, message: &Sent) -> std::io::Result<u16> {
    let connection = match client {
        Some(connection) => connection,
        None => client.insert(Client::hello(server)?.0),
    };
    let rcpt = to.unwrap_or(if message.refused { "nobody@b.test" } else { "r@b.test" });
    let notify = if message.asked { " NOTIFY=SUCCESS,FAILURE" } else { " NOTIFY=FAILURE" };
    let mail = format!("<s@c.test> ENVID={}", message.id.replace('@', "+40"));
    let text = format!("{}\r\n", "x".repeat(70)).repeat(12);
    let entity = entity("s@c.test", rcpt, &message.id, text.trim_end());
    Ok(connection.transaction(&mail, &[&format!("<{rcpt}>{notify}")], &entity)?.code)
}
