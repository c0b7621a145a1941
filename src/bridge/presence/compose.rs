//! What is due to a watcher, as a mail.

use std::fmt::Write as _;

use bytes::Bytes;

use super::words::{paragraph, sentence};
use super::{Ending, LOCAL, Tokens};
use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::mime::part::Part;
use crate::pidf::{self, Document};
use crate::presence::{Contents, Mailing, Told};

/// Octets of the documents that go along.
const ATTACHED_OCTETS: usize = 512 * 1024;

/// What a mail is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is to be told.
    pub mailing: &'a Mailing,
    /// The mail domain at which the presence address is reached.
    pub bridge: &'a Domain,
    /// What tokens are made of.
    pub secret: &'a [u8; 32],
    /// Where it can be ended by one click, if anywhere.
    pub unsubscribe: Option<&'a str>,
}

/// The mail, and its envelope as that of a message: the bridge makes the mail's of it. `None`: the domain makes no address.
pub fn compose(facts: &Facts<'_>) -> Option<(Envelope, Bytes)> {
    let Mailing { watcher, domain, contents, now, entropy, .. } = facts.mailing;
    let from = Mailbox::new(LOCAL, domain.clone()).ok()?;
    let answers = Mailbox::new(LOCAL, facts.bridge.clone()).ok()?;
    let tokens = Tokens { secret: facts.secret, watcher, domain };
    let id = u128::from_be_bytes(*entropy);
    let written = match contents {
        Contents::Confirm(presentity) => confirm(presentity, &answers, &tokens.confirm(presentity, facts.mailing.now)),
        Contents::Told(told) => Written::of(told, &answers, &tokens, facts),
    };
    let mut mail = format!(
        "From: <{from}>\r\nTo: <{watcher}>\r\nReply-To: <{answers}>\r\nSubject: {}\r\nDate: {}\r\n\
         Message-ID: <presence.{id:032x}@{domain}>\r\nAuto-Submitted: {}\r\n{}MIME-Version: 1.0\r\n",
        written.subject,
        now.rfc5322(),
        if written.asked { "auto-replied" } else { "auto-generated" },
        written.fields,
    );
    let text = Part { media: "text/plain; charset=utf-8", cid: None, octets: written.text.as_bytes() }.write();
    if written.documents.is_empty() {
        mail.push_str(&text);
    } else {
        let _ =
            write!(mail, "Content-Type: multipart/mixed; boundary=\"={id:032x}\"\r\n\r\n--={id:032x}\r\n{text}\r\n");
        for (number, document) in written.documents.iter().enumerate() {
            let media = format!("{}; charset=utf-8; name=\"presence-{}.xml\"", pidf::MEDIA, number + 1);
            let part = Part { media: &media, cid: None, octets: document.as_bytes() }.write();
            let _ = write!(mail, "--={id:032x}\r\nContent-Disposition: attachment\r\n{part}\r\n");
        }
        let _ = write!(mail, "--={id:032x}--\r\n");
    }
    let notify = Some(Notify { success: false, failure: true, delay: false });
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Mailbox(from),
        body: Body::SevenBit,
        utf8: !mail.is_ascii(),
        ret: None,
        envid: Some(format!("{id:032x}")),
        deliver_by: None,
        require_tls: false,
        recipients: vec![Recipient { address: watcher.clone(), notify, original: None }],
    };
    Some((envelope, Bytes::from(mail)))
}

#[derive(Default)]
struct Written {
    subject: String,
    fields: String,
    text: String,
    documents: Vec<String>,
    asked: bool,
}

/// Whether it was the watcher who asked.
fn confirm(presentity: &Mailbox, answers: &Mailbox, token: &str) -> Written {
    let command = format!("confirm {presentity} {token}");
    let text = format!(
        "Somebody, we think you, has asked {answers} to tell this address of the presence\r\n\
         of {presentity}.\r\n\r\n\
         If you want that, answer this mail and leave its subject as it is:\r\n  {command}\r\n\
         The answer is good for two days.\r\n\r\n\
         If you do not, do nothing; you will hear no more of it.\r\n"
    );
    Written { subject: command, text, asked: true, ..Written::default() }
}

impl Written {
    fn of(all: &[Told], answers: &Mailbox, tokens: &Tokens<'_>, facts: &Facts<'_>) -> Written {
        let mailing = facts.mailing;
        let mut written = Written { asked: all.iter().all(|told| told.once), ..Written::default() };
        let (mut octets, mut lasts) = (0, None);
        for (number, told) in all.iter().enumerate() {
            let document = told.view.as_deref().and_then(|text| Document::parse(text).ok());
            if number == 0 {
                written.subject = sentence(told, document.as_ref());
            } else {
                written.text.push_str("\r\n");
            }
            written.text.push_str(&paragraph(told, document.as_ref(), mailing.now));
            octets += told.view.as_ref().map_or(0, String::len);
            // What has no room is in the words.
            if let Some(view) = told.view.as_ref().filter(|_| octets <= ATTACHED_OCTETS) {
                written.documents.push(view.lines().map(|line| format!("{line}\r\n")).collect());
            }
            let over = told.once || matches!(told.state, crate::presence::State::Terminated(_));
            lasts = lasts.max((!over).then_some(told.expires));
        }
        if all.len() > 1 {
            let _ = write!(written.subject, ", and {} more", all.len() - 1);
        }
        if let Some(lasts) = lasts {
            let only = match all {
                [told] => Some(&told.presentity),
                _ => None,
            };
            let whom = only.map_or("all".to_owned(), Mailbox::to_string);
            let command = format!("unsubscribe {whom} {}", tokens.end(only));
            let _ = write!(
                written.text,
                "\r\nYou have asked to be told this; it ends on {}.\r\n\
                 To end it now, write to {answers} with this subject:\r\n  {command}\r\n",
                lasts.rfc5322()
            );
            let mail = format!("<mailto:{}?subject={}>", encoded(&answers.to_string(), true), encoded(&command, false));
            let _ = match facts.unsubscribe {
                Some(url) => {
                    let ending = Ending {
                        watcher: tokens.watcher.clone(),
                        domain: tokens.domain.clone(),
                        presentity: only.cloned(),
                        token: tokens.end(only),
                    };
                    write!(
                        written.fields,
                        "List-Unsubscribe: <{}>,\r\n {mail}\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
                        ending.url(url)
                    )
                }
                None => write!(written.fields, "List-Unsubscribe: {mail}\r\n"),
            };
        }
        written
    }
}

/// As a part of a mailto URI (RFC 6068 §2).
pub(super) fn encoded(text: &str, address: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(octet)),
            b'@' if address => out.push('@'),
            _ => _ = write!(out, "%{octet:02X}"),
        }
    }
    out
}
