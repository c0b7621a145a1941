//! The command line of `impartctl`, defined once: parser, help, and what the manual is checked against.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::account::{Delegate, Time};
use super::protocol::MessageState;
use super::select::{AddressMatch, Selector};
use super::trace::Subject;
use crate::accounts::Fallback;
use crate::address::{Domain, Mailbox};
use crate::completion::Shell;
use crate::rules::edit::Who;
use crate::spool::QueueId;

/// Administer impartd.
#[derive(Clone, Debug, Parser)]
#[command(name = "impartctl", version, after_help = "See impartctl(8).")]
pub struct Arguments {
    /// The configuration file of the daemon.
    #[arg(long, short, value_name = "FILE", global = true, default_value = "/etc/impart/impart.toml")]
    pub config: PathBuf,
    /// Print a JSON object for each row.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Examine the configuration and the world around it, and say what to do.
    Check,
    /// Print the DNS records to publish.
    Dns,
    /// Show how the daemon fares.
    Status,
    /// Follow one message, or one person, through log and spool.
    Trace {
        /// The queue id of a message, or an address.
        #[arg(value_name = "SUBJECT")]
        subject: Subject,
        /// The log; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
    /// Watch the queue and what passes, live.
    Top {
        /// Show it once, and end.
        #[arg(long)]
        once: bool,
        /// How often it is looked.
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
    },
    /// Look at the queue and change it.
    #[command(subcommand)]
    Queue(Queue),
    /// Look at the accounts and change them.
    #[command(subcommand)]
    Account(Account),
    /// Look at the rules of an inbox and change them.
    #[command(subcommand)]
    Rules(Rules),
    /// Run the certificate authority of a domain.
    #[command(subcommand)]
    Cert(Cert),
    /// Look at who watches whom, and at what they see.
    #[command(subcommand)]
    Presence(Presence),
    /// Have the daemon read its configuration and certificates again.
    Reload,
    /// Have the daemon finish what it is delivering, and end.
    Drain,
    /// Print what a shell needs to complete this program's command lines.
    Completion {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// What to do with the accounts.
#[derive(Clone, Debug, Subcommand)]
pub enum Account {
    /// Add an account; its password is asked for, or read from standard input.
    Add {
        /// Its name.
        #[arg(value_name = "ADDRESS")]
        account: Mailbox,
        /// Give it no password.
        #[arg(long)]
        no_password: bool,
        /// Give it no instant inbox.
        #[arg(long)]
        no_inbox: bool,
        /// Give it no presentity.
        #[arg(long)]
        no_presentity: bool,
        /// Make a secret for ODMR, and print it.
        #[arg(long)]
        odmr: bool,
        /// Give it a further address.
        #[arg(long = "address", value_name = "ADDRESS")]
        addresses: Vec<Mailbox>,
        /// Hand its messages to the mail store after this time, such as 15m; or never.
        #[arg(long, value_name = "TIME|never")]
        fallback: Option<Fallback>,
        /// Let another account read its inbox.
        #[arg(long = "delegate", value_name = "ADDRESS=copy|take")]
        delegates: Vec<Delegate>,
    },
    /// Set its password.
    Passwd {
        /// Its name.
        #[arg(value_name = "ADDRESS")]
        account: Mailbox,
        /// Make a new secret for ODMR instead, and print it.
        #[arg(long, conflicts_with = "no_odmr")]
        odmr: bool,
        /// Take its secret for ODMR away instead.
        #[arg(long)]
        no_odmr: bool,
    },
    /// Set after how long its messages go to the mail store.
    Fallback {
        /// Its name.
        #[arg(value_name = "ADDRESS")]
        account: Mailbox,
        /// A time such as 15m; never; or domain, for what its domain says.
        #[arg(value_name = "TIME|never|domain")]
        time: Time,
    },
    /// List the accounts of the file.
    List,
    /// Let it log in no more.
    Disable {
        /// Its name.
        #[arg(value_name = "ADDRESS")]
        account: Mailbox,
    },
    /// Let it log in again.
    Enable {
        /// Its name.
        #[arg(value_name = "ADDRESS")]
        account: Mailbox,
    },
    /// Take it out of the file, and revoke its certificates.
    Remove {
        /// Its name.
        #[arg(value_name = "ADDRESS")]
        account: Mailbox,
        /// Leave its certificates as they are.
        #[arg(long)]
        keep_certificates: bool,
        /// Where the authority is, and its pass phrase.
        #[command(flatten)]
        authority: AuthorityFiles,
    },
}

/// What to do with the certificate authority of a domain.
#[derive(Clone, Debug, Subcommand)]
pub enum Cert {
    /// Make the authority of a domain: its key, its certificate, an empty revocation list.
    Init {
        /// The domain.
        #[arg(value_name = "DOMAIN")]
        domain: Domain,
        /// The authority's name.
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Make its key in a PKCS #11 token.
        #[arg(long, value_name = "URI")]
        pkcs11: Option<String>,
        /// Where it is, and its pass phrase.
        #[command(flatten)]
        authority: AuthorityFiles,
    },
    /// Issue a certificate for an address.
    Issue {
        /// The address; presence@DOMAIN stands for the domain itself.
        #[arg(value_name = "ADDRESS")]
        address: Mailbox,
        /// Certify the key of this request (PKCS#10), instead of a new one.
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
        /// Write the certificate, and a new key, here.
        #[arg(long, value_name = "DIRECTORY")]
        out: Option<PathBuf>,
        /// How many days it is valid.
        #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Where the authority is, and its pass phrase.
        #[command(flatten)]
        authority: AuthorityFiles,
    },
    /// Issue a certificate again for the same key, or the revocation list of a domain.
    Renew {
        /// An address, the serial number of a certificate, or a domain for its revocation list.
        #[arg(value_name = "WHAT")]
        what: Certified,
        /// Write the certificate here.
        #[arg(long, value_name = "DIRECTORY")]
        out: Option<PathBuf>,
        /// How many days it is valid.
        #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Where the authority is, and its pass phrase.
        #[command(flatten)]
        authority: AuthorityFiles,
    },
    /// Put certificates on the revocation list.
    Revoke {
        /// An address, for all of its certificates, or the serial number of one.
        #[arg(value_name = "WHAT")]
        what: Certified,
        /// Where the authority is, and its pass phrase.
        #[command(flatten)]
        authority: AuthorityFiles,
    },
    /// List what was issued.
    List {
        /// Of this domain only.
        #[arg(value_name = "DOMAIN")]
        domain: Option<Domain>,
        /// Where the authority is.
        #[command(flatten)]
        authority: AuthorityFiles,
    },
}

impl Cert {
    /// Where the authority is, and its pass phrase.
    pub fn authority(&self) -> &AuthorityFiles {
        match self {
            Cert::Init { authority, .. }
            | Cert::Issue { authority, .. }
            | Cert::Renew { authority, .. }
            | Cert::Revoke { authority, .. }
            | Cert::List { authority, .. } => authority,
        }
    }
}

/// Where the files of authorities are.
#[derive(Clone, Debug, Default, Args)]
pub struct AuthorityFiles {
    /// The directory of authorities; ca beside the file of accounts if this is not given.
    #[arg(long, value_name = "DIRECTORY")]
    pub ca: Option<PathBuf>,
    /// The file whose first line is the pass phrase of the authority's key.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// What was certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certified {
    /// An address.
    Address(Mailbox),
    /// A serial number: its octets.
    Serial(Vec<u8>),
    /// A domain.
    Domain(Domain),
}

impl std::str::FromStr for Certified {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Mailbox::parse(text).map(Certified::Address).map_err(|fault| fault.to_string());
        }
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|fault| fault.to_string());
            return (0..32).step_by(2).map(octet).collect::<Result<_, _>>().map(Certified::Serial);
        }
        let wrong = "not an address, a serial number of 32 hexadecimal digits, or a domain";
        Domain::parse(text).map(Certified::Domain).map_err(|_| wrong.to_owned())
    }
}

/// What to do with the rules of an inbox.
#[derive(Clone, Debug, Subcommand)]
pub enum Rules {
    /// Print the document as it is stored.
    Show {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
    },
    /// Put another document in its place.
    Set {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// The document; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Take messages from somebody again.
    Allow {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// An address or a domain.
        #[arg(value_name = "WHO")]
        who: Who,
    },
    /// Take no messages from somebody.
    Block {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// An address or a domain.
        #[arg(value_name = "WHO")]
        who: Who,
    },
    /// Take messages from somebody only if they are signed, or unsigned ones too.
    Signed {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// An address or a domain.
        #[arg(value_name = "WHO")]
        who: Who,
        /// Whether.
        #[arg(value_name = "WHETHER")]
        whether: Whether,
    },
    /// Decide what somebody sees of the owner's presence.
    Watch {
        /// The presentity.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// An address or a domain.
        #[arg(value_name = "WHO")]
        who: Who,
        /// How.
        #[arg(value_name = "HOW")]
        how: Watching,
    },
    /// Let another account publish the owner's presence, or no more.
    Publish {
        /// The presentity.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// The account.
        #[arg(value_name = "WHO")]
        who: Mailbox,
        /// Whether.
        #[arg(value_name = "WHETHER")]
        whether: Whether,
    },
    /// Let another account read the inbox, or no more.
    Read {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
        /// The account.
        #[arg(value_name = "WHO")]
        who: Mailbox,
        /// How.
        #[arg(value_name = "HOW")]
        how: Reading,
    },
    /// Take the document away.
    Remove {
        /// The inbox.
        #[arg(value_name = "ADDRESS")]
        inbox: Mailbox,
    },
}

impl Rules {
    /// What is done, in the word of the command.
    pub fn name(&self) -> &'static str {
        match self {
            Rules::Show { .. } => "show",
            Rules::Set { .. } => "set",
            Rules::Allow { .. } => "allow",
            Rules::Block { .. } => "block",
            Rules::Signed { .. } => "signed",
            Rules::Watch { .. } => "watch",
            Rules::Publish { .. } => "publish",
            Rules::Read { .. } => "read",
            Rules::Remove { .. } => "remove",
        }
    }

    /// Whose rules.
    pub fn inbox(&self) -> &Mailbox {
        match self {
            Rules::Show { inbox }
            | Rules::Set { inbox, .. }
            | Rules::Allow { inbox, .. }
            | Rules::Block { inbox, .. }
            | Rules::Signed { inbox, .. }
            | Rules::Watch { inbox, .. }
            | Rules::Publish { inbox, .. }
            | Rules::Read { inbox, .. }
            | Rules::Remove { inbox } => inbox,
        }
    }
}

/// What somebody sees of a presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Watching {
    /// All.
    Allow,
    /// The owner is asked.
    Confirm,
    /// That the owner is closed, whatever is so.
    PoliteBlock,
    /// Nothing.
    Block,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whether {
    /// It is so.
    Yes,
    /// It is not.
    No,
}

/// What to do about presence.
#[derive(Clone, Debug, Subcommand)]
pub enum Presence {
    /// List who watches somebody.
    Watchers {
        /// Who is watched.
        #[arg(value_name = "ADDRESS")]
        address: Mailbox,
    },
    /// List whom somebody watches.
    Contacts {
        /// Who watches.
        #[arg(value_name = "ADDRESS")]
        address: Mailbox,
    },
    /// Print the presence document of somebody.
    Show {
        /// Whose.
        #[arg(value_name = "ADDRESS")]
        address: Mailbox,
        /// What this watcher sees of it.
        #[arg(long = "as", value_name = "WATCHER")]
        watcher: Option<Mailbox>,
    },
    /// End a subscription, and tell the watcher.
    Remove {
        /// Who is watched.
        #[arg(value_name = "ADDRESS")]
        address: Mailbox,
        /// Who watches.
        #[arg(value_name = "WATCHER")]
        watcher: Mailbox,
    },
    /// Show what holds for each domain without rules, and the limits.
    Limits,
}

/// How another account reads an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reading {
    /// Copies, which deliver nothing.
    Copy,
    /// A message is delivered when the other has it.
    Take,
    /// Not at all.
    No,
}

/// What to do with the queue.
#[derive(Clone, Debug, Subcommand)]
pub enum Queue {
    /// List messages, oldest first.
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// How many at most.
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
    },
    /// Show a message and its header section.
    Show {
        /// Its queue id.
        #[arg(value_name = "ID")]
        message: QueueId,
        /// Show the whole entity.
        #[arg(long)]
        body: bool,
    },
    /// Keep messages from being delivered and from expiring.
    Hold(Which),
    /// Deliver messages that were held.
    Release(Which),
    /// Try delivery now.
    Retry(Which),
    /// Give up delivery, and send receipts of failure.
    Bounce {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// The reason for the receipt.
        #[arg(long, value_name = "TEXT")]
        because: Option<String>,
    },
    /// Take messages out without telling anybody.
    Remove(Which),
}

/// Which messages; all that is given must hold.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// Queue ids.
    #[arg(value_name = "ID")]
    pub ids: Vec<QueueId>,
    /// All messages.
    #[arg(long)]
    pub all: bool,
    /// Sender or recipient; `<>` is the sender of reports.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<AddressMatch>,
    /// Domain of the sender or of a recipient.
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<Domain>,
    /// Came at least this long ago, such as 90s, 5m, 24h or 7d.
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Words in the last reply or fault.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The state of the message.
    #[arg(long, value_name = "STATE")]
    pub state: Option<StateName>,
}

/// States that a message in the queue can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    /// No attempt has failed.
    Active,
    /// An attempt was deferred.
    Deferred,
    /// Held by an administrator.
    Held,
    /// Delivered, and kept for devices that have not had it.
    Owed,
}

impl Which {
    /// As a selection; `age` reads a duration in seconds.
    pub fn selector<E>(&self, age: impl FnOnce(&str) -> Result<u64, E>) -> Result<Selector, E> {
        Ok(Selector {
            all: self.all,
            ids: self.ids.clone(),
            address: self.address.clone(),
            domain: self.domain.clone(),
            older_than: self.older_than.as_deref().map(age).transpose()?,
            reason: self.reason.clone(),
            state: self.state.map(|state| match state {
                StateName::Active => MessageState::Active,
                StateName::Deferred => MessageState::Deferred,
                StateName::Held => MessageState::Held,
                StateName::Owed => MessageState::Owed,
            }),
        })
    }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
