use super::*;

#[test]
fn greeting_and_ehlo() {
    play_in(
        session(options()),
        "
        S: 220 mx.b.example ESMTP IMPP
        C: EHLO mx.a.example
        E: hello mx.a.example
        S: 250-mx.b.example
        S: 250-PIPELINING
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-SIZE 1000
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-DELIVERBY 5
        S: 250-LIMITS RCPTMAX=3
        S: 250-STARTTLS
        S: 250 IMPP IM PRES
        C: QUIT
        S: 221 2.0.0 closing
        E: close
        ",
    );
}

#[test]
fn one_message_by_data() {
    let session = play_opened(
        "
        C: DATA
        S: 354 send the message; end with CRLF.CRLF
        C: Subject: x
        C:
        C: ..dot
        C: .
        E: entity 0 from <a@a.example> to <b@b.example> by DATA: Subject: x\\r\\n\\r\\n.dot\\r\\n
        T 0: 250 2.0.0 queued
        S: 250 2.0.0 queued
        C: DATA
        S: 503 5.5.1 say MAIL first
        ",
    );
    assert!(session.is_idle());
}

#[test]
fn one_group_with_many_transactions() {
    play(
        "
        C: RSET
        C: MAIL FROM:<a@a.example> BODY=BINARYMIME IMPP=IM
        C: RCPT TO:<b@b.example>
        C: BDAT 4 LAST
        C- \\r\\n\\n\\0RSET\\r\\n
        C: MAIL FROM:<>
        C: RCPT TO:<c@b.example>
        C: RCPT TO:<d@b.example>
        C: BDAT 2
        C- ab
        C: BDAT 3 LAST
        C- c\\r\\nNOOP\\r\\n
        E: mail <a@a.example> IM
        S: 250 2.0.0 reset
        A: 250 2.1.0 ok
        E: rcpt <b@b.example>
        S: 250 2.1.0 ok
        A: 250 2.1.5 ok
        E: entity 0 from <a@a.example> IM to <b@b.example>: \\r\\n\\n\\x00
        S: 250 2.1.5 ok
        E: mail <>
        A: 250 2.1.0 ok
        E: rcpt <c@b.example>
        A: 550 5.1.1 no
        E: rcpt <d@b.example>
        A: 250 2.1.5 ok
        E: entity 1 from <> to <d@b.example>: abc\\r\\n
        T 1: 250 2.0.0 two
        T 0: 250 2.0.0 one
        S: 250 2.0.0 one
        S: 250 2.0.0 reset
        S: 250 2.1.0 ok
        S: 550 5.1.1 no
        S: 250 2.1.5 ok
        S: 250 2.0.0 chunk received
        S: 250 2.0.0 two
        S: 250 2.0.0 ok
        ",
    );
}

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
fn an_empty_last_chunk_ends_the_entity() {
    play_opened(
        "
        C: BDAT 3
        C- a\\r\\n
        S: 250 2.0.0 chunk received
        C: DATA
        S: 503 5.5.1 the entity has begun; send BDAT LAST or RSET
        C: RCPT TO:<c@b.example>
        S: 503 5.5.1 the entity has begun; send BDAT LAST or RSET
        C: BDAT 0 LAST
        E: entity 0 from <a@a.example> to <b@b.example>: a\\r\\n
        C: BDAT 0 LAST
        T 0: 451 4.3.0 later
        S: 451 4.3.0 later
        S: 503 5.5.1 say MAIL first
        ",
    );
}

#[test]
fn binary_goes_by_bdat_only() {
    play(
        "
        C: MAIL FROM:<a@a.example> BODY=BINARYMIME
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: DATA
        S: 503 5.5.1 there is no recipient; say RCPT first
        C: RCPT TO:<b@b.example>
        E: rcpt <b@b.example>
        A: 250 2.1.5 ok
        S: 250 2.1.5 ok
        C: DATA
        S: 503 5.5.1 BODY=BINARYMIME goes by BDAT
        C: BDAT 3 LAST
        C- \\r\\r\\n
        E: entity 0 from <a@a.example> to <b@b.example>: \\r\\r\\n
        ",
    );
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
fn starttls() {
    play(
        "
        C: STARTTLS
        C: MAIL FROM:<injected@a.example>
        S: 220 2.0.0 begin TLS
        E: starttls
        ",
    );
}

#[test]
fn starttls_forgets_and_drops_what_was_injected() {
    let session = play(
        "
        C: MAIL FROM:<a@a.example>
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: STARTTLS
        S: 503 5.5.1 a transaction is open; say RSET first
        C- RSET\\r\\nSTARTTLS\\r\\nMAIL FROM:<injected@a.example>\\r\\nNOO
        E: starttls
        S: 250 2.0.0 reset
        S: 220 2.0.0 begin TLS
        C: MAIL FROM:<injected@a.example>
        TLS
        C: MAIL FROM:<a@a.example>
        S: 503 5.5.1 say EHLO first
        C: EHLO mx.a.example
        E: hello mx.a.example
        S: 250-mx.b.example
        S: 250-PIPELINING
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-SIZE 1000
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-DELIVERBY 5
        S: 250-REQUIRETLS
        S: 250-LIMITS RCPTMAX=3
        S: 250 IMPP IM PRES
        C: STARTTLS
        S: 503 5.5.1 TLS is active
        C: MAIL FROM:<a@a.example> REQUIRETLS
        E: mail <a@a.example>
        ",
    );
    assert!(!session.is_closing());
}

#[test]
fn starttls_waits_for_what_is_in_flight() {
    play_opened(
        "
        C: BDAT 2 LAST
        C- \\r\\n
        C: STARTTLS
        E: entity 0 from <a@a.example> to <b@b.example>: \\r\\n
        T 0: 250 2.0.0 queued
        E: starttls
        S: 250 2.0.0 queued
        S: 220 2.0.0 begin TLS
        ",
    );
}

#[test]
fn require_tls_only_with_tls() {
    play("C: MAIL FROM:<a@a.example> REQUIRETLS\nS: 555 5.5.4 parameter REQUIRETLS is not offered here");
}

#[test]
fn quit_waits_for_what_is_in_flight() {
    play_opened(
        "
        C: BDAT 2 LAST
        C- \\r\\n
        C: QUIT
        C: NOOP
        E: entity 0 from <a@a.example> to <b@b.example>: \\r\\n
        T 0: 250 2.0.0 queued
        E: close
        S: 250 2.0.0 queued
        S: 221 2.0.0 closing
        ",
    );
}

#[test]
fn deliver_by() {
    play(
        "
        C: MAIL FROM:<a@a.example> BY=4;R
        S: 555 5.5.4 BY with R must be 5 seconds or more
        C: MAIL FROM:<a@a.example> BY=0;R
        S: 501 5.5.4 write: BY=seconds;R or BY=seconds;N, T after it for a trace, with R more than 0 seconds
        C: MAIL FROM:<a@a.example> BY=-4;NT
        E: mail <a@a.example>
        ",
    );
}

#[test]
fn presence() {
    play(
        "
        C: MAIL FROM:<> IMPP=PRES
        S: 550 5.7.1 IMPP=PRES needs a sender
        C: MAIL FROM:<a@a.example> IMPP=PRES
        E: mail <a@a.example> PRES
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: RCPT TO:<b@b.example> NOTIFY=FAILURE
        S: 501 5.5.4 write: NOTIFY=NEVER with IMPP=PRES
        C: RCPT TO:<b@b.example> NOTIFY=NEVER
        E: rcpt <b@b.example>
        A: 250 2.1.5 ok
        S: 250 2.1.5 ok
        C: RCPT TO:<c@b.example>
        E: rcpt <c@b.example>
        ",
    );
    let only_im = Options { impp: Services { im: true, pres: false }, ..options() };
    play_with(
        only_im,
        "
        C: MAIL FROM:<a@a.example> IMPP=PRES
        S: 550 5.3.3 service PRES is not offered here
        C: MAIL FROM:<a@a.example> IMPP=IM
        E: mail <a@a.example> IM
        ",
    );
    let none = Options { impp: Services::default(), service: Service::Mail, ..options() };
    play_with(none, "C: MAIL FROM:<a@a.example> IMPP=IM\nS: 555 5.5.4 parameter IMPP is not offered here");
}

#[test]
fn presence_has_no_receipts_by_default() {
    let mut session = greeted(options());
    session.input(&mut BytesMut::from("MAIL FROM:<a@a.example> IMPP=PRES\r\nRCPT TO:<b@b.example>\r\n"));
    let Some(Event::Mail(mail)) = session.poll() else { panic!() };
    assert_eq!(mail.class, Some(Class::Pres));
    session.answer(reply("250 2.1.0 ok"));
    let Some(Event::Rcpt(rcpt)) = session.poll() else { panic!() };
    assert_eq!(rcpt.notify, Some(crate::envelope::Notify::NEVER));
}

#[test]
fn internationalised_addresses() {
    play(
        "
        C: MAIL FROM:<δ@a.example>
        S: 550 5.6.7 the sender's address needs the parameter SMTPUTF8
        C: MAIL FROM:<a@a.example>
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: RCPT TO:<δ@b.example>
        S: 553 5.6.7 the recipient's address needs the parameter SMTPUTF8 of MAIL
        C: RSET
        S: 250 2.0.0 reset
        C: MAIL FROM:<δ@a.example> SMTPUTF8
        E: mail <δ@a.example> utf8
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: RCPT TO:<δ@b.example>
        E: rcpt <δ@b.example>
        A: 250 2.1.5 ok
        S: 250 2.1.5 ok
        C: RCPT TO:<\\xff@b.example>
        S: 500 5.5.2 the command is not UTF-8
        C: EHLO δ.example
        S: 501 5.5.4 write: EHLO host.example
        ",
    );
}

#[test]
fn postmaster() {
    play(
        "
        C: MAIL FROM:<a@a.example>
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: RCPT TO:<postmaster>
        E: rcpt <Postmaster>
        ",
    );
    let postmaster = Some(Mailbox::parse("root@b.example").unwrap());
    play_with(
        Options { postmaster, ..options() },
        "
        C: MAIL FROM:<a@a.example>
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: RCPT TO:<postmaster>
        E: rcpt <root@b.example>
        ",
    );
}

#[test]
fn other_commands() {
    play(
        "
        C: VRFY alice
        S: 252 2.5.0 not verified; send the message and see
        C: EXPN list
        S: 502 5.5.1 EXPN is not implemented
        C: HELP
        S: 214-2.0.0 RSET MAIL RCPT BDAT DATA NOOP QUIT EHLO HELO STARTTLS VRFY EXPN HELP
        S: 214 2.0.0 see impart-protocol(7), RFC 5321
        C: RSET now
        S: 501 5.5.4 write: RSET
        C: TURN
        S: 500 5.5.1 command not recognised; HELP lists the commands
        ",
    );
}

#[test]
fn rset_and_ehlo_drop_the_transaction() {
    play_opened(
        "
        C: RSET
        S: 250 2.0.0 reset
        C: BDAT 0 LAST
        S: 503 5.5.1 say MAIL first
        ",
    );
    play_opened(
        "
        C: HELO mx.a.example
        E: hello mx.a.example without extensions
        S: 250 mx.b.example
        C: DATA
        S: 503 5.5.1 say MAIL first
        ",
    );
    play_opened(
        "
        C: EHLO wrong name
        S: 501 5.5.4 write: EHLO host.example
        C: DATA
        S: 354 send the message; end with CRLF.CRLF
        ",
    );
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
fn a_421_ends_the_session() {
    play(
        "
        C: MAIL FROM:<a@a.example>
        C: NOOP
        E: mail <a@a.example>
        A: 421 4.3.2 closing
        E: close
        S: 421 4.3.2 closing
        ",
    );
    let mut session = play_opened("C: BDAT 2 LAST\nC- \\r\\n\nE: entity 0 from <a@a.example> to <b@b.example>: \\r\\n");
    session.close(&reply("421 4.4.2 silent for too long"));
    session.close(&reply("421 4.4.2 twice"));
    play_in(session, "T 0: 250 2.0.0 queued\nE: close\nS: 250 2.0.0 queued\nS: 421 4.4.2 silent for too long");
}

#[test]
fn refused_sessions() {
    let refused = |text: &str| Session::refused(Arc::new(options()), &reply(text));
    play_in(refused("421 4.3.2 too many connections"), "E: close\nS: 421 4.3.2 too many connections");
    play_in(
        refused("554 5.7.1 not you"),
        "
        S: 554 5.7.1 not you
        C: EHLO mx.a.example
        S: 503 5.5.1 this connection was refused; say QUIT
        C: BDAT 6 LAST
        C- QUIT\\r\\n
        S: 503 5.5.1 this connection was refused; say QUIT
        C: QUIT
        S: 221 2.0.0 closing
        E: close
        ",
    );
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
