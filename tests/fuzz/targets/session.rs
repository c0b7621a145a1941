//! A whole connection: commands, DATA and BDAT framing. The first octet says into which pieces the rest is cut.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use impart::address::Domain;
use impart::reply::Reply;
use impart::smtp::extension::Services;
use impart::smtp::server::{Event, Options, Service, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((step, octets)) = input.split_first() else { return };
    let whole = play(octets, octets.len().max(1));
    let pieces = play(octets, usize::from(*step).max(1));
    assert_eq!(whole, pieces);
});

fn options() -> Arc<Options> {
    Arc::new(Options {
        greeting_name: Domain::parse("mx.a.test").expect("a domain"),
        service: Service::Relay,
        starttls: true,
        impp: Services { im: true, pres: true },
        impp_noop: None,
        require_tls: true,
        size: 4096,
        recipients: 3,
        in_flight: 2,
        deliver_by_min: Duration::from_secs(1),
        postmaster: None,
    })
}

/// What was replied, and the entities that came out.
fn play(octets: &[u8], step: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut session = Session::new(options(), false);
    let (mut said, mut entities) = (Vec::new(), Vec::new());
    let mut inbox = BytesMut::new();
    for piece in octets.chunks(step) {
        inbox.extend_from_slice(piece);
        loop {
            let before = (inbox.len(), said.len(), entities.len());
            session.input(&mut inbox);
            let mut closed = false;
            while let Some(event) = session.poll() {
                closed |= answer(&mut session, event, &mut inbox, &mut entities);
            }
            said.extend_from_slice(&session.output().split());
            if closed {
                return (said, entities);
            }
            if before == (inbox.len(), said.len(), entities.len()) {
                break;
            }
        }
    }
    (said, entities)
}

/// Answers an event; true when the connection is to be closed.
fn answer(session: &mut Session, event: Event, inbox: &mut BytesMut, entities: &mut Vec<Vec<u8>>) -> bool {
    match event {
        Event::Hello { .. } => {}
        Event::Mail(_) | Event::Rcpt(_) => session.answer(Reply::bare(250, "ok")),
        Event::Entity(transaction) => {
            assert!(!transaction.rcpts.is_empty());
            assert!(transaction.entity.len() <= 4096);
            if transaction.by_data {
                let lines = transaction.entity.split(|octet| *octet == b'\n');
                let bare = lines.clone().take(lines.count() - 1).any(|line| line.last() != Some(&b'\r'));
                assert!(!bare, "a bare LF came through DATA");
            }
            entities.push(transaction.entity.to_vec());
            session.complete(transaction.ticket, Reply::bare(250, "ok"));
        }
        // What comes after STARTTLS depends on when it comes; there the play ends.
        Event::StartTls => {
            inbox.clear();
            return true;
        }
        Event::Close => return true,
    }
    false
}
