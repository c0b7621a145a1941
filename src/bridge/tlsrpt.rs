//! A report of what became of TLS at a domain's mail exchangers, as a mail (RFC 8460 §5.3).
//!
//! In: the report, who it is for. Out: an entity, and its envelope. Invariants: nobody answers it, and no report is made of what
//! becomes of it: its sender is null; the same report has the same name always, so that a second copy is known.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::mime::part::Part;
use crate::route::tlsrpt::{self, Reporter};
use crate::timestamp::Timestamp;

/// What a mail is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who reports.
    pub reporter: Reporter<'a>,
    /// The report.
    pub report: &'a Value,
    /// The day, since 1970.
    pub day: u64,
    /// About which domain.
    pub domain: &'a Domain,
    /// To whom.
    pub to: &'a Mailbox,
    /// The time.
    pub now: Timestamp,
}

/// A report as a mail.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// The entity.
    pub entity: Bytes,
    /// Its Message-ID, without angle brackets.
    pub message_id: String,
}

/// The mail. `None` where memory cannot be written to.
pub fn compose(facts: &Facts<'_>) -> Option<Mail> {
    let Facts { reporter: Reporter { host, contact }, report, day, domain, to, now } = *facts;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(report.to_string().as_bytes()).ok()?;
    let packed = packed.finish().ok()?;
    let (id, (from, until)) = (tlsrpt::id(host, day, domain), tlsrpt::span(day));
    let message_id = format!("tls-report.{id}");
    let boundary = format!("=tls-report-{day}");
    let words = format!(
        "What became of TLS at the mail exchangers of {domain}, as seen by {host} on {}, is in the attached file\r\n\
         (RFC 8460). Nobody reads answers to this mail; {contact} does.\r\n",
        from.rfc3339().chars().take(10).collect::<String>(),
    );
    let name = format!("{host}!{domain}!{}!{}!001.json.gz", from.secs(), until.secs());
    let media = format!("application/tlsrpt+gzip; name=\"{name}\"");
    let mut mail = format!(
        "From: <{contact}>\r\nTo: <{to}>\r\nSubject: Report Domain: {domain}\r\n Submitter: {host}\r\n Report-ID: <{id}>\r\n\
         Date: {}\r\nMessage-ID: <{message_id}>\r\nTLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {host}\r\n\
         Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n",
        now.rfc5322(),
    );
    let text = Part { media: "text/plain; charset=us-ascii", cid: None, octets: words.as_bytes() }.write();
    let file = Part { media: &media, cid: None, octets: &packed }.write();
    let _ = write!(
        mail,
        "--{boundary}\r\n{text}\r\n--{boundary}\r\nContent-Disposition: attachment;\r\n filename=\"{name}\"\r\n{file}\r\n\
         --{boundary}--\r\n"
    );
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Null,
        body: Body::SevenBit,
        utf8: !mail.is_ascii(),
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: vec![Recipient { address: to.clone(), notify: Some(Notify::NEVER), original: None }],
    };
    Some(Mail { envelope: Arc::new(envelope), entity: Bytes::from(mail), message_id })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use mail_parser::{MessageParser, MimeHeaders as _};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read_back() {
        let (host, domain) = (Domain::parse("mx.a.example").unwrap(), Domain::parse("b.example").unwrap());
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        let (contact, to) = (mailbox("postmaster@a.example"), mailbox("reports@b.example"));
        let (report, now) = (json!({ "report-id": "x" }), Timestamp::from_secs(1_795_046_400));
        let reporter = Reporter { host: &host, contact: &contact };
        let facts = Facts { reporter, report: &report, day: 20_776, domain: &domain, to: &to, now };
        let mail = compose(&facts).unwrap();
        let message = MessageParser::default().parse(&mail.entity).unwrap();
        let expected =
            "Report Domain: b.example Submitter: mx.a.example Report-ID: <2026-11-19_b.example@mx.a.example>";
        assert_eq!(message.subject(), Some(expected));
        assert_eq!(message.message_id(), Some(mail.message_id.as_str()));
        let kind = message.content_type().unwrap();
        assert_eq!(
            (kind.ctype(), kind.subtype(), kind.attribute("report-type")),
            ("multipart", Some("report"), Some("tlsrpt"))
        );
        let file = message.attachments().find(|part| part.is_content_type("application", "tlsrpt+gzip")).unwrap();
        // RFC 8460 §5.1.
        assert_eq!(file.attachment_name(), Some("mx.a.example!b.example!1795046400!1795132799!001.json.gz"));
        let mut text = String::new();
        GzDecoder::new(file.contents()).read_to_string(&mut text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), report);
        assert_eq!(mail.envelope.sender, ReversePath::Null);
        assert_eq!(compose(&facts).unwrap().entity, mail.entity);
        let rules = crate::mime::Rules { body: Body::SevenBit, utf8: false };
        assert!(crate::mime::inspect(&mail.entity, rules).is_ok());
    }
}
