//! What a client may do.

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
    let mail = Options { service: Service::Mail, ..options() };
    play_with(mail, "C: MAIL FROM:<a@a.example> IMPP=PRES\nS: 550 5.3.3 service PRES is not offered here");
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
        S: 214-2.0.0 RSET MAIL RCPT BDAT DATA NOOP QUIT EHLO HELO STARTTLS AUTH ATRN VRFY EXPN HELP
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
