//! What holds for every input: cuts change nothing, nothing panics, what is written are replies.

use proptest::prelude::*;

use super::*;

/// A driver that accepts all but names that begin with `refused`; the transcript of events and output.
pub(super) fn run(session: &mut Session, octets: &[u8]) -> String {
    run_in_pieces(session, [octets])
}

pub(super) fn run_in_pieces<'a>(session: &mut Session, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut events, mut output) = (String::new(), BytesMut::new());
    let mut input = BytesMut::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        session.input(&mut input);
        loop {
            let before = output.len();
            while let Some(event) = session.poll() {
                events.push_str(&format!("event {}\n", summary(&event)));
                settle(session, event);
            }
            output.extend_from_slice(&session.output().split());
            if output.len() == before {
                break;
            }
        }
    }
    let output = String::from_utf8(output.to_vec()).expect("replies are UTF-8");
    well_formed(&output);
    events + &output
}

/// Transactions are completed at once, every second one with a refusal.
fn settle(session: &mut Session, event: Event) {
    match event {
        Event::Mail(mail) if sender_of(&mail).contains("refused") => session.answer(super::reply("550 5.1.0 refused")),
        Event::Mail(_) => session.answer(super::reply("250 2.1.0 sender ok")),
        Event::Rcpt(rcpt) if recipient_of(&rcpt).contains("refused") => {
            session.answer(super::reply("550 5.1.1 refused"))
        }
        Event::Rcpt(_) => session.answer(super::reply("250 2.1.5 recipient ok")),
        Event::Entity(transaction) => {
            assert!(!transaction.rcpts.is_empty());
            assert!(transaction.entity.len() as u64 <= session.options.size);
            let reply = if transaction.ticket.0 % 2 == 0 { "250 2.0.0 queued" } else { "451 4.3.0 later" };
            session.complete(transaction.ticket, super::reply(reply));
        }
        Event::StartTls => session.tls_started(),
        // The first response is the password; whoever has none is challenged.
        Event::Auth { initial: None, .. } => session.challenge(b"say"),
        Event::Auth { initial: Some(response), .. } | Event::AuthResponse(response) if response == b"right" => {
            session.answer(super::reply("235 2.7.0 welcome"));
        }
        Event::Auth { .. } | Event::AuthResponse(_) => session.answer(super::reply("535 5.7.8 wrong")),
        Event::Atrn(atrn) if names_of(&atrn).contains("refused") => session.answer(super::reply("450 4.7.1 refused")),
        Event::Atrn(_) => session.answer(super::reply("250 2.0.0 turning")),
        Event::Hello { .. } | Event::Turn | Event::Close => {}
    }
}

/// RFC 5321 §4.2: each line is a code, a hyphen or a space, printable text; the last of a reply has the space.
fn well_formed(output: &str) {
    let mut open: Option<&str> = None;
    assert!(output.is_empty() || output.ends_with("\r\n"));
    for line in output.split_terminator("\r\n") {
        let (code, rest) = line.split_at(3);
        assert!(code.starts_with(['2', '3', '4', '5']) && code.bytes().all(|b| b.is_ascii_digit()), "{line:?}");
        assert!(open.is_none_or(|before| before == code), "{line:?}");
        assert!(rest.starts_with([' ', '-']) && !line.contains(char::is_control), "{line:?}");
        open = rest.starts_with('-').then_some(code);
    }
    assert_eq!(open, None);
}

const LONG_SESSION: &[u8] = b"EHLO mx.a.example\r\nRSET\r\nMAIL FROM:<a@a.example> SIZE=30 IMPP=IM\r\n\
    RCPT TO:<b@b.example> NOTIFY=NEVER\r\nBDAT 9\r\n\r\n.\r\nabc\rBDAT 4 LAST\r\n\nxyz\
    MAIL FROM:<refused@a.example>\r\nRCPT TO:<b@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\n\
    MAIL FROM:<a@a.example>\r\nRCPT TO:<refused@b.example>\r\nBDAT 3 LAST\r\n\r\n.\
    MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n..x\r\n.y\r\n\r.\r\n\n.\r\n\r\n.\r\n\
    MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n..x\r\n.y\r\n.\r\n.\r\n\
    NOOP x\ny\r\nNOOP\r\r\nNOOP \0\r\nWHAT\r\n\r\nRSET\r\nSTARTTLS\r\nMAIL FROM:<injected@a.example>\r\n";

#[test]
fn cuts_at_every_octet() {
    // STARTTLS is left out here: what comes after the driver has upgraded is not injected.
    let end = LONG_SESSION.windows(10).position(|w| w == b"STARTTLS\r\n").unwrap();
    let text = [&LONG_SESSION[..end], b"QUIT\r\nNOOP\r\n"].concat();
    let whole = run(&mut session(options()), &text);
    assert!(whole.contains("event entity 1 from <a@a.example> to <b@b.example> by DATA: .x\\r\\ny\\r\\n"), "{whole}");
    assert!(whole.contains("554 5.6.0") && whole.contains("event close"), "{whole}");
    for cut in 0..=text.len() {
        let pieces = [&text[..cut], &text[cut..]];
        assert_eq!(run_in_pieces(&mut session(options()), pieces), whole, "cut at {cut}");
    }
    assert_eq!(run_in_pieces(&mut session(options()), text.chunks(1)), whole, "octet by octet");
}

#[test]
fn a_burst_is_not_copied() {
    let mut session = greeted(Options { in_flight: 256, ..options() });
    let group = "RSET\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nBDAT 100 LAST\r\n";
    let text = format!("{group}{}", "x".repeat(100)).repeat(200);
    let mut input = BytesMut::from(text.as_bytes());
    let block = input.as_ptr() as usize..input.as_ptr() as usize + input.len();
    session.input(&mut input);
    let mut entities = 0;
    while let Some(event) = session.poll() {
        if let Event::Entity(transaction) = &event {
            assert!(block.contains(&(transaction.entity.as_ptr() as usize)));
            entities += 1;
        }
        settle(&mut session, event);
    }
    assert_eq!(entities, 200);
}

/// Commands, right and wrong, as a client might put them together.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "EHLO a.example\r\n",
        "HELO a\r\n",
        "MAIL FROM:<a@a.example>\r\n",
        "MAIL FROM:<refused@a.example>\r\n",
        "MAIL FROM:<a@a.example> BODY=BINARYMIME SIZE=10\r\n",
        "RCPT TO:<b@b.example>\r\n",
        "RCPT TO:<refused@b.example>\r\n",
        "DATA\r\n",
        ".\r\n",
        "text\r\n",
        "BDAT 5\r\n",
        "BDAT 7 LAST\r\n",
        "BDAT 2000\r\n",
        "BDAT 0 LAST\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "\r",
        "\n",
        "\0",
        "\u{e9}",
        "12345",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        run(&mut session(options()), &octets);
        run(&mut greeted(options()), &octets);
    }

    #[test]
    fn any_commands_with_any_cuts(octets in pieces(), cuts in prop::collection::vec(0usize..2000, 0..6)) {
        let whole = run(&mut greeted(options()), &octets);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(octets.len())).collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &octets[pair[0]..pair[1]]);
        prop_assert_eq!(run_in_pieces(&mut greeted(options()), pieces), whole);
    }

    /// One reply for each command: the refused ones and their chunks included.
    #[test]
    fn a_reply_for_each_command(refusals in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..50), 1..20)) {
        let mut text = Vec::new();
        for (sender, recipient, size) in &refusals {
            let name = |refused: &bool| if *refused { "refused" } else { "a" };
            let envelope = format!("RSET\r\nMAIL FROM:<{}@a.example>\r\nRCPT TO:<{}@b.example>\r\n", name(sender), name(recipient));
            text.extend(envelope.into_bytes());
            text.extend(format!("BDAT {size} LAST\r\n").into_bytes());
            text.extend(b"QUIT\r\n".iter().cycle().take(*size));
        }
        let said = run(&mut greeted(options()), &text);
        let replies = said.lines().filter(|line| !line.starts_with("event")).count();
        prop_assert_eq!(replies, refusals.len() * 4);
    }
}
