//! What a receipt takes from the message that it is about.

use crate::mime::{Fields, language, unfold};

/// Octets of the header that come back; fields beyond are left out.
const HEADER: usize = 64 * 1024;
/// Octets of a Message-ID that is referred to.
const MESSAGE_ID: usize = 250;

/// The message that a receipt is about.
#[derive(Debug)]
pub(super) struct Original<'a> {
    /// All of it.
    pub entity: &'a [u8],
    /// Its header section without the empty line, in whole fields.
    pub header: &'a [u8],
    /// Its Message-ID, if it is of a kind that can be referred to.
    pub message_id: Option<String>,
    /// The language in which its author wants to be answered.
    pub language: Option<String>,
}

impl<'a> Original<'a> {
    /// Reads an entity that has passed inspection.
    pub fn read(entity: &'a [u8]) -> Original<'a> {
        let mut fields = Fields::new(entity);
        let (mut end, mut message_id) = (0, None);
        while let Some(item) = fields.next() {
            if fields.offset() > HEADER {
                break;
            }
            end = fields.offset();
            if let Ok(field) = item
                && field.is("message-id")
            {
                message_id = Some(unfold(field.value).into_owned()).filter(|id| can_be_referred_to(id));
            }
        }
        Original { entity, header: &entity[..end], message_id, language: language(entity) }
    }
}

/// As RFC 5322 §3.6.4 writes it, so that it can stand in a field of ours.
fn can_be_referred_to(id: &str) -> bool {
    let inner = id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    inner.is_some_and(|inner| {
        !inner.is_empty()
            && id.len() <= MESSAGE_ID
            && inner.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken() {
        let check = |entity: &str, header: &str, id: Option<&str>| {
            let original = Original::read(entity.as_bytes());
            assert_eq!(original.header, header.as_bytes());
            assert_eq!(original.message_id.as_deref(), id);
        };
        check("A: b\r\nMessage-ID: <x@y>\r\n\r\nMessage-ID: no\r\n", "A: b\r\nMessage-ID: <x@y>\r\n", Some("<x@y>"));
        check("Message-ID: <x y>\r\n\r\n", "Message-ID: <x y>\r\n", None);
        check("Message-ID: <x>\t<y>\r\n\r\n", "Message-ID: <x>\t<y>\r\n", None);
        check("Message-ID: x\r\n", "Message-ID: x\r\n", None);
        check("\r\nbody", "", None);
        let long = format!("A: b\r\nB:{}\r\n\r\n", "\r\n c".repeat(20_000));
        check(&long, "A: b\r\n", None);
    }
}
