//! The commands of ESMTP: one table of their names, arguments, states and extensions, and their parser.
//!
//! In: a line without its CRLF. Out: a [`Command`], its addresses and parameters checked. It does not say whether the
//! command may stand where it stands: that is the column `states` of [`COMMANDS`], which the session reads. Fails with
//! [`CommandError`], which is a reply that names the fault and the remedy.
//! RFC 5321 §4.1.1 and §4.1.2, RFC 3030 §2, RFC 3207 §4, RFC 4954 §4, RFC 6531 §3.

use crate::address::{AddressError, EhloName, ForwardPath, ReversePath};
use crate::envelope::{Body, ByMode, Class, Notify, OriginalRecipient, Ret};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::extension::{Extension, Set};
pub use crate::smtp::turn::{Atrn, Auth};
use crate::smtp::{parameter, path, turn};

/// The verb of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Names the client and asks for the extensions (RFC 5321 §4.1.1.1).
    Ehlo,
    /// Names a client without extensions.
    Helo,
    /// EHLO of LMTP: from here on each recipient has its own reply to the entity (RFC 2033 §4).
    Lhlo,
    /// Opens a transaction (RFC 5321 §4.1.1.2).
    Mail,
    /// Names a recipient (RFC 5321 §4.1.1.3).
    Rcpt,
    /// Announces a chunk of the entity (RFC 3030 §2).
    Bdat,
    /// Announces the entity, up to a line with a dot (RFC 5321 §4.1.1.4).
    Data,
    /// Drops the transaction (RFC 5321 §4.1.1.5).
    Rset,
    /// Does nothing (RFC 5321 §4.1.1.9).
    Noop,
    /// Ends the session (RFC 5321 §4.1.1.10).
    Quit,
    /// Begins TLS (RFC 3207 §4).
    StartTls,
    /// Says who the client is (RFC 4954 §4).
    Auth,
    /// Asks for the roles to be reversed (RFC 2645 §5.2.1).
    Atrn,
    /// Asks whether a mailbox exists (RFC 5321 §4.1.1.6).
    Vrfy,
    /// Asks who is on a list (RFC 5321 §4.1.1.7).
    Expn,
    /// Asks for help (RFC 5321 §4.1.1.8).
    Help,
}

/// What follows the verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing; anything else is an error.
    None,
    /// A name or an address literal.
    Name,
    /// A path and parameters.
    Path,
    /// The octets of a chunk, and perhaps LAST.
    Chunk,
    /// A string.
    Text,
    /// A string or nothing.
    Words,
    /// A string or nothing, not looked at.
    Ignored,
}

/// A set of the session's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl States {
    /// No EHLO or HELO yet.
    pub const START: States = States(1);
    /// No transaction.
    pub const READY: States = States(2);
    /// A sender, no recipient.
    pub const SENDER: States = States(4);
    /// A sender and recipients.
    pub const RECIPIENTS: States = States(8);
    /// At least one chunk.
    pub const CHUNKS: States = States(16);
    /// A chunk failed; what follows belongs to it until RSET (RFC 3030 §2).
    pub const FAILED: States = States(32);
    /// The greeting was a refusal (RFC 5321 §3.1).
    pub const REFUSED: States = States(64);

    /// Each state, for tests and tables.
    pub const EACH: [(States, &'static str); 7] = [
        (States::START, "start"),
        (States::READY, "ready"),
        (States::SENDER, "sender"),
        (States::RECIPIENTS, "recipients"),
        (States::CHUNKS, "chunks"),
        (States::FAILED, "failed"),
        (States::REFUSED, "refused"),
    ];

    /// All but the refused session's.
    const SERVED: States = States(63);

    /// Both sets.
    pub const fn or(self, other: States) -> States {
        States(self.0 | other.0)
    }

    /// Whether `state` is in the set.
    pub const fn contain(self, state: States) -> bool {
        self.0 & state.0 != 0
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Entry {
    /// The verb.
    pub verb: Verb,
    /// How it is written.
    pub name: &'static str,
    /// What follows it.
    pub argument: Argument,
    /// The whole command, for replies.
    pub form: &'static str,
    /// Where it may stand.
    pub states: States,
    /// The extension without which it does not exist.
    pub extension: Option<Extension>,
    /// Where clients authenticate: not before they have (RFC 4954 §6, RFC 2645 §5.2.1).
    pub after_auth: bool,
}

const fn entry(verb: Verb, name: &'static str, argument: Argument, form: &'static str, states: States) -> Entry {
    Entry { verb, name, argument, form, states, extension: None, after_auth: false }
}

/// The commands; those that carry messages first.
pub static COMMANDS: [Entry; 16] = [
    entry(Verb::Rset, "RSET", Argument::None, "RSET", States::SERVED),
    Entry {
        after_auth: true,
        ..entry(Verb::Mail, "MAIL", Argument::Path, "MAIL FROM:<address> parameters", States::READY)
    },
    entry(Verb::Rcpt, "RCPT", Argument::Path, "RCPT TO:<address> parameters", States::SENDER.or(States::RECIPIENTS)),
    Entry {
        verb: Verb::Bdat,
        name: "BDAT",
        argument: Argument::Chunk,
        form: "BDAT octets, LAST after it for the last chunk",
        states: States::RECIPIENTS.or(States::CHUNKS),
        extension: Some(Extension::Chunking),
        after_auth: false,
    },
    entry(Verb::Data, "DATA", Argument::None, "DATA", States::RECIPIENTS),
    entry(Verb::Noop, "NOOP", Argument::Ignored, "NOOP", States::SERVED),
    entry(Verb::Quit, "QUIT", Argument::None, "QUIT", States::SERVED.or(States::REFUSED)),
    entry(Verb::Ehlo, "EHLO", Argument::Name, "EHLO host.example", States::SERVED),
    entry(Verb::Helo, "HELO", Argument::Name, "HELO host.example", States::SERVED),
    entry(Verb::Lhlo, "LHLO", Argument::Name, "LHLO host.example", States::SERVED),
    Entry {
        verb: Verb::StartTls,
        name: "STARTTLS",
        argument: Argument::None,
        form: "STARTTLS",
        states: States::READY,
        extension: Some(Extension::StartTls),
        after_auth: false,
    },
    Entry {
        verb: Verb::Auth,
        name: "AUTH",
        argument: Argument::Text,
        form: "AUTH mechanism, and perhaps the first response in base64",
        states: States::READY,
        extension: Some(Extension::Auth),
        after_auth: false,
    },
    Entry {
        verb: Verb::Atrn,
        name: "ATRN",
        argument: Argument::Words,
        form: "ATRN INBOX=address,address DEVICE=name, both if need be; for relay on demand ATRN domain,domain",
        states: States::READY,
        extension: Some(Extension::Atrn),
        after_auth: true,
    },
    entry(Verb::Vrfy, "VRFY", Argument::Text, "VRFY address", States::SERVED),
    entry(Verb::Expn, "EXPN", Argument::Text, "EXPN list", States::SERVED),
    entry(Verb::Help, "HELP", Argument::Ignored, "HELP", States::SERVED),
];

/// DELIVERBY as it is on the wire (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Seconds from now; -999,999,999 to 999,999,999, more than 0 with [`ByMode::Return`].
    pub seconds: i64,
    /// What happens then.
    pub mode: ByMode,
    /// Whether each relay reports its relaying.
    pub trace: bool,
}

/// MAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// FROM.
    pub sender: ReversePath,
    /// IMPP; `None` where it was absent.
    pub class: Option<Class>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8.
    pub utf8: bool,
    /// SIZE: octets of the entity, as announced.
    pub size: Option<u64>,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, decoded: printable US-ASCII, at most 100 characters.
    pub envid: Option<String>,
    /// BY.
    pub by: Option<By>,
    /// REQUIRETLS.
    pub require_tls: bool,
}

impl Mail {
    /// Without parameters.
    pub fn from(sender: ReversePath) -> Mail {
        Mail {
            sender,
            class: None,
            body: Body::SevenBit,
            utf8: false,
            size: None,
            ret: None,
            envid: None,
            by: None,
            require_tls: false,
        }
    }
}

/// RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// TO.
    pub path: ForwardPath,
    /// NOTIFY; `None` where it was absent.
    pub notify: Option<Notify>,
    /// ORCPT, decoded; no control characters.
    pub original: Option<OriginalRecipient>,
}

impl Rcpt {
    /// Without parameters.
    pub fn to(path: ForwardPath) -> Rcpt {
        Rcpt { path, notify: None, original: None }
    }
}

/// What stands after the octets of BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Nothing: more chunks follow.
    More,
    /// LAST.
    Last,
    /// Something else: an error, but the chunk follows all the same.
    Unknown,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are those of Verb")]
pub enum Command {
    Ehlo(EhloName),
    Helo(EhloName),
    Lhlo(EhloName),
    Mail(Mail),
    Rcpt(Rcpt),
    Bdat { size: u64, marker: Marker },
    Data,
    Rset,
    Noop,
    Quit,
    StartTls,
    Auth(Auth),
    Atrn(Atrn),
    Vrfy,
    Expn,
    Help,
}

/// What is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such verb.
    #[error("command not recognised; HELP lists the commands")]
    Unrecognised,
    /// Something that is no command at all: a control character, a bare CR.
    #[error("a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused")]
    Control,
    /// RFC 5321 §4.5.3.1.4.
    #[error("the command line is longer than 2048 octets")]
    Length,
    /// RFC 4954 §4.
    #[error("the line is longer than 12288 octets")]
    AuthLength,
    /// A response that is not base64 (RFC 4954 §4).
    #[error("the response is not base64; nothing but its alphabet and its padding may stand there")]
    Base64,
    /// [`crate::limits::ATRN_NAMES`].
    #[error("at most 32 inboxes or domains; open another connection for the rest")]
    TooManyNames,
    /// Neither US-ASCII nor UTF-8.
    #[error("the command is not UTF-8")]
    Encoding,
    /// The argument is missing, superfluous or malformed; the form says how it is written.
    #[error("write: {0}")]
    Argument(&'static str),
    /// The size of a chunk cannot be read, so what follows cannot be told from commands.
    #[error("the size of the chunk cannot be read; closing, since what follows may be a message")]
    ChunkSize,
    /// The address of MAIL.
    #[error("{0}")]
    Sender(AddressError),
    /// The address of RCPT.
    #[error("{0}")]
    Recipient(AddressError),
    /// An internationalised sender without SMTPUTF8 (RFC 6531 §3.5).
    #[error("the sender's address needs the parameter SMTPUTF8")]
    SenderNeedsUtf8,
    /// An internationalised recipient without SMTPUTF8 (RFC 6531 §3.5).
    #[error("the recipient's address needs the parameter SMTPUTF8 of MAIL")]
    RecipientNeedsUtf8,
    /// A parameter that does not exist, or whose extension is not offered (RFC 5321 §4.1.1.11).
    #[error("parameter {0} is not offered here")]
    UnknownParameter(String),
    /// The same parameter twice.
    #[error("parameter {0} stands there twice")]
    RepeatedParameter(&'static str),
    /// A wrong value; the form says which are right.
    #[error("write: {0}")]
    ParameterValue(&'static str),
}

impl CommandError {
    /// The reply.
    pub fn reply(&self) -> Reply {
        let (code, subject, detail) = match self {
            CommandError::Unrecognised => (500, 5, 1),
            CommandError::Control | CommandError::Length | CommandError::Encoding => (500, 5, 2),
            CommandError::AuthLength => (500, 5, 6),
            CommandError::Base64 => (501, 5, 2),
            CommandError::Argument(_)
            | CommandError::ChunkSize
            | CommandError::TooManyNames
            | CommandError::RepeatedParameter(_)
            | CommandError::ParameterValue(_) => (501, 5, 4),
            CommandError::Sender(_) => (501, 1, 7),
            CommandError::Recipient(_) => (501, 1, 3),
            CommandError::SenderNeedsUtf8 => (550, 6, 7),
            CommandError::RecipientNeedsUtf8 => (553, 6, 7),
            CommandError::UnknownParameter(_) => (555, 5, 4),
        };
        Reply::new(code, EnhancedCode::new(5, subject, detail), self.to_string())
    }
}

/// What the meaning of a command depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The extensions that our reply to EHLO offered; none after HELO.
    pub offered: Set,
    /// Whether the transaction was opened with SMTPUTF8.
    pub utf8: bool,
}

/// Whether a line means to be BDAT: if it cannot be read, what follows it may be a message and must not be taken for
/// commands.
pub fn announces_chunk(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

/// Whether a line means to be AUTH, which may be longer than others.
pub fn announces_auth(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

/// Reads a command line without its CRLF.
pub fn parse(line: &[u8], context: Context) -> Result<Command, CommandError> {
    let (entry, argument) = find(line)?;
    entry.parse(argument, context)
}

/// The row of a line's verb, and the text after it. White space at the end is tolerated (RFC 5321 §4.1.1).
pub fn find(line: &[u8]) -> Result<(&'static Entry, &str), CommandError> {
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    let line = line.get(..end).unwrap_or_default();
    if line.iter().fold(false, |found, byte| found | byte.is_ascii_control()) {
        return Err(CommandError::Control);
    }
    let line = std::str::from_utf8(line).map_err(|_| CommandError::Encoding)?;
    let (name, argument) = line.split_once(' ').unwrap_or((line, ""));
    let entry = COMMANDS.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
    entry.map(|entry| (entry, argument)).ok_or(CommandError::Unrecognised)
}

impl Entry {
    /// Reads the text after the verb.
    pub fn parse(&self, argument: &str, context: Context) -> Result<Command, CommandError> {
        let wrong = CommandError::Argument(self.form);
        let acceptable = match self.argument {
            Argument::None => argument.is_empty(),
            Argument::Text => !argument.is_empty(),
            Argument::Words => true,
            // Before EHLO nobody knows of SMTPUTF8 (RFC 6531 §3.7.1).
            Argument::Name | Argument::Ignored => argument.is_ascii(),
            Argument::Path | Argument::Chunk => true,
        };
        if !acceptable {
            return Err(wrong);
        }
        match self.verb {
            Verb::Ehlo => EhloName::parse(argument).map(Command::Ehlo).map_err(|_| wrong),
            Verb::Helo => EhloName::parse(argument).map(Command::Helo).map_err(|_| wrong),
            Verb::Lhlo => EhloName::parse(argument).map(Command::Lhlo).map_err(|_| wrong),
            Verb::Mail => mail(argument, context, wrong).map(Command::Mail),
            Verb::Rcpt => rcpt(argument, context, wrong).map(Command::Rcpt),
            Verb::Bdat => bdat(argument).ok_or(CommandError::ChunkSize),
            Verb::Data => Ok(Command::Data),
            Verb::Rset => Ok(Command::Rset),
            Verb::Noop => Ok(Command::Noop),
            Verb::Quit => Ok(Command::Quit),
            Verb::StartTls => Ok(Command::StartTls),
            Verb::Auth => turn::auth(argument, wrong).map(Command::Auth),
            Verb::Atrn => turn::atrn(argument, wrong).map(Command::Atrn),
            Verb::Vrfy => Ok(Command::Vrfy),
            Verb::Expn => Ok(Command::Expn),
            Verb::Help => Ok(Command::Help),
        }
    }
}

/// The path after `FROM:` or `TO:`, and the parameters. No space stands on either side of the colon (RFC 5321 §3.3).
fn path_of<'a>(argument: &'a str, label: &str) -> Option<(&'a str, &'a str)> {
    let named = argument.get(..label.len()).is_some_and(|start| start.eq_ignore_ascii_case(label));
    let (path, rest) = path::split(argument.get(label.len()..).filter(|_| named)?)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some((path, rest))
}

fn mail(argument: &str, context: Context, wrong: CommandError) -> Result<Mail, CommandError> {
    let (text, parameters) = path_of(argument, "FROM:").ok_or(wrong)?;
    let mut mail = Mail::from(path::reverse(text).map_err(CommandError::Sender)?);
    parameter::read(parameters, &parameter::MAIL, context.offered, &mut mail)?;
    if !mail.utf8 && !text.is_ascii() { Err(CommandError::SenderNeedsUtf8) } else { Ok(mail) }
}

fn rcpt(argument: &str, context: Context, wrong: CommandError) -> Result<Rcpt, CommandError> {
    let (text, parameters) = path_of(argument, "TO:").ok_or(wrong)?;
    let mut rcpt = Rcpt::to(path::forward(text).map_err(CommandError::Recipient)?);
    if !context.utf8 && !text.is_ascii() {
        return Err(CommandError::RecipientNeedsUtf8);
    }
    parameter::read(parameters, &parameter::RCPT, context.offered, &mut rcpt)?;
    Ok(rcpt)
}

/// `None` when the size is missing, not a number or beyond 64 bits.
fn bdat(argument: &str) -> Option<Command> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let digits = words.next().filter(|word| word.bytes().all(|b| b.is_ascii_digit()))?;
    let size = digits.parse().ok()?;
    let marker = match (words.next(), words.next()) {
        (None, _) => Marker::More,
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Marker::Last,
        _ => Marker::Unknown,
    };
    Some(Command::Bdat { size, marker })
}

#[cfg(test)]
mod tests;
