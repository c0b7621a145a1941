//! A report of the mail world about a message of ours, as a receipt.
//!
//! In: a delivery status notification that came to a bounce address. Out: the receipt that the sender of the message gets, or
//! `None` where it is about no message of ours. Invariants: only who was sent the message knows the address, whose token is
//! made of the sender, the identifier of the envelope and the one recipient, and nothing is told of another; what succeeded
//! is never told as a failure. The same report
//! becomes the same receipt. RFC 3464 §2, RFC 3461 §6, RFC 6522 §3.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::outward;
use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient, Ret};
use crate::limits;
use crate::mime::report;
use crate::mime::{self, Fields, part, unfold};
use crate::receipt::{self, About};
use crate::spool::{NewMessage, QueueId};
use crate::timestamp::Timestamp;

/// How the local part of a bounce address begins.
const BOUNCE: &str = "bounce+";
/// Octets of a token.
const TOKEN_OCTETS: usize = 16;

/// The token of a bounce address, where the local part is that of one.
pub fn token(local: &str) -> Option<&str> {
    let (start, token) = local.split_at_checked(BOUNCE.len())?;
    let proper = token.len() == 2 * TOKEN_OCTETS && token.bytes().all(|b| b.is_ascii_hexdigit());
    (start.eq_ignore_ascii_case(BOUNCE) && proper).then_some(token)
}

/// What stands around a receipt.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The name of this server.
    pub host: &'a Domain,
    /// Now.
    pub now: Timestamp,
    /// When the receipt fails if it has not been delivered.
    pub expires: Timestamp,
    /// The identifier of the report in the spool.
    pub id: QueueId,
}

/// A report about a message of ours.
#[derive(Debug)]
pub struct Read<'a> {
    /// The report.
    mail: &'a [u8],
    /// The header of the message.
    header: &'a [u8],
    envid: Option<String>,
    /// When the message arrived at who reports.
    arrived: Option<Timestamp>,
    told: report::Recipient,
    /// Who sent the message.
    pub sender: Mailbox,
    /// Which recipient it is about, as the sender wrote it.
    pub recipient: Mailbox,
}

/// Reads a report; `None` where the message was none of ours, or what is reported is about none of its recipients.
pub fn read<'a>(mail: &'a [u8], token: &str, secret: &[u8; 32]) -> Option<Read<'a>> {
    let report = report::parse(mail).ok()?;
    let header = returned(mail)?;
    let Named { sender, envid, others } = named(header)?;
    let envid = report.envid.clone().or(envid);
    let token = token.to_ascii_lowercase();
    let proper = |envid: Option<&str>, recipient: &Mailbox| {
        let expected = outward::token(secret, &sender, envid, recipient);
        verify_slices_are_equal(expected.as_bytes(), token.as_bytes()).is_ok()
    };
    let bound =
        |recipient: &Mailbox| proper(envid.as_deref(), recipient) || (envid.is_some() && proper(None, recipient));
    let of = |told: &report::Recipient| {
        let named = told.original.iter().chain(Some(&told.final_recipient));
        named.filter_map(|named| Mailbox::parse(&named.address).ok()).find(&bound)
    };
    let found = report.recipients.iter().find_map(|told| Some((told.clone(), of(told)?)));
    // Where the address was rewritten on its way, and nobody kept the original, the message has it.
    let rewritten = || match &report.recipients[..] {
        [only] => others.into_iter().find(&bound).map(|recipient| (only.clone(), recipient)),
        _ => None,
    };
    let (told, recipient) = found.or_else(rewritten)?;
    Some(Read { mail, header, envid, arrived: report.arrived, told, sender, recipient })
}

impl Read<'_> {
    /// Whether the message did not come to its recipient, and never will.
    pub fn is_failure(&self) -> bool {
        self.told.action == report::Action::Failed
    }
}

/// The receipt that a report is.
pub fn receipt(read: &Read<'_>, around: &Circumstances<'_>) -> Option<NewMessage> {
    let Read { mail, header, envid, sender, told, .. } = read;
    let notify = Some(Notify { success: true, failure: true, delay: true });
    let recipient = Recipient { address: read.recipient.clone(), notify, original: told.original.clone() };
    let about = About {
        remote: told.remote.clone(),
        retry_until: told.retry_until,
        ..About::new(0, told.action, told.status, told.diagnostic.as_ref().map_or("", |said| &said.text))
    };
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Mailbox(sender.clone()),
        body: Body::EightBitMime,
        utf8: !sender.is_ascii(),
        ret: Some(Ret::Hdrs),
        envid: envid.clone(),
        deliver_by: None,
        require_tls: false,
        recipients: vec![recipient],
    };
    // By this a report that comes again is known: what is written about it names the time.
    let digest = mime::digest(mail);
    let mut entropy = [0; 16];
    entropy.copy_from_slice(&digest[..16]);
    let receipt = receipt::receipt(&receipt::Facts {
        reporting: around.host,
        from_domain: sender.domain(),
        envelope: &envelope,
        arrived: read.arrived.unwrap_or(around.now),
        now: around.now,
        expires: around.expires,
        entity: header,
        id: around.id,
        message_id_entropy: entropy,
        recipients: &[about],
    })?;
    Some(NewMessage { digest, ..receipt })
}

/// The header of the message that came back with a report, or all of it.
fn returned(mail: &[u8]) -> Option<&[u8]> {
    part::parts(mail)?.into_iter().find_map(|part| {
        let described = mime::signed::describe(part).ok()?;
        let is = |top, subtype| described.is(top, subtype);
        let comes_back = is("text", "rfc822-headers")
            || is("message", "rfc822")
            || is("message", "global")
            || is("message", "global-headers");
        (comes_back && matches!(described.encoding().as_str(), "7bit" | "8bit")).then_some(described.body)
    })
}

/// Whom the header of a message names.
struct Named {
    /// The author, who was the sender of the envelope too.
    sender: Mailbox,
    /// The identifier of the envelope as the bridge wrote it.
    envid: Option<String>,
    /// To whom it says that it goes.
    others: Vec<Mailbox>,
}

fn named(header: &[u8]) -> Option<Named> {
    let (mut from, mut others, mut envid) = (Vec::new(), Vec::new(), None);
    for field in Fields::new(header).flatten() {
        if field.is("From") {
            from = mime::mailboxes(field.value).ok()?;
        } else if field.is("To") || field.is("Cc") {
            others.extend(mime::recipients(field.value).unwrap_or_default());
        } else if field.is(outward::TRACE) {
            let value = unfold(field.value).into_owned();
            let parameter = value.split(';').find_map(|word| word.trim().strip_prefix("envid="));
            envid = envid.or_else(|| parameter.and_then(|text| crate::smtp::xtext::decode(text).ok()));
        }
    }
    others.truncate(limits::RECIPIENTS);
    match &from[..] {
        [from] => Some(Named { sender: from.clone(), envid, others }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::report::{Action, Report};

    const SECRET: [u8; 32] = [7; 32];

    fn alice() -> Mailbox {
        Mailbox::parse("alice@a.example").unwrap()
    }

    fn made(envid: Option<&str>, recipient: &str) -> String {
        outward::token(&SECRET, &alice(), envid, &Mailbox::parse(recipient).unwrap())
    }

    fn report(action: &str, status: &str, envid: &str, header: &str) -> String {
        format!(
            "From: MAILER-DAEMON@mx.b.example\r\nTo: bounce+x@a.example\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n--b\r\n\
             Content-Type: message/delivery-status\r\n\r\n{envid}Reporting-MTA: dns; mx.b.example\r\n\r\n\
             Original-Recipient: rfc822; bob@b.example\r\nFinal-Recipient: rfc822; bob7@store.b.example\r\n\
             Action: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; said so\r\n\r\n--b\r\n\
             Content-Type: text/rfc822-headers\r\n\r\n{header}\r\n--b--\r\n"
        )
    }

    fn told(mail: &str, token: &str) -> Option<Report> {
        let host = Domain::parse("mx.a.example").unwrap();
        let now = Timestamp::from_secs(1_795_000_000);
        let around = Circumstances { host: &host, now, expires: now, id: QueueId(1) };
        let message = receipt(&read(mail.as_bytes(), token, &SECRET)?, &around)?;
        assert_eq!(message.envelope.sender, ReversePath::Null);
        assert_eq!(message.envelope.recipients[0].address, alice());
        Some(report::parse(&message.entity).unwrap())
    }

    const HEADER: &str = "Impart-Bridge: a.example; out; id=1; envid=e+2B1\r\nFrom: Alice <alice@a.example>\r\n\
        Message-ID: <1@a.example>\r\n";

    #[test]
    fn what_became_of_it_is_told() {
        let token = made(Some("e+1"), "bob@b.example");
        for (word, action) in
            [("delivered", Action::Delivered), ("failed", Action::Failed), ("delayed", Action::Delayed)]
        {
            let status = if action == Action::Failed { "5.2.2" } else { "2.1.5" };
            let told = told(&report(word, status, "Original-Envelope-Id: e+1\r\n", HEADER), &token).unwrap();
            assert_eq!((told.recipients[0].action, told.envid.as_deref()), (action, Some("e+1")));
            assert_eq!(told.recipients[0].final_recipient.address, "bob@b.example");
            assert_eq!(told.recipients[0].status.to_string(), status);
        }
        // Who does not know ENVID returns the header all the same.
        let told = told(&report("relayed", "2.0.0", "", HEADER), &token).unwrap();
        assert_eq!((told.recipients[0].action, told.envid.as_deref()), (Action::Relayed, Some("e+1")));
    }

    #[test]
    fn what_was_never_ours_is_not() {
        let token = made(Some("e+1"), "bob@b.example");
        let failed = |header: &str| report("failed", "5.1.1", "Original-Envelope-Id: e+1\r\n", header);
        assert!(told(&failed(HEADER), &token).is_some());
        assert!(told(&failed(HEADER), &made(Some("e2"), "bob@b.example")).is_none());
        assert!(told(&failed("From: carol@a.example\r\n"), &token).is_none());
        assert!(told(&failed("Subject: no author\r\n"), &token).is_none());
        assert!(told("From: x@b.example\r\n\r\nnot delivered\r\n", &token).is_none());
    }

    #[test]
    fn nobody_reports_about_another() {
        let bobs = made(Some("e+1"), "bob@b.example");
        let failed = |header: &str| report("failed", "5.1.1", "Original-Envelope-Id: e+1\r\n", header);
        let about = |mail: &str, whom: &str| mail.replace("rfc822; bob@b.example", &format!("rfc822; {whom}"));
        let all = failed(&format!("{HEADER}To: bob@b.example\r\nCc: carol@b.example\r\n"));
        assert!(told(&all, &made(Some("e+1"), "carol@b.example")).is_some(), "rewritten, but it was for carol");
        let carol = about(&failed(HEADER), "carol@b.example");
        assert!(told(&carol, &bobs).is_none(), "bob knows his own address for reports alone");
        assert!(told(&carol, &made(Some("e+1"), "carol@b.example")).is_some());
        // One block about him, one about her: his alone counts.
        let block = "Final-Recipient: rfc822; carol@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n";
        let both = failed(HEADER).replacen("Original-Recipient", &format!("{block}Original-Recipient"), 1);
        let told = told(&both, &bobs).unwrap();
        let names: Vec<_> = told.recipients.iter().map(|one| one.final_recipient.address.as_str()).collect();
        assert_eq!(names, ["bob@b.example"]);
        // Its address was rewritten, and only the message itself tells.
        let lost = about(&all, "bob7@store.b.example");
        let told = super::tests::told(&lost, &bobs).unwrap();
        assert_eq!(told.recipients[0].final_recipient.address, "bob@b.example");
    }

    #[test]
    fn tokens() {
        let made = made(None, "bob@b.example");
        assert_eq!(token(&format!("bounce+{made}")), Some(made.as_str()));
        assert_eq!(token(&format!("BOUNCE+{made}")), Some(made.as_str()));
        assert_eq!(token("bounce+1"), None);
        assert_eq!(token("alice"), None);
        assert_eq!(token("bouncé+"), None);
    }
}
