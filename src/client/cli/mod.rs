//! The command line of `impart`, defined once: parser, help, and what the manual is checked against; and what it does.
//!
//! In: arguments. Out: lines, an exit code of sysexits.h. Each command is a file here; `chat` is [`super::chat`].

mod history;
mod key;
mod listen;
mod login;
mod presence;
mod send;
mod show;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::account::Server;
use super::error::ClientError;
use super::history::HistoryError;
use super::presence::Treatment;
use super::{Account, Client};
use crate::address::{Device, Mailbox};
use crate::completion::{self, Shell};

/// Send and receive instant messages.
#[derive(Clone, Debug, Parser)]
#[command(name = "impart", version, after_help = "See impart(1).")]
pub struct Arguments {
    /// The account to use; the start of its address is enough.
    #[arg(long, short, value_name = "ADDRESS", global = true)]
    pub account: Option<String>,
    /// The server, instead of the one that DNS or the configuration names.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub server: Option<Server>,
    /// A PEM file of authorities to trust, instead of the system's.
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Log in, and remember the account.
    Login(Login),
    /// Send a message.
    Send(Send),
    /// Receive messages, and print them.
    Listen(Listen),
    /// Show what was exchanged.
    History(History),
    /// Talk.
    Chat(Chat),
    /// Keep keys and certificates, to sign and encrypt with.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Say how you are to be seen, or show it.
    Status(Status),
    /// Ask to see somebody's presence from now on.
    Watch(Look),
    /// See somebody's presence no more.
    Unwatch(Watch),
    /// Show those whom you watch, and how they are.
    Contacts(Shown),
    /// Show who watches you, and who asks to.
    Watchers(Shown),
    /// Look once how somebody is.
    Fetch(Look),
    /// Show somebody all of your presence, and take their messages.
    Allow(Party),
    /// Have somebody's requests to see your presence wait for your word.
    Confirm(Party),
    /// Show somebody nothing, and take no messages from them.
    Block(Party),
    /// Show somebody that you are closed, whatever is so.
    PoliteBlock(Party),
    /// Print what a shell needs to complete this program's command lines.
    Completion {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Keep keys and certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and ask the domain for its certificate.
    New {
        /// What kind of key.
        #[arg(long, value_name = "KIND", value_enum, default_value_t)]
        algorithm: Algorithm,
        /// Ask nobody for the certificate.
        #[arg(long)]
        request: bool,
    },
    /// Ask the domain for another certificate now, for a new key.
    Renew,
    /// Have the domain revoke certificates of yours.
    Revoke {
        /// Of which key; the start of its name is enough.
        #[arg(value_name = "KEY", required_unless_present = "all")]
        name: Option<String>,
        /// All that the domain has issued, of keys that are not here too.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Let whoever may write to you ask your domain for the certificate of a key.
    Publish {
        /// Of which key; the start of its name is enough. Without it, of the one that signs.
        #[arg(value_name = "KEY")]
        name: Option<String>,
    },
    /// Take a key, or a certificate, from a file.
    Import(Import),
    /// Write a certificate, or the key itself.
    Export(Export),
    /// Show the keys, and the certificates of others.
    List {
        /// Print a JSON object for each.
        #[arg(long)]
        json: bool,
    },
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// ECDSA and ECDH on the curve P-256.
    #[default]
    P256,
    /// The same on P-384.
    P384,
    /// RSA of 3072 bits.
    Rsa,
    /// Ed25519, for signatures only.
    Ed25519,
}

/// Take a key, or a certificate.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// PKCS #12, or PEM with a key, certificates or both.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A command that writes the pass phrase.
    #[arg(long, value_name = "COMMAND")]
    pub password_command: Option<String>,
}

/// Write a certificate, or the key itself.
#[derive(Clone, Debug, Args)]
pub struct Export {
    /// Which key; the start of its name is enough. Without it, the one that signs.
    #[arg(value_name = "KEY")]
    pub name: Option<String>,
    /// Write the secret key too.
    #[arg(long)]
    pub secret: bool,
    /// A command that writes a pass phrase, with which the secret key is encrypted.
    #[arg(long, value_name = "COMMAND", requires = "secret")]
    pub password_command: Option<String>,
    /// A new file, for its owner alone; without it, standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Status.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// How; without it, what is seen now by those who may see all.
    #[arg(value_name = "STATE")]
    pub state: Option<Said>,
    /// A note that goes with it.
    #[arg(value_name = "NOTE", requires = "state")]
    pub note: Option<String>,
    /// For so long, such as 30m, 2h or 1d; else until something else is said.
    #[arg(long = "for", value_name = "TIME", requires = "state", value_parser = presence::duration)]
    pub time: Option<std::time::Duration>,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What a person says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Said {
    /// Messages are welcome, whether a device is attached or not.
    Open,
    /// They are not.
    Closed,
    /// Away; open or closed as the devices are.
    Away,
    /// Busy; open or closed as the devices are.
    Busy,
    /// Nothing: open while a device is attached.
    Auto,
}

/// One person.
#[derive(Clone, Debug, Args)]
pub struct Look {
    /// Who; names of the history may be cut short.
    #[arg(value_name = "ADDRESS")]
    pub who: String,
    /// Have it encrypted to the key of this account.
    #[arg(long)]
    pub encrypt: bool,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Somebody.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Who; names of the history may be cut short.
    #[arg(value_name = "ADDRESS")]
    pub who: String,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A list.
#[derive(Clone, Debug, Args)]
pub struct Shown {
    /// Print a JSON object for each.
    #[arg(long)]
    pub json: bool,
}

/// Whom a rule is about.
#[derive(Clone, Debug, Args)]
pub struct Party {
    /// An address or a domain; names of the history may be cut short.
    #[arg(value_name = "WHO")]
    pub who: String,
}

/// Log in.
#[derive(Clone, Debug, Args)]
pub struct Login {
    /// The address of the account.
    #[arg(value_name = "ADDRESS")]
    pub address: Mailbox,
    /// The name to log in with, where it is not the address.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A command that writes the password.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["keyring", "token_command"])]
    pub password_command: Option<String>,
    /// A command that writes a token, for servers that take OAuth.
    #[arg(long, value_name = "COMMAND", conflicts_with = "keyring")]
    pub token_command: Option<String>,
    /// A PEM file of a certificate to log in with, instead of a password.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keyring", "password_command", "token_command"])]
    pub certificate: Option<PathBuf>,
    /// A PEM file of its key, where that is another file.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub certificate_key: Option<PathBuf>,
    /// Keep the password in the desktop's keyring (by secret-tool).
    #[arg(long)]
    pub keyring: bool,
    /// The name of this device; by default the host's with random letters.
    #[arg(long, value_name = "NAME")]
    pub device: Option<Device>,
    /// A PEM file of authorities to believe when they name signers, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub smime_ca: Option<PathBuf>,
}

/// Send.
#[derive(Clone, Debug, Args)]
pub struct Send {
    /// Who is to have it; names of the history may be cut short.
    #[arg(value_name = "TO", required = true)]
    pub to: Vec<String>,
    /// The text; without it, standard input.
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// A file to go with it.
    #[arg(long, value_name = "FILE")]
    pub attach: Vec<PathBuf>,
    /// What the file is, for who cannot see it: the first of these for the first file, and so on.
    #[arg(long, value_name = "TEXT", requires = "attach")]
    pub describe: Vec<String>,
    /// Ask for a receipt of delivery.
    #[arg(long)]
    pub receipt: bool,
    /// Ask to be told when it is displayed.
    #[arg(long)]
    pub displayed: bool,
    /// Wait so many seconds for the receipts, and print them as they come.
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// The Message-ID of the message that it answers, which must be one of the history.
    #[arg(long, value_name = "ID")]
    pub reply_to_id: Option<String>,
    /// Say that a program writes this, so that no other program answers it.
    #[arg(long)]
    pub automatic: bool,
    /// Sign it; there must be a key.
    #[arg(long)]
    pub sign: bool,
    /// Encrypt it; of each recipient a certificate must be known.
    #[arg(long)]
    pub encrypt: bool,
}

/// Listen.
#[derive(Clone, Debug, Args)]
pub struct Listen {
    /// Print a JSON object for each event.
    #[arg(long)]
    pub json: bool,
    /// Run a command for each message, with the text on its standard input.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// End after the first message.
    #[arg(long)]
    pub once: bool,
}

/// History.
#[derive(Clone, Debug, Args)]
pub struct History {
    /// With whom; without it, the list of those with whom there was anything.
    #[arg(value_name = "WITH")]
    pub with: Option<String>,
    /// Messages that have these words.
    #[arg(long, value_name = "WORDS")]
    pub search: Option<String>,
    /// Print a JSON object for each.
    #[arg(long)]
    pub json: bool,
    /// The latest so many; without it, 10,000.
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub number: Option<usize>,
    /// Save the attachments of the message with this Message-ID into the current directory.
    #[arg(long, value_name = "ID", conflicts_with_all = ["search", "with"])]
    pub save: Option<String>,
}

/// Chat.
#[derive(Clone, Debug, Args)]
pub struct Chat {
    /// With whom to begin.
    #[arg(value_name = "WITH")]
    pub with: Option<String>,
    /// Line by line instead of full-screen, for screen readers and dumb terminals.
    #[arg(long)]
    pub line: bool,
}

/// Codes of sysexits.h.
pub mod exit {
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// An input is wrong.
    pub const DATA: u8 = 65;
    /// A file cannot be read.
    pub const NO_INPUT: u8 = 66;
    /// There is no such recipient.
    pub const NO_USER: u8 = 67;
    /// A message was refused.
    pub const UNAVAILABLE: u8 = 69;
    /// An error of this program, or of the system.
    pub const SOFTWARE: u8 = 70;
    /// The history, or standard output, cannot be written.
    pub const IO: u8 = 74;
    /// It waits, or may work later.
    pub const TEMPORARY: u8 = 75;
    /// The login was refused.
    pub const PERMISSION: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// What is said and with which code the program ends.
#[derive(Debug)]
pub struct Failure {
    /// A code of sysexits.h.
    pub code: u8,
    /// In words; may be empty where all has been said.
    pub text: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: u8, text: impl ToString) -> Failure {
        Failure { code, text: text.to_string() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match &error {
            ClientError::Config(_) => exit::CONFIG,
            ClientError::Unreachable { .. } | ClientError::Session { .. } => exit::TEMPORARY,
            ClientError::Certificate { .. } | ClientError::Randomness(_) => exit::TEMPORARY,
            ClientError::Login { reply, .. } | ClientError::NotAttached { reply, .. } if !reply.is_permanent() => {
                exit::TEMPORARY
            }
            ClientError::Login { .. } | ClientError::NotAttached { .. } | ClientError::Sasl { .. } => exit::PERMISSION,
            ClientError::Password { .. } => exit::PERMISSION,
            ClientError::History(error) => return Failure { code: history_code(error), text: error.to_string() },
            ClientError::Message(_) | ClientError::NoKey { .. } | ClientError::NoCertificate { .. } => exit::DATA,
            ClientError::NoReader { .. } => exit::DATA,
            ClientError::Seal(_) => exit::DATA,
            ClientError::Keys(_) => exit::IO,
            ClientError::Refused { reply, .. } => refused(reply),
            ClientError::NoPresence { .. } => exit::UNAVAILABLE,
            ClientError::Silent { .. } => exit::TEMPORARY,
            ClientError::Rules(_) => exit::DATA,
        };
        Failure::new(code, error)
    }
}

/// By the enhanced code of a refusal.
fn refused(reply: &crate::reply::Reply) -> u8 {
    let status = reply.status();
    match (reply.is_permanent(), status.subject, status.detail) {
        (false, ..) => exit::TEMPORARY,
        (true, 1, 1 | 2 | 10) => exit::NO_USER,
        (true, 7, _) => exit::PERMISSION,
        _ => exit::UNAVAILABLE,
    }
}

fn history_code(error: &HistoryError) -> u8 {
    match error {
        // Nothing was taken.
        HistoryError::System { .. } | HistoryError::Full(_) => exit::IO,
        HistoryError::TooLarge { .. } => exit::DATA,
        HistoryError::Busy { .. } => exit::TEMPORARY,
        HistoryError::Version { .. } => exit::CONFIG,
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Failure {
        Failure::new(history_code(&error), error)
    }
}

/// Does what the arguments say.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Login(login) => login::run(&arguments, login).await,
        Command::Send(send) => send::run(&open(&arguments).await?, send).await,
        Command::Listen(listen) => listen::run(&open(&arguments).await?, listen).await,
        Command::History(shown) => history::run(&account(&arguments)?, shown),
        Command::Key(command) => key::run(&arguments, &account(&arguments)?, command, super::submit::now()).await,
        Command::Chat(chat) => super::chat::run(open(&arguments).await?, chat.with.as_deref(), chat.line).await,
        Command::Status(status) => presence::status(&open(&arguments).await?, status).await,
        Command::Watch(who) => presence::watch(&open(&arguments).await?, who).await,
        Command::Unwatch(who) => presence::unwatch(&open(&arguments).await?, who).await,
        Command::Fetch(who) => presence::fetch(&open(&arguments).await?, who).await,
        Command::Contacts(shown) => presence::contacts(&open(&arguments).await?, shown).await,
        Command::Watchers(shown) => presence::watchers(&open(&arguments).await?, shown).await,
        Command::Allow(who) => presence::treat(&open(&arguments).await?, who, Treatment::Allow).await,
        Command::Confirm(who) => presence::treat(&open(&arguments).await?, who, Treatment::Confirm).await,
        Command::Block(who) => presence::treat(&open(&arguments).await?, who, Treatment::Block).await,
        Command::PoliteBlock(who) => presence::treat(&open(&arguments).await?, who, Treatment::PoliteBlock).await,
        Command::Completion { shell } => {
            completion::print(Arguments::command(), *shell).map_err(|fault| Failure::new(exit::IO, fault))
        }
    }
}

/// The configured account, with what the arguments say instead.
fn account(arguments: &Arguments) -> Result<Account, Failure> {
    let mut account = Account::configured(arguments.account.as_deref())?;
    if let Some(server) = &arguments.server {
        account.server = Some(server.clone());
    }
    if let Some(ca) = &arguments.ca {
        account.authorities = Some(ca.clone());
    }
    Ok(account)
}

async fn open(arguments: &Arguments) -> Result<Client, Failure> {
    Ok(Client::open(account(arguments)?).await?)
}

pub(super) use presence::{duration, party, said, told, treated};
pub(super) use show::{
    change as show_change, fates as show_fates, incoming as show_incoming, link as show_link, message as show_message,
    time as show_time,
};

/// Writes to standard output.
fn write(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes to standard output; a reader that has gone ends the program quietly, a full disk with a complaint.
pub(super) fn print(text: &str) {
    match write(text) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            complain(format_args!("standard output: {error}"));
            std::process::exit(exit::IO.into());
        }
    }
}

/// Writes a line to standard error.
fn complain(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "impart: {text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::reply::{EnhancedCode, Reply};

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    fn parse(line: &str) -> Option<Command> {
        Arguments::try_parse_from(line.split(' ')).ok().map(|arguments| arguments.command)
    }

    #[test]
    fn command_lines() {
        let line =
            "impart send bob@b.test eve -m hi --attach a --attach b --receipt --wait 5 --reply-to-id <1@x> -a al";
        let Some(Command::Send(send)) = parse(line) else { panic!("not send") };
        assert_eq!((send.to.len(), send.attach.len(), send.wait), (2, 2, Some(5)));
        assert!(matches!(parse("impart chat --line bob"), Some(Command::Chat(Chat { line: true, with: Some(_) }))));
        assert!(matches!(parse("impart history bob -n 5"), Some(Command::History(History { number: Some(5), .. }))));
        let Some(Command::Login(login)) = parse("impart login a@a.test --server [::1]:5 --ca f") else {
            panic!("not login")
        };
        assert_eq!(login.address.to_string(), "a@a.test");
        for bad in [
            "impart",
            "impart send",
            "impart login nobody",
            "impart login a@a.test --device a/b",
            "impart login a@a.test --server x:y",
            "impart history x --save <1@x>",
            "impart listen --wait 5",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn codes() {
        let account = || Mailbox::parse("a@a.test").unwrap();
        let login = |code, class| ClientError::Login {
            account: account(),
            reply: Reply::new(code, EnhancedCode::new(class, 7, 8), "no"),
        };
        assert_eq!(Failure::from(login(535, 5)).code, exit::PERMISSION);
        assert_eq!(Failure::from(login(454, 4)).code, exit::TEMPORARY);
        let unreachable = ClientError::Unreachable { account: account(), reason: "x".to_owned() };
        assert_eq!(Failure::from(unreachable).code, exit::TEMPORARY);
        // Whoever reads 75 does not send again, and here nothing waits.
        assert_eq!(Failure::from(HistoryError::Full("x".into())).code, exit::IO);
        let large = HistoryError::TooLarge { path: "x".into(), size: 1 << 40 };
        assert_eq!(Failure::from(large).code, exit::DATA);
    }
}
