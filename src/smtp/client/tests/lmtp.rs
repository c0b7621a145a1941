//! Plays with a mail store (RFC 2033).

use super::*;

const STORE: &str = "S: 220 store\nC: LHLO a.example\nS: 250-store\nS: 250 PIPELINING\n";

#[test]
fn a_mail_store_answers_for_each_recipient() {
    let lmtp = || Options { lmtp: true, ..options() };
    let asked = "C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: RCPT TO:<no@b.example>\n\
                 C: RCPT TO:<full@b.example>\nC: RCPT TO:<last@b.example>\nC: DATA\nS: 250 ok\nS: 250 ok\n\
                 S: 550 5.1.1 who\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: hi\nC: .\n";
    let all = || [message(1, &["bob", "no", "full", "last"], "hi\r\n")];
    check_with(
        lmtp(),
        Protection::Clear,
        &all(),
        &format!("{STORE}{asked}S: 250 2.0.0 stored\nS: 552 5.2.2 full\nS: 250 2.0.0 too\nQUIT\nC: QUIT\nS: 221 bye"),
        &[
            "1.0 relayed 250 2.0.0 stored",
            "1.1 refused 550 5.1.1 who",
            "1.2 refused 552 5.2.2 full",
            "1.3 relayed 250 2.0.0 too",
            "over",
        ],
    );
    // What was answered counts; what was not may be there.
    check_with(
        lmtp(),
        Protection::Clear,
        &all(),
        &format!("{STORE}{asked}S: 250 2.0.0 stored\nLOST"),
        &[
            "1.0 relayed 250 2.0.0 stored",
            "1.1 refused 550 5.1.1 who",
            "1.2 uncertain",
            "1.3 uncertain",
            "over: the connection was lost: reset",
        ],
    );
    let refused = "C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: RCPT TO:<too@b.example>\nC: DATA\n\
                   S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 451 4.3.0 not now\n";
    check_with(
        lmtp(),
        Protection::Clear,
        &[message(1, &["bob", "too"], "hi\r\n")],
        &format!("{STORE}{refused}QUIT\nC: QUIT\nS: 221 bye"),
        &["1.0 refused 451 4.3.0 not now", "1.1 refused 451 4.3.0 not now", "over"],
    );
    let chunked = "S: 220 store\nC: LHLO a.example\nS: 250-store\nS: 250-CHUNKING\nS: 250 PIPELINING\n\
                   C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: RCPT TO:<too@b.example>\nS: 250 ok\n\
                   S: 250 ok\nS: 250 ok\nC: BDAT 4 LAST\nC: hi\nS: 250 one\nS: 452 4.2.2 full";
    check_with(
        lmtp(),
        Protection::Clear,
        &[message(1, &["bob", "too"], "hi\r\n")],
        chunked,
        &["1.0 relayed 250 one", "1.1 refused 452 4.2.2 full"],
    );
}
