//! Something to read for every mail program: a text/plain part where the message has none.

use aws_lc_rs::digest;
use bytes::Bytes;
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use crate::mime::Fields;
use crate::mime::part::Part;

/// The entity, with a text before or beside its content where that has none.
pub(super) fn with_plain_text(entity: Bytes) -> Bytes {
    let Some(message) = MessageParser::new().parse(&entity[..]) else { return entity };
    if message.parts.iter().any(|part| matches!(part.body, PartType::Text(_))) {
        return entity;
    }
    let (kind, text) = match &message.parts[..] {
        [only] if let PartType::Html(html) = &only.body => {
            ("alternative", mail_parser::decoders::html::html_to_text(html))
        }
        _ => ("mixed", list(&message)),
    };
    let text: String = text.lines().map(|line| format!("{}\r\n", line.trim_end())).collect();
    let hash = digest::digest(&digest::SHA256, &entity);
    let boundary: String = hash.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    let mut fields = Fields::new(&entity);
    for field in fields.by_ref().flatten() {
        let content = field.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        let section = if content { &mut inner } else { &mut outer };
        if !field.is("mime-version") {
            section.extend_from_slice(&entity[field.range]);
        }
    }
    let plain = Part { media: "text/plain; charset=utf-8", cid: None, octets: text.as_bytes() }.write();
    let frame = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/{kind};\r\n boundary=\"={boundary}\"\r\n\r\n\
         --={boundary}\r\n{plain}\r\n--={boundary}\r\n"
    );
    let end = format!("\r\n--={boundary}--\r\n");
    Bytes::from([&outer, frame.as_bytes(), &inner, b"\r\n", &entity[fields.body()..], end.as_bytes()].concat())
}

/// What is in the message, by name.
fn list(message: &Message<'_>) -> String {
    let mut lines = vec!["This message has no text. It has:".to_owned()];
    for part in message.parts.iter().filter(|part| !matches!(part.body, PartType::Multipart(_))) {
        let media = part.content_type().map(|kind| match kind.subtype() {
            Some(subtype) => format!("{}/{subtype}", kind.ctype()),
            None => kind.ctype().to_owned(),
        });
        let media = media.unwrap_or_else(|| "something".to_owned());
        lines.push(match part.attachment_name() {
            Some(name) => format!("- {name} ({media})"),
            None => format!("- {media}"),
        });
    }
    lines.join("\n")
}
