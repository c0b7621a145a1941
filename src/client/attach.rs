//! The device's side of a reversed connection: the server delivers, the history takes.
//!
//! In: a stream that was turned round, a history. Out: [`Incoming`], one for each thing that is new. Invariants: a `250`
//! goes out after the history has the message on stable storage; what the history has already is `250` and not told
//! again; a link on which nothing comes for longer than the server promised is dead.
//! RFC 2645 §5.3, RFC 5321 §4.2.5, RFC 3461 §4.4.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::account::Account;
use super::history::{History, HistoryError, Record, State};
use super::keys::KeyError;
use super::listener::{Incoming, Link};
use super::presence;
use super::protector::{Arrival, Opened, Protector, Unsealed};
use super::read::{self, Content};
use super::submit::now;
use crate::address::{ForwardPath, Mailbox, ReversePath};
use crate::dns;
use crate::envelope::Class;
use crate::mime::report::Report;
use crate::net::Stream;
use crate::reply::{EnhancedCode, Reply};
use crate::smime::trust::Published;
use crate::smtp::command::Rcpt;
use crate::smtp::extension::Services;
use crate::smtp::server::{self, Event, Service, Session, Ticket};
use crate::timestamp::Timestamp;

/// What is read at once.
const READ: usize = 16 * 1024;
/// The largest entity that this device takes.
const SIZE: u64 = crate::limits::ENTITY_OCTETS;
/// Beyond the promised sign of life: a link without it is dead.
const GRACE: Duration = Duration::from_secs(20);
/// How long a write may take.
const WRITE: Duration = Duration::from_secs(60);
/// How long authors' domains may take to say what they publish of their signers.
pub(super) const SIGNERS: Duration = Duration::from_secs(5);
/// Entities that are stored in one commit.
const BATCH: usize = 64;

/// What was taken, and is to be answered.
struct Taken {
    ticket: Ticket,
    class: Class,
    sender: ReversePath,
    /// By which addresses it came here.
    recipients: Vec<Mailbox>,
    entity: Bytes,
}

/// What was taken, with what is known of who signed it.
struct Asked {
    taken: Taken,
    unsealed: Result<Option<Unsealed>, KeyError>,
    /// What the author's domain publishes.
    published: Option<Published>,
}

/// What this device takes.
pub(super) fn options(account: &Account, services: Services) -> server::Options {
    server::Options {
        greeting_name: account.address.domain().clone(),
        service: Service::Device,
        starttls: false,
        impp: services,
        impp_noop: Some(account.noop),
        require_tls: true,
        size: SIZE,
        recipients: crate::limits::RECIPIENTS,
        in_flight: BATCH,
        deliver_by_min: Duration::ZERO,
        postmaster: None,
    }
}

/// Serves until the connection ends; says why.
pub(super) async fn serve(
    mut stream: Stream,
    services: Services,
    shared: &Shared,
    news: &mpsc::Sender<Incoming>,
) -> String {
    let account = &shared.account;
    let mut session = Session::new(Arc::new(options(account, services)), true);
    let silence = Duration::from_secs(u64::from(account.noop)) + GRACE;
    let mut input = BytesMut::new();
    let mut closing = false;
    let mut told = Vec::new();
    loop {
        let mut taken = Vec::new();
        closing |= events(&mut session, &mut taken);
        if !taken.is_empty() {
            for (ticket, reply, incoming) in store(shared, taken).await {
                session.complete(ticket, reply);
                told.extend(incoming);
            }
            continue;
        }
        let output = session.output().split();
        let written = match output.is_empty() {
            true => Ok(()),
            false => write(&mut stream, &output).await,
        };
        // The server hears of it first: whoever is told may end this process.
        for one in told.drain(..) {
            if news.send(one).await.is_err() {
                return "nobody listens any more".to_owned();
            }
        }
        match written {
            Ok(()) if output.is_empty() => {}
            Ok(()) => continue,
            Err(reason) => return reason,
        }
        if closing {
            let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
            return "the server ended the session; if that goes on, another program uses this device's name".to_owned();
        }
        input.reserve(READ);
        match timeout(silence, stream.read_buf(&mut input)).await {
            Ok(Ok(0)) => return "the server closed the connection".to_owned(),
            Ok(Ok(_)) => session.input(&mut input),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no sign of life from the server in {} s", silence.as_secs()),
        }
    }
}

async fn write(stream: &mut Stream, output: &[u8]) -> Result<(), String> {
    let writing = async {
        stream.write_all(output).await?;
        stream.flush().await
    };
    match timeout(WRITE, writing).await {
        Ok(result) => result.map_err(|error: std::io::Error| error.to_string()),
        Err(_) => Err("the server takes nothing any more".to_owned()),
    }
}

/// Answers what needs no thought; true when the session is over.
fn events(session: &mut Session, taken: &mut Vec<Taken>) -> bool {
    let ok = |detail, text: &'static str| Reply::new(250, EnhancedCode::new(2, 1, detail), text);
    while taken.len() < BATCH {
        let Some(event) = session.poll() else { return false };
        match event {
            Event::Mail(_) => session.answer(ok(0, "sender accepted")),
            Event::Rcpt(_) => session.answer(ok(5, "recipient accepted")),
            Event::Entity(transaction) => taken.push(Taken {
                ticket: transaction.ticket,
                class: transaction.mail.class.unwrap_or(Class::Im),
                sender: transaction.mail.sender,
                recipients: transaction.rcpts.iter().flat_map(addresses).collect(),
                entity: transaction.entity,
            }),
            Event::Close | Event::Turn => return true,
            _ => {}
        }
    }
    false
}

/// The recipient, and the name by which its sender knows it.
fn addresses(rcpt: &Rcpt) -> Vec<Mailbox> {
    let own = match &rcpt.path {
        ForwardPath::Mailbox(mailbox) => Some(mailbox.clone()),
        ForwardPath::Postmaster => None,
    };
    let original = rcpt.original.as_ref().and_then(|original| Mailbox::parse(&original.address).ok());
    own.into_iter().chain(original).collect()
}

/// The reply to each, and what is new; in one commit, off the threads that wait for sockets.
async fn store(shared: &Shared, taken: Vec<Taken>) -> Vec<(Ticket, Reply, Vec<Incoming>)> {
    let (history, protector) = (Arc::clone(&shared.history), Arc::clone(&shared.protector));
    let tickets: Vec<Ticket> = taken.iter().map(|one| one.ticket).collect();
    let asked = ask(shared, taken).await;
    let work = tokio::task::spawn_blocking(move || match history.lock() {
        Ok(mut history) => keep(&mut history, &protector, asked, now()),
        Err(_) => Vec::new(),
    });
    let mut done = work.await.unwrap_or_default();
    // A fault of ours: the server keeps what it has.
    for ticket in tickets {
        if !done.iter().any(|(known, ..)| *known == ticket) {
            done.push((ticket, trouble("the client failed"), Vec::new()));
        }
    }
    done
}

/// Takes the layers off, and asks the authors' domains, all at one time, what they publish of their signers.
async fn ask(shared: &Shared, taken: Vec<Taken>) -> Vec<Asked> {
    let protector = Arc::clone(&shared.protector);
    let sealed = taken.iter().map(|one| (one.class == Class::Im).then(|| one.entity.clone())).collect();
    let unsealed = unseal(sealed, move |entity| protector.unseal(entity)).await;
    let asked = taken.into_iter().zip(unsealed).map(|(taken, unsealed)| Asked { taken, unsealed, published: None });
    let mut asked: Vec<Asked> = asked.collect();
    let mut questions = JoinSet::new();
    for (at, one) in asked.iter().enumerate() {
        let author = one.unsealed.as_ref().ok().and_then(Option::as_ref).and_then(Unsealed::author);
        if let Some((author, resolver)) = author.zip(shared.resolver.clone()) {
            questions.spawn(async move { (at, dns::published(&*resolver, &author, SIGNERS).await) });
        }
    }
    while let Some(answer) = questions.join_next().await {
        if let Ok((at, published)) = answer {
            asked[at].published = published;
        }
    }
    asked
}

/// Takes the layers off, each on its own: at which one there is a fault of ours, that one is shown as it is, unverified, for
/// otherwise the server would offer all of them again for ever.
async fn unseal<F>(entities: Vec<Option<Bytes>>, open: F) -> Vec<Result<Option<Unsealed>, KeyError>>
where
    F: Fn(&[u8]) -> Result<Option<Unsealed>, KeyError> + Send + Sync + 'static,
{
    let open = Arc::new(open);
    let begin = |entity: Bytes| {
        let open = Arc::clone(&open);
        tokio::task::spawn_blocking(move || open(&entity))
    };
    let begun: Vec<_> = entities.into_iter().map(|entity| entity.map(begin)).collect();
    let mut unsealed = Vec::with_capacity(begun.len());
    for work in begun {
        unsealed.push(match work {
            Some(work) => work.await.unwrap_or(Ok(None)),
            None => Ok(None),
        });
    }
    unsealed
}

fn trouble(text: &str) -> Reply {
    Reply::new(452, EnhancedCode::new(4, 3, 1), text.to_owned())
}

/// What an entity adds to the history, and what is said of it if that is new.
struct Reading {
    records: Vec<Record>,
    /// What is told without being kept.
    passing: Option<Incoming>,
}

fn keep(
    history: &mut History,
    protector: &Protector,
    asked: Vec<Asked>,
    at: Timestamp,
) -> Vec<(Ticket, Reply, Vec<Incoming>)> {
    // Receipts may be about what another process has sent meanwhile; if it cannot be read, they are about nothing.
    let _ = history.refresh();
    let mut done = Vec::new();
    let mut records = Vec::new();
    let mut whole = Vec::new();
    for Asked { taken: Taken { ticket, class, sender, recipients, entity }, unsealed, published } in asked {
        if class == Class::Pres {
            // The server tells it again to whoever attaches: it is not kept.
            // Certificates are told to whoever has asked for them.
            let open = |entity: &[u8], lasting| protector.open_presence(entity, lasting, at);
            let told = presence::read::read(&entity, at, &open).map(|told| told.news);
            let passing =
                told.filter(|news| !matches!(news, presence::News::Certificate { .. })).map(Incoming::Presence);
            whole.push((ticket, Vec::from_iter(passing)));
            continue;
        }
        let troubled = |error: &dyn std::fmt::Display| Incoming::State(Link::Trouble(error.to_string()));
        let arrival = Arrival { sender: &sender, recipients: &recipients, now: at };
        let opened = match unsealed {
            Ok(unsealed) => protector.open(&entity, unsealed, published.as_ref(), &arrival),
            // It can be read when they can.
            Err(error) => {
                done.push((ticket, trouble("the keys cannot be read"), vec![troubled(&error)]));
                continue;
            }
        };
        let mut told: Vec<Incoming> = opened.damaged.iter().map(|key| troubled(key)).collect();
        match reading(history, &sender, opened, at) {
            Ok(reading) => {
                records.extend(reading.records);
                told.extend(reading.passing);
                whole.push((ticket, told));
            }
            Err(error) => done.push((ticket, trouble("no room"), vec![troubled(&error)])),
        }
    }
    let kept: Vec<String> = records.iter().filter_map(entity_of).cloned().collect();
    let added = if records.is_empty() { Ok(Vec::new()) } else { history.add(records) };
    match added {
        Ok(new) => {
            let known: Vec<&String> = new.iter().filter_map(entity_of).collect();
            history.drop_entities(kept.iter().filter(|name| !known.contains(name)));
            let mut told: Vec<Incoming> = new.into_iter().filter_map(incoming).collect();
            for (ticket, passing) in whole {
                told.extend(passing);
                // The order of news is that of arrival; which reply they go with does not matter.
                let ok = Reply::new(250, EnhancedCode::new(2, 0, 0), "stored");
                done.push((ticket, ok, std::mem::take(&mut told)));
            }
        }
        Err(error) => {
            // It comes again, and is kept again.
            history.drop_entities(&kept);
            let mut told = vec![Incoming::State(Link::Trouble(error.to_string()))];
            for (ticket, _) in whole {
                done.push((ticket, trouble("the history takes nothing"), std::mem::take(&mut told)));
            }
        }
    }
    done
}

/// The file of an entity that was kept for a record.
fn entity_of(record: &Record) -> Option<&String> {
    let Record::Received(received) = record else { return None };
    received.attachments.first().map(|enclosure| &enclosure.file).filter(|file| !file.is_empty())
}

fn reading(
    history: &History,
    sender: &ReversePath,
    opened: Opened<'_>,
    at: Timestamp,
) -> Result<Reading, HistoryError> {
    let Opened { entity, mark, .. } = opened;
    let mut records = Vec::new();
    let mut passing = None;
    match read::read(&entity, sender, mark.encrypted, at) {
        // What was signed, and is not that any more, tells nothing of a message of ours.
        Content::Receipt(_) | Content::Displayed(_) if mark.is_broken() => {}
        Content::Message(mut received) => {
            received.mark = mark;
            if !history.has_seen(&received) {
                history.keep_entity(&mut received, &entity)?;
            }
            records.push(Record::Received(*received));
        }
        Content::Receipt(report) => records.extend(states(history, &report, at)),
        Content::Displayed(notice) => {
            records.push(Record::State { id: notice.id, to: notice.by, state: State::Displayed, at, reason: None })
        }
        Content::Typing(typing) => passing = Some(Incoming::Typing(typing)),
        Content::Nothing => {}
    }
    Ok(Reading { records, passing })
}

/// A receipt counts for the message whose envelope identifier it has, and for its recipients.
fn states(history: &History, report: &Report, at: Timestamp) -> Vec<Record> {
    let Some(draft) = report.envid.as_deref().and_then(|envid| history.index().by_envelope(envid)) else {
        return Vec::new();
    };
    let state = |recipient: &crate::mime::report::Recipient| {
        let names = [recipient.original.as_ref(), Some(&recipient.final_recipient)];
        let is = |to: &crate::address::Mailbox| {
            names
                .iter()
                .flatten()
                .any(|name| crate::address::Mailbox::parse(&name.address).is_ok_and(|it| it.key() == to.key()))
        };
        // A receipt for a name that we never wrote, of a message to one person, is about that person.
        let to = draft.to.iter().find(|to| is(to)).or(draft.to.first().filter(|_| draft.to.len() == 1))?;
        let said = recipient.diagnostic.as_ref().map(|diagnostic| super::clean::line(&diagnostic.text));
        let state = State::from(recipient.action);
        let reason = matches!(state, State::Failed | State::Delayed | State::Relayed)
            .then(|| format!("{} {}", recipient.status, said.unwrap_or_default()).trim().to_owned());
        Some(Record::State { id: draft.id.clone(), to: to.clone(), state, at, reason })
    };
    report.recipients.iter().filter_map(state).collect()
}

/// A record that was new, as news.
pub(super) fn incoming(record: Record) -> Option<Incoming> {
    match record {
        Record::Received(received) => Some(Incoming::Message(Box::new(received))),
        Record::State { id, to, state: State::Displayed, .. } => Some(Incoming::Displayed { id, by: to }),
        Record::State { id, to, state, reason, .. } => Some(Incoming::Receipt { id, to, state, reason }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_with_one_message_concerns_no_other() {
        let entity = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let open = |entity: &[u8]| {
            assert_ne!(entity, b"odd", "a fault of ours");
            Err(KeyError::System { path: "keys".into(), source: std::io::ErrorKind::NotFound.into() })
        };
        let unsealed = unseal(vec![entity("one"), entity("odd"), None, entity("two")], open).await;
        let read: Vec<_> = unsealed.iter().map(Result::is_ok).collect();
        assert_eq!(read, [false, true, true, false], "each is there, in its place");
        assert!(matches!(unsealed[1], Ok(None)), "as it is");
    }
}
