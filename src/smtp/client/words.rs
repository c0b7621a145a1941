//! What goes into a session and what comes out of it, as values.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Login;
use crate::address::Domain;
use crate::envelope::Envelope;
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::SaslError;

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name in EHLO.
    pub helo: Domain,
    /// Whether STARTTLS is asked for.
    pub starttls: StartTls,
    /// Whether a hop that refuses EHLO is asked by HELO (RFC 5321 §3.2).
    pub helo_fallback: bool,
    /// Whether the hop is a mail store that speaks LMTP (RFC 2033): LHLO, and a reply for each recipient after the entity.
    pub lmtp: bool,
    /// Transactions unanswered at a time, where many may be in flight; at least one.
    pub window: usize,
    /// How long the hop may take.
    pub timeouts: Timeouts,
    /// Who we are, where the hop wants to know: AUTH comes behind EHLO.
    pub login: Option<Login>,
}

/// When STARTTLS is asked for (RFC 3207).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Never: TLS is there already, or is not wanted.
    Never,
    /// Where the hop offers it.
    IfOffered,
    /// Always; without it the session fails.
    Must,
}

/// How long the hop may take; the defaults are those of RFC 5321 §4.5.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To greet.
    pub greeting: Duration,
    /// To answer EHLO, HELO, STARTTLS, RSET, MAIL and RCPT.
    pub command: Duration,
    /// To answer DATA.
    pub data: Duration,
    /// To take more of what is written.
    pub block: Duration,
    /// To answer a chunk or the end of the text.
    pub end: Duration,
    /// To answer NOOP.
    pub noop: Duration,
    /// To answer QUIT.
    pub quit: Duration,
    /// For one transaction in all, however slowly it goes on.
    pub transaction: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            greeting: Duration::from_secs(300),
            command: Duration::from_secs(300),
            data: Duration::from_secs(120),
            block: Duration::from_secs(180),
            end: Duration::from_secs(600),
            noop: Duration::from_secs(20),
            quit: Duration::from_secs(5),
            transaction: Duration::from_secs(3600),
        }
    }
}

/// What is known of the connection under the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// In the clear.
    Clear,
    /// Encrypted; who the hop is has not been proven.
    Encrypted,
    /// Encrypted, and the hop has proven itself.
    Proven,
}

/// One message for recipients behind this hop.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The driver's name for it.
    pub token: u64,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// Indexes of the recipients of the envelope; at least one, ascending.
    pub recipients: Vec<usize>,
    /// The entity.
    pub entity: Bytes,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Accepted.
    Accepted {
        /// The reply to the entity.
        reply: Reply,
        /// Whether the hop has taken over the duty to report (RFC 3461 §5.2.1, RFC 2852 §4.1.4).
        reports: bool,
    },
    /// Refused, for now (4yz) or for good (5yz).
    Refused {
        /// The reply to MAIL, RCPT, DATA or the entity, whichever refused first.
        reply: Reply,
    },
    /// Never offered: the hop lacks what the message needs.
    Unfit {
        /// The status for a receipt.
        status: EnhancedCode,
        /// In words.
        reason: String,
    },
    /// The session ended before the reply.
    Lost {
        /// The whole entity had left: the hop may have it (RFC 1047).
        uncertain: bool,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The greeting or the reply to EHLO was a refusal, or 421 came (RFC 5321 §3.8).
    #[error("it said: {0}")]
    Refused(Reply),
    /// What came is not the protocol.
    #[error("it broke the protocol: {0}")]
    Protocol(&'static str),
    /// STARTTLS is required, and not offered or refused.
    #[error("it does not offer STARTTLS, which the route requires")]
    NoStartTls,
    /// AUTH was refused.
    #[error("it refused the login: {0}")]
    NotAuthenticated(Reply),
    /// AUTH cannot be done with this hop.
    #[error("login is not possible: {0}")]
    Login(SaslError),
    /// ATRN was refused.
    #[error("it refused to deliver here: {0}")]
    NotAttached(Reply),
    /// No answer in time.
    #[error("timed out while {0}")]
    TimedOut(&'static str),
    /// The connection is gone.
    #[error("the connection was lost: {0}")]
    Disconnected(String),
}

/// What the driver has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The hop awaits the TLS handshake: do it, then call [`Session::tls_started`].
    StartTls,
    /// Transactions may be submitted.
    Ready,
    /// ATRN was accepted: the roles are turned round, and the connection is the driver's to serve. Nothing follows.
    Turned,
    /// What became of recipients of one transaction. A transaction of more recipients than the hop takes at once gives
    /// several of these.
    Done {
        /// The driver's name for the transaction.
        token: u64,
        /// Its recipients' indexes and fates.
        fates: Vec<(usize, Fate)>,
    },
    /// The session is over; what was in flight has been told before. `None` after a QUIT that was answered.
    Over(Option<Fault>),
}
