//! What keeps a person's client from its work, in words with a remedy.

use crate::address::Mailbox;
use crate::client::history::HistoryError;
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
    /// A message that cannot be written.
    #[error("{0}")]
    Message(String),
    /// No identifier can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl ClientError {
    /// Whether trying again later may help, without the person's doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Session { .. } | ClientError::Certificate { .. } => true,
            ClientError::Randomness(_) => true,
            ClientError::Login { reply, .. } | ClientError::NotAttached { reply, .. } => !reply.is_permanent(),
            ClientError::History(HistoryError::Full(_)) => true,
            _ => false,
        }
    }
}
