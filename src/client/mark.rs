//! How a message was protected, and what that proves, in words. Pure.
//!
//! In: a verdict. Out: a [`Mark`], which is kept with the message, and words for people. Invariant: what is not proven is
//! never called signed; a text of others cannot look like a mark, since each stands where no text of others does.

use serde::{Deserialize, Serialize};

use super::clean;

/// What is proven of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// Nothing: nobody has signed it.
    #[default]
    #[serde(rename = "unsigned")]
    Unsigned,
    /// Its author has signed it.
    #[serde(rename = "valid(user)")]
    User,
    /// Its author's domain has signed it.
    #[serde(rename = "valid(domain)")]
    Domain,
    /// Nothing: whoever has signed it is nobody who is believed.
    #[serde(rename = "untrusted")]
    Untrusted,
    /// It is not what was signed.
    #[serde(rename = "altered")]
    Altered,
    /// The certificate was out of date or revoked, or the signature is too old.
    #[serde(rename = "expired")]
    Expired,
    /// Somebody else has signed it.
    #[serde(rename = "wrong sender")]
    WrongSender,
    /// It has come before, or was sent to somebody else.
    #[serde(rename = "replayed")]
    Replayed,
    /// It cannot be decrypted here.
    #[serde(rename = "undecryptable")]
    Undecryptable,
}

/// How a message was protected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What is proven.
    #[serde(default)]
    pub proof: Proof,
    /// Why not more, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whom the certificate names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Whether nobody on the way could read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
    /// Whether what its header says is not covered by the signature.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bare_header: bool,
    /// What tells the signature from all others; by this a message that is played back is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

impl Mark {
    /// Whether its author, or the author's domain, has proven to have written it.
    pub fn is_valid(&self) -> bool {
        matches!(self.proof, Proof::User | Proof::Domain)
    }

    /// Whether it was signed, and is not what was signed, or not by its author.
    pub fn is_broken(&self) -> bool {
        matches!(self.proof, Proof::Altered | Proof::WrongSender | Proof::Replayed)
    }

    /// In words: `signed, encrypted`; `NOT VALID, altered: …`; `unsigned`.
    pub fn words(&self) -> String {
        let because = |words: &str| match &self.reason {
            Some(reason) => format!("{words}: {}", clean::line(reason)),
            None => words.to_owned(),
        };
        let mut words = match self.proof {
            Proof::Unsigned => "unsigned".to_owned(),
            Proof::User => "signed".to_owned(),
            Proof::Domain => "signed by the domain".to_owned(),
            Proof::Untrusted => because("NOT PROVEN, the signer is not trusted"),
            Proof::Altered => because("NOT VALID, altered"),
            Proof::Expired => because("NOT VALID, out of date"),
            Proof::WrongSender => because("NOT VALID, signed by somebody else"),
            Proof::Replayed => because("NOT VALID, played back"),
            Proof::Undecryptable => because("cannot be decrypted"),
        };
        if self.is_valid() && self.bare_header {
            words.push_str(" without its header");
        }
        if self.encrypted && self.proof != Proof::Undecryptable {
            words.push_str(", encrypted");
        }
        words
    }
}

/// How a message of ours goes out, in words; `None`: as it is.
pub fn own(signed: bool, encrypted: bool) -> Option<&'static str> {
    match (signed, encrypted) {
        (true, true) => Some("signed, encrypted"),
        (true, false) => Some("signed"),
        (false, true) => Some("encrypted"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |mark: Mark, expected: &str| {
            assert_eq!(mark.words(), expected);
            let text = serde_json::to_string(&mark).unwrap();
            assert_eq!(serde_json::from_str::<Mark>(&text).unwrap(), mark, "{text}");
        };
        check(Mark::default(), "unsigned");
        check(Mark { encrypted: true, ..Mark::default() }, "unsigned, encrypted");
        check(Mark { proof: Proof::User, encrypted: true, ..Mark::default() }, "signed, encrypted");
        let bare = Mark { proof: Proof::Domain, bare_header: true, ..Mark::default() };
        check(bare, "signed by the domain without its header");
        let reason = Some("the text\u{202e} was changed\n[signed]".to_owned());
        let altered = Mark { proof: Proof::Altered, reason, ..Mark::default() };
        check(altered, "NOT VALID, altered: the text\u{fffd} was changed [signed]");
        let sealed = Mark { proof: Proof::Undecryptable, encrypted: true, ..Mark::default() };
        check(sealed, "cannot be decrypted");
        assert_eq!(serde_json::to_string(&Mark::default()).unwrap(), "{\"proof\":\"unsigned\"}");
        assert_eq!(serde_json::from_str::<Mark>("{}").unwrap(), Mark::default());
    }
}
