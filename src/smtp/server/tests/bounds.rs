//! What a client may not do: smuggling, lies about sizes, and more than is good.

use super::*;

#[test]
fn chunks_after_refusals_are_taken() {
    play(
        "
        C: BDAT 6 LAST
        C- QUIT\\r\\n
        S: 503 5.5.1 say MAIL first
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<b@b.example>
        C: BDAT 6 LAST
        C- QUIT\\r\\n
        E: mail <a@a.example>
        A: 550 5.7.1 no
        S: 550 5.7.1 no
        S: 503 5.5.1 say MAIL first
        S: 503 5.5.1 say MAIL first
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<b@b.example>
        C: BDAT 6
        C- QUIT\\r\\n
        C: BDAT 6
        C- QUIT\\r\\n
        C: MAIL FROM:<a@a.example>
        C: BDAT 6 LAST
        C- QUIT\\r\\n
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        E: rcpt <b@b.example>
        S: 250 2.1.0 ok
        A: 550 5.1.1 no
        S: 550 5.1.1 no
        S: 503 5.5.1 there is no recipient; say RCPT first
        S: 503 5.5.1 a chunk of this transaction was refused; say RSET first
        S: 503 5.5.1 a chunk of this transaction was refused; say RSET first
        S: 503 5.5.1 a chunk of this transaction was refused; say RSET first
        C: MAIL FROM:<a@a.example>
        E: mail <a@a.example>
        ",
    );
}

#[test]
fn chunks_before_ehlo_are_taken() {
    play_in(
        session(options()),
        "
        S: 220 mx.b.example ESMTP IMPP
        C: BDAT 6 LAST
        C- QUIT\\r\\n
        S: 503 5.5.1 say EHLO first
        C: HELO mx.a.example
        E: hello mx.a.example without extensions
        S: 250 mx.b.example
        C: MAIL FROM:<a@a.example> SIZE=1
        S: 555 5.5.4 parameter SIZE is not offered here
        C: STARTTLS
        S: 502 5.5.1 STARTTLS is not offered here
        ",
    );
}

#[test]
fn chunks_that_lie() {
    play_opened(
        "
        C: BDAT 5 LAST x
        C- QUIT\\n
        S: 501 5.5.4 write: BDAT octets, LAST after it for the last chunk
        C: BDAT 0 LAST
        S: 503 5.5.1 a chunk of this transaction was refused; say RSET first
        C: BDAT 18446744073709551616 LAST
        S: 501 5.5.4 the size of the chunk cannot be read; closing, since what follows may be a message
        C: MAIL FROM:<a@a.example>
        E: close
        ",
    );
    let session = play(
        "
        C: BDAT 18446744073709551615 LAST
        C- <5000*QUIT>
        ",
    );
    assert!(session.is_receiving() && !session.is_idle());
    for line in ["BDAT", "bdat x", "BDAT -1", "BDAT 1\\0", "BDAT 1\\n", "BDAT <2100* >1"] {
        let script = format!(
            "C: {line}\nC: RSET\nS: 501 5.5.4 the size of the chunk cannot be read; closing, since what follows may be a message\nE: close"
        );
        play(&script);
    }
}

#[test]
fn bare_line_ends_in_commands() {
    play(
        "
        C: NOOP a\\nMAIL FROM:<x@a.example>
        S: 500 5.5.2 a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused
        C: NOOP a\\rMAIL FROM:<x@a.example>
        S: 500 5.5.2 a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused
        C: NOOP\\r
        S: 500 5.5.2 a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused
        C: NOOP\\0
        S: 500 5.5.2 a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused
        C- NOOP\\n
        S: 500 5.5.2 a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused
        C- NOOP\\nQUIT\\r\\n
        C: NOOP <3000*x>
        S: 500 5.5.2 the command line is longer than 2048 octets
        C: NOOP
        S: 250 2.0.0 ok
        ",
    );
}

#[test]
fn smuggling_by_data() {
    for end in ["\\n.\\n", "\\n.\\r\\n", "\\r.\\r", "\\r.\\r\\n", "\\r\\n.\\n", "\\r\\n.\\r", "\\r\\n\\r.\\r\\n"] {
        play_opened(&format!(
            "
            C: DATA
            S: 354 send the message; end with CRLF.CRLF
            C- text{end}MAIL FROM:<evil@a.example>\\r\\nRCPT TO:<b@b.example>\\r\\nDATA\\r\\n\\r\\n.\\r\\n
            S: 554 5.6.0 the entity has a bare CR or LF; end lines with CRLF, or send BODY=BINARYMIME
            C: NOOP
            S: 250 2.0.0 ok
            "
        ));
    }
}

#[test]
fn bare_line_ends_in_chunks() {
    for entity in ["\\na", "a\\n", "a\\r", "\\ra", "a\\rb", "\\n\\r"] {
        let length = unescape(entity).len();
        play_opened(&format!(
            "
            C: BDAT {length} LAST
            C- {entity}RSET\\r\\n
            S: 554 5.6.0 the entity has a bare CR or LF; end lines with CRLF, or send BODY=BINARYMIME
            S: 250 2.0.0 reset
            "
        ));
    }
    play_opened(
        "
        C: BDAT 2
        C- a\\r
        S: 250 2.0.0 chunk received
        C: BDAT 2 LAST
        C- \\nb
        E: entity 0 from <a@a.example> to <b@b.example>: a\\r\\nb
        ",
    );
}

#[test]
fn size_announced() {
    play(
        "
        C: MAIL FROM:<a@a.example> SIZE=1001
        S: 552 5.3.4 the entity is larger than 1000 octets
        C: MAIL FROM:<a@a.example> SIZE=99999999999999999999
        S: 552 5.3.4 the entity is larger than 1000 octets
        C: MAIL FROM:<a@a.example> SIZE=1000
        E: mail <a@a.example>
        ",
    );
}

#[test]
fn size_passed_by_data() {
    let session = play_opened(
        "
        C: DATA
        S: 354 send the message; end with CRLF.CRLF
        C: <999*x>
        C: .
        S: 552 5.3.4 the entity is larger than 1000 octets
        ",
    );
    assert!(session.is_idle());
    play_opened(
        "
        C: DATA
        S: 354 send the message; end with CRLF.CRLF
        C- .<998*.>\\r\\n.\\r\\n
        E: entity 0 from <a@a.example> to <b@b.example> by DATA: <x>
        "
        .replace("<x>", &format!("{}\\r\\n", ".".repeat(998)))
        .as_str(),
    );
}

#[test]
fn size_passed_by_chunks() {
    play_opened(
        "
        C: BDAT 1001 LAST
        C- <1001*x>RSET\\r\\n
        S: 552 5.3.4 the entity is larger than 1000 octets
        S: 250 2.0.0 reset
        ",
    );
    play_opened(
        "
        C: BDAT 600
        C- <600*x>
        S: 250 2.0.0 chunk received
        C: BDAT 600
        C- <600*x>
        S: 552 5.3.4 the entity is larger than 1000 octets
        C: BDAT 600 LAST
        C- <600*x>
        S: 503 5.5.1 a chunk of this transaction was refused; say RSET first
        C: MAIL FROM:<a@a.example>
        E: mail <a@a.example>
        ",
    );
}

#[test]
fn too_many_recipients() {
    let rcpt = "C: RCPT TO:<c@b.example>\nE: rcpt <c@b.example>\nA: 250 2.1.5 ok\nS: 250 2.1.5 ok\n";
    play_opened(&format!(
        "{rcpt}{rcpt}
        C: RCPT TO:<d@b.example>
        S: 452 4.5.3 too many recipients; send the rest in another transaction
        C: BDAT 2 LAST
        C- \\r\\n
        E: entity 0 from <a@a.example> to <b@b.example>, <c@b.example>, <c@b.example>: \\r\\n
        "
    ));
}

#[test]
fn too_many_bad_commands() {
    let mut script =
        "C: WHAT\nS: 500 5.5.1 command not recognised; HELP lists the commands\n".repeat(limits::BAD_COMMANDS - 1);
    script.push_str("C: WHAT\nS: 421 4.7.0 too many malformed commands; closing\nC: NOOP\nE: close");
    let session = play(&script);
    assert!(session.is_closing() && !session.wants_input());
}

#[test]
fn too_many_in_flight() {
    let group = "C: RSET\nC: MAIL FROM:<a@a.example>\nC: RCPT TO:<b@b.example>\nC: BDAT 2 LAST\nC- \\r\\n\n";
    let mut script = group.repeat(5);
    for ticket in 0..4 {
        script.push_str("E: mail <a@a.example>\nA: 250 2.1.0 ok\nE: rcpt <b@b.example>\nA: 250 2.1.5 ok\n");
        script.push_str(&format!("E: entity {ticket} from <a@a.example> to <b@b.example>: \\r\\n\n"));
    }
    script.push_str("S: 250 2.0.0 reset\nS: 250 2.1.0 ok\nS: 250 2.1.5 ok\n");
    let session = play(&script);
    assert!(!session.wants_input() && session.in_flight() == 4);
    let session = play_in(
        session,
        "
        T 2: 250 2.0.0 queued
        T 0: 250 2.0.0 queued
        E: mail <a@a.example>
        S: 250 2.0.0 queued
        S: 250 2.0.0 reset
        S: 250 2.1.0 ok
        S: 250 2.1.5 ok
        ",
    );
    assert_eq!(session.in_flight(), 2);
}

#[test]
fn answers_that_nobody_asked_for() {
    let mut session = greeted(options());
    session.answer(reply("250 2.1.0 ok"));
    session.complete(Ticket(7), reply("250 2.0.0 ok"));
    session.tls_started();
    assert!(session.output().is_empty() && session.is_idle());
}

#[test]
fn output_is_bounded() {
    let mut session = greeted(options());
    session.input(&mut BytesMut::from("HELP\r\n".repeat(20_000).as_bytes()));
    let mut replies = 0;
    while !session.is_idle() {
        assert!(session.poll().is_none());
        let output = session.output().split();
        assert!(!output.is_empty() && output.len() < OUTPUT_OCTETS + 1024);
        replies += output.iter().filter(|octet| **octet == b'\n').count() / 2;
    }
    assert_eq!(replies, 20_000);
}

#[test]
fn idle_sessions_keep_nothing() {
    let mut session = play_opened(
        "
        C: BDAT 2 LAST
        C- \\r\\n
        E: entity 0 from <a@a.example> to <b@b.example>: \\r\\n
        T 0: 250 2.0.0 queued
        S: 250 2.0.0 queued
        C- NOO
        ",
    );
    assert!(!session.is_idle());
    session.release_buffers();
    assert_eq!((session.output().capacity(), session.inbox.capacity()), (0, 3));
    let mut session = play_in(session, "C: P\nS: 250 2.0.0 ok");
    session.release_buffers();
    assert!(session.is_idle());
    assert_eq!((session.output().capacity(), session.inbox.capacity()), (0, 0));
    assert!(size_of::<Session>() <= 768, "{}", size_of::<Session>());
}
