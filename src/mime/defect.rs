//! What is wrong with an entity, and the reply that says so.

use crate::limits;
use crate::reply::{EnhancedCode, Reply};

/// Why an entity is refused; its text names the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// RFC 5322 §2.2.
    #[error("a line of the header is not a field; write \"Name: value\", and an empty line before the text")]
    NotAField,
    /// More than [`limits::HEADER_OCTETS`], of the entity or of one of its parts.
    #[error("a header is larger than {} octets; send less of it", limits::HEADER_OCTETS)]
    HeaderTooLarge,
    /// More than [`limits::HEADER_FIELDS`], of the entity or of one of its parts.
    #[error("a header has more than {} fields; send fewer", limits::HEADER_FIELDS)]
    TooManyFields,
    /// RFC 6532 §3.
    #[error("the header has octets that are not UTF-8; encode them by RFC 2047, or write UTF-8")]
    HeaderNotUtf8,
    /// UTF-8 in a header without SMTPUTF8 (RFC 6531 §3.2).
    #[error("the header has UTF-8 characters; add SMTPUTF8 to MAIL FROM, or encode them by RFC 2047")]
    HeaderNeedsUtf8,
    /// RFC 5322 §3.6.
    #[error("the header has no From field; add one with your address")]
    NoFrom,
    /// RFC 5322 §3.6.
    #[error("the header has more than one From field; leave one")]
    SeveralFrom,
    /// RFC 5322 §3.6.2.
    #[error(
        "the From field cannot be read; write \"Name\" <user@domain>, the name in quotes if it has an @ or a comma"
    )]
    FromSyntax,
    /// RFC 6854 is not taken up: a group names no author.
    #[error("the From field has a group; write the address of the author")]
    FromGroup,
    /// More than fifty.
    #[error("the From field has too many addresses; write the address of one author")]
    FromTooMany,
    /// A field that may stand once stands twice (RFC 5322 §3.6, RFC 2045 §3).
    #[error("the header has more than one {0} field; leave one")]
    Repeated(&'static str),
    /// Empty, or longer than a line.
    #[error("the Message-ID field is empty or too long; write <unique@domain>, or leave it out")]
    MessageId,
    /// RFC 5321 §2.3.8.
    #[error("the entity has a CR without LF; end lines with CRLF, or send it with BODY=BINARYMIME")]
    BareCr,
    /// RFC 5321 §2.3.8.
    #[error("the entity has a LF without CR; end lines with CRLF, or send it with BODY=BINARYMIME")]
    BareLf,
    /// RFC 2045 §2.7 and §2.8.
    #[error("the entity has a NUL octet; encode the part by base64, or send it with BODY=BINARYMIME")]
    Nul,
    /// RFC 5321 §4.5.3.1.6.
    #[error("the entity has a line of more than 998 octets; encode the part by quoted-printable or base64")]
    LongLine,
    /// RFC 6152 §3.
    #[error("the body has octets that are not US-ASCII; add BODY=8BITMIME to MAIL FROM, or encode the part")]
    NeedsEightBit,
    /// RFC 2046 §5.1.1.
    #[error("a multipart has no boundary parameter; add one")]
    NoBoundary,
    /// RFC 2046 §5.1.1.
    #[error("the boundary of a multipart is longer than 70 characters; choose a shorter one")]
    LongBoundary,
    /// Readers would differ on which one counts.
    #[error("a Content-Type field has more than one boundary parameter, or one in pieces; write one")]
    SeveralBoundaries,
    /// Deeper than [`limits::MIME_DEPTH`].
    #[error("the parts of the entity are nested deeper than {} levels; nest them less", limits::MIME_DEPTH)]
    TooDeep,
    /// More than [`limits::MIME_PARTS`].
    #[error("the entity has more than {} parts; send several messages", limits::MIME_PARTS)]
    TooManyParts,
}

impl Defect {
    /// The enhanced code (RFC 3463 §3.7, RFC 6531 §3.5).
    pub fn status(self) -> EnhancedCode {
        let detail = match self {
            Defect::HeaderNeedsUtf8 => 9,
            Defect::NeedsEightBit | Defect::Nul => 1,
            _ => 0,
        };
        EnhancedCode::new(5, 6, detail)
    }

    /// The reply to the transaction.
    pub fn reply(self) -> Reply {
        Reply::new(554, self.status(), self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_name_the_remedy() {
        let reply = Defect::SeveralFrom.reply();
        assert_eq!(reply.to_string(), "554 5.6.0 the header has more than one From field; leave one");
        assert_eq!(Defect::NeedsEightBit.reply().enhanced(), Some(EnhancedCode::new(5, 6, 1)));
        assert_eq!(Defect::HeaderNeedsUtf8.reply().enhanced(), Some(EnhancedCode::new(5, 6, 9)));
    }
}
