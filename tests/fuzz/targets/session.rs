//! A whole connection: commands, DATA and BDAT framing. The first octet says who comes, and
//! into which pieces the rest is cut.
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
    let service = if step & 0x80 == 0 { Service::Relay } else { Service::Client };
    let whole = play(service, octets, octets.len().max(1));
    let pieces = play(service, octets, usize::from(*step & 0x7f).max(1));
    assert_eq!(whole, pieces);
});

fn options(service: Service) -> Arc<Options> {
    Arc::new(Options {
        greeting_name: Domain::parse("mx.a.test").expect("a domain"),
        service,
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
fn play(service: Service, octets: &[u8], step: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut session = Session::new(options(service), false);
    if service == Service::Client {
        session.offer_mechanisms(vec!["PLAIN", "CRAM-MD5"]);
    }
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
        Event::Auth { initial: None, .. } => session.challenge(b"say"),
        Event::Auth { initial: Some(response), .. } | Event::AuthResponse(response) => {
            let code = if response.first() == Some(&b'!') { 535 } else { 235 };
            session.answer(Reply::bare(code, "ok"));
        }
        Event::Atrn(_) => session.answer(Reply::bare(250, "ok")),
        // What comes after STARTTLS or a reversal depends on when it comes; there the play ends.
        Event::StartTls | Event::Turn => {
            inbox.clear();
            return true;
        }
        Event::Close => return true,
    }
    false
}
