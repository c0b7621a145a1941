//! Our client against our server, both without I/O: what one writes the other understands.

use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::extension::Services;
use crate::smtp::server::{self, Service};

fn server(impp: bool) -> server::Session {
    let options = server::Options {
        greeting_name: Domain::parse("mx.b.example").unwrap(),
        service: Service::Relay,
        starttls: false,
        impp: Services { im: impp, pres: impp },
        impp_noop: None,
        require_tls: true,
        size: limits::ENTITY_OCTETS,
        recipients: 3,
        in_flight: 4,
        deliver_by_min: Duration::ZERO,
        postmaster: None,
    };
    server::Session::new(Arc::new(options), true)
}

/// Answers what the server asks: recipients that begin with `r5` are refused. Completes every second transaction late.
fn obey(server: &mut server::Session, late: &mut Vec<server::Ticket>, stored: &mut Vec<(usize, Bytes)>) {
    while let Some(event) = server.poll() {
        let ok = Reply::new(250, EnhancedCode::new(2, 1, 0), "ok");
        match event {
            server::Event::Mail(_) => server.answer(ok),
            server::Event::Rcpt(rcpt) => {
                let refused = format!("{:?}", rcpt.path).contains("r5");
                server.answer(if refused { Reply::new(550, EnhancedCode::new(5, 1, 1), "who") } else { ok });
            }
            server::Event::Entity(transaction) => {
                stored.push((transaction.rcpts.len(), transaction.entity));
                if stored.len() % 2 == 0 {
                    server.complete(transaction.ticket, ok);
                } else {
                    late.push(transaction.ticket);
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn they_understand_each_other(
        impp in any::<bool>(),
        list in prop::collection::vec((prop::collection::vec(prop_oneof![4 => "b[0-9]", 1 => "r5[0-9]"], 1..6), 0usize..3), 1..20),
        piece in 1usize..4000,
    ) {
        let now = Instant::now();
        let mut client = Session::new(Arc::new(Options { window: 6, ..options() }), Protection::Proven, now);
        let mut server = server(impp);
        let entity = |size: &usize| format!("Subject: x\r\n\r\n{}", ".x\r\n".repeat([0, 100, 20_000][*size]));
        let messages = list.iter().enumerate().map(|(token, (recipients, size))| {
            let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
            message(token as u64, &recipients, &entity(size))
        });
        let mut messages: VecDeque<Transaction> = messages.collect();
        let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
        let (mut late, mut stored, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut still = 0;
        while still < 3 {
            while client.wants() {
                let Some(message) = messages.pop_front() else { break };
                client.submit(message, Timestamp::from_secs(0), now);
            }
            let octets = client.output(now).len().min(piece);
            to_server.extend_from_slice(&client.output(now)[..octets]);
            client.wrote(octets, now);
            if server.wants_input() {
                server.input(&mut to_server);
            }
            obey(&mut server, &mut late, &mut stored);
            let quiet = octets == 0 && server.output().is_empty() && to_client.is_empty();
            to_client.extend_from_slice(&std::mem::take(server.output()));
            client.input(&mut to_client, now);
            events.extend(std::iter::from_fn(|| client.poll()).flat_map(show));
            if quiet {
                still += 1;
                for ticket in late.drain(..).rev() {
                    still = 0;
                    server.complete(ticket, Reply::new(250, EnhancedCode::new(2, 0, 0), "late"));
                }
            } else {
                still = 0;
            }
        }
        let accepted = events.iter().filter(|event| event.contains(" accepted 250 ")).count();
        let refused = events.iter().filter(|event| event.contains(" refused 550 5.1.1 ")).count();
        let all: usize = list.iter().map(|(recipients, _)| recipients.len()).sum();
        prop_assert_eq!(accepted + refused, all, "{:?}", events);
        prop_assert_eq!(stored.iter().map(|(recipients, _)| recipients).sum::<usize>(), accepted);
        prop_assert!(client.is_idle());
        let mut entities = stored.iter().map(|(_, entity)| entity.clone());
        for (_, size) in &list {
            // A message may be split by RCPTMAX, or refused altogether; what is stored is one of those that were sent.
            if let Some(got) = entities.next() {
                prop_assert!([0, 1, 2].iter().any(|size| got == entity(size)), "{size}");
            }
        }
    }
}
