//! Properties, against a model of a server that does what the local parts and the entities say.

use super::*;

/// How a model server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lockstep,
    Pipelined,
    Chunked,
    Impp,
}

/// A server in few words: `m5…` as a sender and `r5…` as a recipient are refused, as is an entity with `no` in it.
struct Server {
    kind: Kind,
    input: BytesMut,
    mail: bool,
    recipients: Vec<String>,
    entity: Option<Vec<u8>>,
    text: bool,
    output: String,
    stored: Vec<(Vec<String>, String)>,
    rest_of_chunk: Option<(usize, bool)>,
}

impl Server {
    fn new(kind: Kind) -> Self {
        let extensions = match kind {
            Kind::Lockstep => "250 b\r\n",
            Kind::Pipelined => "250-b\r\n250 PIPELINING\r\n",
            Kind::Chunked => "250-b\r\n250-CHUNKING\r\n250 PIPELINING\r\n",
            Kind::Impp => "250-b\r\n250-CHUNKING\r\n250-IMPP IM\r\n250 PIPELINING\r\n",
        };
        Server {
            kind,
            input: BytesMut::new(),
            mail: false,
            recipients: Vec::new(),
            entity: None,
            text: false,
            output: format!("220 b\r\n{extensions}"),
            stored: Vec::new(),
            rest_of_chunk: None,
        }
    }

    fn reset(&mut self) {
        self.mail = false;
        self.recipients.clear();
        self.entity = None;
    }

    fn store(&mut self, entity: Vec<u8>) {
        let entity = String::from_utf8(entity).unwrap();
        if self.recipients.is_empty() || entity.contains("no") {
            self.output.push_str("554 refused\r\n");
        } else {
            self.output.push_str("250 stored\r\n");
            self.stored.push((self.recipients.clone(), entity));
        }
        self.reset();
    }

    /// Takes one command, text or chunk; false when more octets are needed.
    fn step(&mut self) -> bool {
        if let Some((octets, last)) = self.rest_of_chunk {
            if self.input.len() < octets {
                return false;
            }
            let chunk = self.input.split_to(octets);
            self.rest_of_chunk = None;
            self.chunk(&chunk, last);
            return true;
        }
        let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") else { return false };
        let line = String::from_utf8(self.input.split_to(end + 2)[..end].to_vec()).unwrap();
        if self.text {
            self.text_line(&line);
            return true;
        }
        let group_goes_on = !self.input.is_empty();
        let command = line.to_uppercase();
        if self.kind == Kind::Lockstep {
            assert!(!group_goes_on, "{command} is followed by {:?}", self.input);
        }
        let local = || line.split_once(":<").unwrap().1.split_once('@').unwrap().0.to_owned();
        if command == "RSET" {
            self.reset();
            self.output.push_str("250 ok\r\n");
        } else if command.starts_with("MAIL") {
            let refused = self.mail || local().starts_with("m5");
            self.mail |= !refused;
            self.output.push_str(if refused { "550 sender\r\n" } else { "250 ok\r\n" });
        } else if command.starts_with("RCPT") {
            let refused = !self.mail || local().starts_with("r5");
            if !refused {
                self.recipients.push(local());
            }
            self.output.push_str(if refused { "550 recipient\r\n" } else { "250 ok\r\n" });
        } else if command == "DATA" {
            assert!(!group_goes_on, "DATA ends its group");
            // Some servers go ahead without recipients, some do not.
            self.text = !self.recipients.is_empty() || self.stored.len() % 2 == 0;
            self.entity = Some(Vec::new());
            self.output.push_str(if self.text { "354 go\r\n" } else { "503 recipients first\r\n" });
        } else if let Some(arguments) = command.strip_prefix("BDAT ") {
            let (octets, last) = arguments.strip_suffix(" LAST").map_or((arguments, false), |octets| (octets, true));
            let ready = self.kind == Kind::Impp || !self.recipients.is_empty();
            assert!(ready, "BDAT without recipients, and without IMPP");
            self.rest_of_chunk = Some((octets.parse().unwrap(), last));
        } else {
            panic!("{line}");
        }
        true
    }

    fn text_line(&mut self, line: &str) {
        let mut entity = self.entity.take().unwrap();
        if line == "." {
            self.text = false;
            return self.store(entity);
        }
        entity.extend_from_slice(line.strip_prefix('.').unwrap_or(line).as_bytes());
        entity.extend_from_slice(b"\r\n");
        self.entity = Some(entity);
    }

    fn chunk(&mut self, chunk: &[u8], last: bool) {
        if self.recipients.is_empty() {
            self.output.push_str("503 recipients first\r\n");
            return;
        }
        let mut entity = self.entity.take().unwrap_or_default();
        entity.extend_from_slice(chunk);
        if last {
            self.store(entity);
        } else {
            self.entity = Some(entity);
            self.output.push_str("250 more\r\n");
        }
    }
}

/// What the rules of the model say about a recipient.
fn expected(message: &Transaction, index: usize) -> &'static str {
    let local = |mailbox: &Mailbox| mailbox.local().to_owned();
    let sender = message.envelope.sender.mailbox().map(local).unwrap_or_default();
    if sender.starts_with("m5") {
        "refused 550 sender"
    } else if local(&message.envelope.recipients[index].address).starts_with("r5") {
        "refused 550 recipient"
    } else if std::str::from_utf8(&message.entity).unwrap().contains("no") {
        "refused 554 refused"
    } else {
        "relayed 250 stored"
    }
}

fn messages() -> impl Strategy<Value = Vec<Transaction>> {
    let recipients = prop::collection::vec(prop_oneof![3 => "b[0-9]", 1 => "r5[0-9]"], 1..4);
    let text = prop_oneof![4 => "(\\.|[a-m]{0,5}\r\n){0,6}", 1 => Just("no\r\n".to_owned()), 1 => Just("x\r\n".repeat(25_000))];
    prop::collection::vec((prop_oneof![4 => "s[0-9]", 1 => "m5[0-9]"], recipients, text), 1..20).prop_map(|list| {
        let one = |(token, (sender, recipients, text)): (usize, (String, Vec<String>, String))| Transaction {
            token: token as u64,
            recipients: (0..recipients.len()).collect(),
            envelope: Arc::new(envelope(&sender, &recipients.iter().map(String::as_str).collect::<Vec<_>>())),
            entity: Bytes::from(text + "\r\n"),
        };
        list.into_iter().enumerate().map(one).collect()
    })
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Lockstep, Kind::Pipelined, Kind::Chunked, Kind::Impp])
}

/// Session and server exchange octets in pieces until nothing moves, or until `steps` have been made.
fn exchange(kind: Kind, list: &[Transaction], pieces: &[usize], window: usize, steps: usize) -> (Server, Vec<String>) {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(Options { window, ..options() }), Protection::Clear, now);
    let mut server = Server::new(kind);
    let (mut to_client, mut input, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    let mut queue = list.iter().cloned();
    let mut pieces = pieces.iter().copied().cycle();
    // The server has already put its answer to EHLO behind its greeting.
    let mut hello = "EHLO a.example\r\n".len();
    for _ in 0..steps {
        while session.wants() {
            let Some(message) = queue.next() else { break };
            session.submit(message, Timestamp::from_secs(0), now);
        }
        if session.is_idle() && queue.len() == 0 && to_client.is_empty() {
            break;
        }
        let size = pieces.next().unwrap();
        let output = session.output(now);
        let mut octets = output.len().min(size * 100);
        if hello > 0 {
            octets = octets.min(hello);
            hello -= octets;
        } else {
            server.input.extend_from_slice(&output[..octets]);
        }
        session.wrote(octets, now);
        let whole_group = session.output(now).is_empty();
        // A model that looks for the end of a group sees whole groups.
        while (whole_group || kind == Kind::Impp) && server.step() {}
        to_client.extend_from_slice(std::mem::take(&mut server.output).as_bytes());
        let size = size.min(to_client.len());
        input.extend_from_slice(&to_client.split_to(size));
        session.input(&mut input, now);
        events.extend(std::iter::from_fn(|| session.poll()).flat_map(show));
    }
    session.lost(Fault::Disconnected(String::new()));
    events.extend(std::iter::from_fn(|| session.poll()).flat_map(show));
    (server, events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_recipient_gets_its_fate(
        kind in kinds(),
        list in messages(),
        pieces in prop::collection::vec(20usize..500, 1..9),
        window in 1usize..6,
    ) {
        let (server, events) = exchange(kind, &list, &pieces, window, 200_000);
        let mut wanted: Vec<String> = Vec::new();
        let mut stored = Vec::new();
        for message in &list {
            let fates = message.recipients.iter().map(|index| (*index, expected(message, *index)));
            wanted.extend(fates.clone().map(|(index, fate)| format!("{}.{index} {fate}", message.token)));
            let accepted: Vec<String> = fates
                .filter(|(_, fate)| fate.starts_with("relayed"))
                .map(|(index, _)| message.envelope.recipients[index].address.local().to_owned())
                .collect();
            if !accepted.is_empty() {
                stored.push((accepted, String::from_utf8(message.entity.to_vec()).unwrap()));
            }
        }
        wanted.push("over: the connection was lost: ".to_owned());
        prop_assert_eq!(events, wanted);
        prop_assert_eq!(server.stored, stored);
    }

    /// Whatever the server stored is known as accepted or as uncertain; nothing else is uncertain but what had left.
    #[test]
    fn what_was_stored_is_never_told_as_lost(
        kind in kinds(),
        list in messages(),
        pieces in prop::collection::vec(1usize..300, 1..9),
        steps in 1usize..400,
    ) {
        let (server, events) = exchange(kind, &list, &pieces, 128, steps);
        let told = |words: &str| events.iter().filter(|event| event.contains(words)).count();
        let stored: usize = server.stored.iter().map(|(recipients, _)| recipients.len()).sum();
        prop_assert!(told("relayed") <= stored);
        prop_assert!(stored <= told("relayed") + told("uncertain"));
        if kind == Kind::Lockstep {
            prop_assert!(told("uncertain") <= 3, "one transaction at a time");
        }
    }
}
