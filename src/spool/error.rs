//! What can go wrong with the spool, and what to do about it.

use std::path::PathBuf;

use super::record::QueueId;
use crate::reply::{EnhancedCode, Reply};

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the spool {} is in use by {}; stop it first, or ask it with impartctl",
        dir.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The spool.
        dir: PathBuf,
        /// The process, where it could be read.
        pid: Option<u32>,
    },
    /// A file stands where the directory should be.
    #[error("the spool {} is not a directory; name another one, or move what is there", dir.display())]
    NotADirectory {
        /// The spool.
        dir: PathBuf,
    },
    /// The file system does not let us.
    #[error(
        "no permission for {}; the spool {} must belong to the user that the daemon runs as (chown -R impart: {})",
        path.display(), dir.display(), dir.display()
    )]
    Permission {
        /// The spool.
        dir: PathBuf,
        /// What could not be opened.
        path: PathBuf,
    },
    /// Written by another version of this program.
    #[error(
        "the spool {} has the format \"{found}\", this program reads \"impart spool 1\"; start the version that wrote it",
        dir.display()
    )]
    Format {
        /// The spool.
        dir: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// The store does not open, and what is wrong could not be mended.
    #[error(
        "the store in {} is damaged ({reason}); restore it from a backup, or set `set_aside_damaged`, which moves it to a \
         directory damaged-TIME beside it and starts with an empty one",
        dir.display()
    )]
    Damaged {
        /// The spool.
        dir: PathBuf,
        /// What the store says.
        reason: String,
    },
    /// The file system failed.
    #[error("{}: {error}; see that the disk is there, writable and not full", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        error: std::io::Error,
    },
}

/// Why the spool did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// A write failed; the spool takes nothing until it has recovered, which it tries by itself.
    #[error("the spool is read-only: {0}; it recovers by itself when the disk does")]
    ReadOnly(String),
    /// Less disk is free than the reserve.
    #[error("the disk of the spool is nearly full; free space on it, or move the spool to a larger one")]
    Full,
    /// What the store holds for this message is damaged.
    #[error("message {id} is damaged in the spool: {reason}")]
    Corrupt {
        /// The message.
        id: QueueId,
        /// How.
        reason: String,
    },
    /// The spool has been closed.
    #[error("the spool is closed")]
    Closed,
    /// A read failed.
    #[error("the spool could not be read: {0}")]
    Io(String),
}

impl SpoolError {
    /// What the sender of a message is told; he keeps it and tries again (RFC 3463 §3.4, RFC 5321 §4.2.3).
    pub fn reply(&self) -> Reply {
        let (code, enhanced, text) = match self {
            SpoolError::ReadOnly(_) => (452, EnhancedCode::new(4, 3, 1), "cannot store messages at present"),
            SpoolError::Full => (452, EnhancedCode::new(4, 3, 1), "not enough room to store the message"),
            SpoolError::Closed => (421, EnhancedCode::new(4, 3, 2), "shutting down"),
            SpoolError::Corrupt { .. } | SpoolError::Io(_) => {
                (451, EnhancedCode::new(4, 3, 0), "cannot read the spool")
            }
        };
        Reply::new(code, enhanced, text)
    }
}
