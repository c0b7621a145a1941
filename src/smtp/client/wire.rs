//! The octets of MAIL, RCPT and of a text under way by DATA.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::Transaction;
use super::fitness::Parameters;
use crate::envelope::{ByMode, Notify, Recipient, Ret};
use crate::smtp::xtext;

/// MAIL with its parameters (RFC 5321 §4.1.1.2). Writing into a growing buffer does not fail.
pub(super) fn mail(out: &mut BytesMut, message: &Transaction, parameters: &Parameters) {
    let envelope = &*message.envelope;
    let _ = write!(out, "MAIL FROM:<{}>", envelope.sender);
    if let Some(body) = parameters.body {
        let _ = write!(out, " BODY={body}");
    }
    if parameters.utf8 {
        out.put_slice(b" SMTPUTF8");
    }
    if let Some(size) = parameters.size {
        let _ = write!(out, " SIZE={size}");
    }
    if parameters.dsn {
        match envelope.ret {
            Some(Ret::Full) => out.put_slice(b" RET=FULL"),
            Some(Ret::Hdrs) => out.put_slice(b" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &envelope.envid {
            out.put_slice(b" ENVID=");
            xtext::encode(envid, out);
        }
    }
    if let (Some(by), Some(deliver_by)) = (parameters.by, envelope.deliver_by) {
        let mode = if deliver_by.mode == ByMode::Return { 'R' } else { 'N' };
        let _ = write!(out, " BY={by};{mode}{}", if deliver_by.trace { "T" } else { "" });
    }
    if parameters.require_tls {
        out.put_slice(b" REQUIRETLS");
    }
    if parameters.pres {
        out.put_slice(b" IMPP=PRES");
    }
    out.put_slice(b"\r\n");
}

/// RCPT with its parameters (RFC 5321 §4.1.1.3, RFC 3461 §4.1, §4.2).
pub(super) fn rcpt(out: &mut BytesMut, recipient: &Recipient, parameters: &Parameters) {
    let _ = write!(out, "RCPT TO:<{}>", recipient.address);
    if parameters.dsn {
        if let Some(notify) = notify(recipient.notify, parameters.add_delay) {
            let _ = write!(out, " NOTIFY={}", notify.keyword());
        }
        if let Some(original) = &recipient.original {
            out.put_slice(b" ORCPT=");
            xtext::encode_original(original, parameters.utf8, out);
        }
    }
    out.put_slice(b"\r\n");
}

/// NOTIFY as it is relayed; DELAY is added for a hop that does not know the time to deliver by (RFC 2852 §4.1.4.2).
fn notify(notify: Option<Notify>, add_delay: bool) -> Option<Notify> {
    match notify {
        None if add_delay => Some(Notify::DEFAULT),
        Some(notify) if add_delay && notify != Notify::NEVER => Some(Notify { delay: true, ..notify }),
        notify => notify,
    }
}

/// Appends text with dots doubled at the start of lines (RFC 5321 §4.5.2). `line_start` is carried from piece to piece.
pub(super) fn stuff(out: &mut BytesMut, text: &[u8], line_start: &mut bool) {
    let mut copied = 0;
    if *line_start && text.first() == Some(&b'.') {
        out.put_u8(b'.');
    }
    for (at, pair) in text.windows(2).enumerate() {
        if pair == b"\n." {
            out.put_slice(&text[copied..=at]);
            out.put_u8(b'.');
            copied = at + 1;
        }
    }
    out.put_slice(&text[copied..]);
    if let Some(last) = text.last() {
        *line_start = *last == b'\n';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        for cut in 0..=text.len() {
            let mut out = BytesMut::new();
            let mut line_start = true;
            stuff(&mut out, &text.as_bytes()[..cut], &mut line_start);
            stuff(&mut out, &text.as_bytes()[cut..], &mut line_start);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text:?} cut at {cut}");
        }
    }

    #[test]
    fn dots() {
        check("", "");
        check(".", "..");
        check("a.b\r\n", "a.b\r\n");
        check(".a\r\n.\r\n..\r\n", "..a\r\n..\r\n...\r\n");
        check("a\r\n.b", "a\r\n..b");
    }

    proptest! {
        #[test]
        fn no_line_is_a_lone_dot_and_nothing_is_lost(text in "[.a\r\n]{0,40}") {
            let mut out = BytesMut::new();
            stuff(&mut out, text.as_bytes(), &mut true);
            let out = String::from_utf8(out.to_vec()).unwrap();
            let mut back = Vec::new();
            for line in out.split_inclusive('\n') {
                prop_assert_ne!(line, ".\r\n");
                prop_assert_ne!(line, ".\n");
                back.push(line.strip_prefix('.').unwrap_or(line));
            }
            prop_assert_eq!(back.concat(), text);
        }
    }

    #[test]
    fn delay_is_added_for_a_hop_that_does_not_know_the_time() {
        let success = Notify { success: true, ..Notify::NEVER };
        assert_eq!(notify(None, false), None);
        assert_eq!(notify(None, true), Some(Notify::DEFAULT));
        assert_eq!(notify(Some(Notify::NEVER), true), Some(Notify::NEVER));
        assert_eq!(notify(Some(success), true), Some(Notify { delay: true, ..success }));
        assert_eq!(notify(Some(success), false), Some(success));
    }
}
