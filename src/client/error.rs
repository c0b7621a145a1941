//! What keeps a person's client from its work, in words with a remedy.

use crate::address::Mailbox;
use crate::client::history::HistoryError;
use crate::client::keys::KeyError;
use crate::random::NoRandomness;
use crate::reply::Reply;
use crate::sasl::SaslError;

/// A failure.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The person's configuration.
    #[error("{0}")]
    Config(String),
    /// The password cannot be had.
    #[error("no password for {account}: {reason}; set password-command in the configuration, or run `impart login`")]
    Password {
        /// Whose.
        account: Mailbox,
        /// Why.
        reason: String,
    },
    /// No server could be reached.
    #[error(
        "cannot reach the server of {account}: {reason}; check the network, or name the server by `impart login --server`"
    )]
    Unreachable {
        /// Of whom.
        account: Mailbox,
        /// What each said.
        reason: String,
    },
    /// The server did not prove who it is.
    #[error("{reason}. Nothing was sent. If the authority is your own, name its file by `impart login --ca`")]
    Certificate {
        /// What is wrong.
        reason: String,
    },
    /// The login was refused for good.
    #[error("the server refuses the login of {account}: {reply}; `impart login {account}` takes another password")]
    Login {
        /// Whose.
        account: Mailbox,
        /// What it says.
        reply: Reply,
    },
    /// The login cannot be done.
    #[error("cannot log in as {account}: {error}")]
    Sasl {
        /// Who.
        account: Mailbox,
        /// Why.
        error: SaslError,
    },
    /// The server does not deliver here for good.
    #[error(
        "the server does not deliver to {account} here: {reply}; check the account's inboxes and the device's name"
    )]
    NotAttached {
        /// Who.
        account: Mailbox,
        /// What it says.
        reply: Reply,
    },
    /// The session ended.
    #[error("the server of {account}: {reason}")]
    Session {
        /// Whose.
        account: Mailbox,
        /// Why.
        reason: String,
    },
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// There is no key to sign with.
    #[error(
        "{account} has no key with a certificate that is in its time, and cannot sign; `impart key new` makes one, \
         `impart key import` takes one"
    )]
    NoKey {
        /// Who.
        account: Mailbox,
    },
    /// There is no key that what is told could be encrypted to.
    #[error(
        "{account} has no key with a certificate that can be encrypted to; `impart key new` makes one, `impart key \
         import` takes one"
    )]
    NoReader {
        /// Who.
        account: Mailbox,
    },
    /// Of some recipients no certificate is known.
    #[error(
        "nothing was sent: no certificate is known to encrypt to {}; wait for a signed message of theirs, or take the \
         certificate by `impart key import`",
        names(who)
    )]
    NoCertificate {
        /// Of whom.
        who: Vec<Mailbox>,
    },
    /// The message cannot be signed or encrypted.
    #[error("nothing was sent: {0}")]
    Seal(String),
    /// The person's keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A message that cannot be written.
    #[error("{0}")]
    Message(String),
    /// The server takes no such thing.
    #[error("refused for {to}: {reply}")]
    Refused {
        /// Whom it was for.
        to: Mailbox,
        /// What it says.
        reply: Reply,
    },
    /// The server does not offer presence.
    #[error("the server of {account} offers no presence ({reason}); ask its administrator")]
    NoPresence {
        /// Whose.
        account: Mailbox,
        /// Why.
        reason: String,
    },
    /// A question has no answer.
    #[error("no answer about {who} to {account}; try again later")]
    Silent {
        /// Who asked.
        account: Mailbox,
        /// About whom.
        who: Mailbox,
    },
    /// The rules that the server has cannot be changed here.
    #[error("the rules as they are stored: {0}; an administrator can replace them by impartctl rules set")]
    Rules(String),
    /// No identifier can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl ClientError {
    /// Whether trying again later may help, without the person's doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Session { .. } | ClientError::Certificate { .. } => true,
            ClientError::Randomness(_) | ClientError::Silent { .. } => true,
            ClientError::Refused { reply, .. } => !reply.is_permanent(),
            ClientError::Login { reply, .. } | ClientError::NotAttached { reply, .. } => !reply.is_permanent(),
            ClientError::History(HistoryError::Full(_)) => true,
            _ => false,
        }
    }
}

fn names(who: &[Mailbox]) -> String {
    who.iter().map(Mailbox::to_string).collect::<Vec<_>>().join(", ")
}
