//! The person's accounts: who, at which server, with which password; and the file that says so.
//!
//! In: `config.toml`, arguments, the environment. Out: [`Account`]s. Invariants: no password is in the file; the file is
//! its owner's alone, and replaced as a whole. Fails with the file, the fault and a remedy.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::ClientError;
use crate::address::{Device, Domain, Mailbox};
use crate::disk;
use crate::dns::{self, Resolve, SetupError};
use crate::net::Host;
use crate::random;
use crate::sasl::{Credentials, Secret};
use crate::tls::{CertificateError, CertificateFiles, Certificates};

/// The port of clients, where none is named.
pub const PORT: u16 = 2780;
const CONFIG_HEAD: &str = "# Accounts of impart(1). Passwords are not here: password-command writes them.\n\n";
/// How long the command that says the password may take.
const PASSWORD_TIME: Duration = Duration::from_secs(60);
/// Seconds after which the server is asked to give a sign of life.
const NOOP_SECONDS: u16 = 300;

/// A server by name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl std::str::FromStr for Server {
    type Err = String;

    /// `host`, `host:port`, `192.0.2.1:port`, `[2001:db8::1]:port`.
    fn from_str(text: &str) -> Result<Server, String> {
        let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if bare(text).is_none() || text.ends_with(']') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) if text.ends_with(']') => (text, PORT),
                Err(_) => return Err(format!("{port:?} is no port; write host:port")),
            },
            _ => (text, PORT),
        };
        let name = || Domain::parse(host).map(Host::Name).map_err(|error| format!("{host:?}: {error}"));
        let host = bare(host).map_or_else(name, |address| Ok(Host::Address(address)))?;
        Ok(Server { host, port })
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// It is known.
    Given(Secret),
    /// The first line that a command of the shell writes.
    Command(String),
    /// The first line that a command of the shell writes is a token (OAUTHBEARER), not a password.
    TokenCommand(String),
    /// The person is asked at the terminal.
    Prompt,
    /// There is none: a certificate says who it is (EXTERNAL). PEM files, read with each connection.
    Certificate {
        /// The certificate, with those above it.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// What the reader lets authors know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Displayed {
    /// Nothing.
    #[default]
    No,
    /// What the reader says for each message.
    Ask,
    /// That a message was displayed, where its author asks.
    Yes,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The address, which is the name of the inbox.
    pub address: Mailbox,
    /// The name to log in with, where it is not the address.
    pub login: Option<String>,
    /// The server; `None`: DNS says it.
    pub server: Option<Server>,
    /// A PEM file of authorities that are trusted, instead of the system's.
    pub authorities: Option<PathBuf>,
    /// Where the password comes from.
    pub password: Password,
    /// The name of this device, by which the server keeps what it has not had.
    pub device: Option<Device>,
    /// Further inboxes to receive from, as their rules allow.
    pub inboxes: Vec<Mailbox>,
    /// What authors are told.
    pub displayed: Displayed,
    /// Whether partners are told that one is typing.
    pub typing: bool,
    /// A PEM file of authorities that are believed when they name signers, instead of the system's.
    pub signer_authorities: Option<PathBuf>,
    /// Files of lists of revoked certificates, PEM or DER.
    pub revocations: Vec<PathBuf>,
    /// Whether the first certificate that somebody signs with is believed, where no authority vouches for it.
    pub trust_first: bool,
    /// Whether what servers tell of others' presence is to be encrypted to the account's key.
    pub encrypt_presence: bool,
    /// Servers of the DNS to ask, instead of the system's.
    pub dns: Vec<SocketAddr>,
    /// Idle seconds after which the server gives a sign of life.
    pub noop: u16,
}

impl Account {
    /// An account with the defaults, asked for its password.
    pub fn new(address: Mailbox) -> Account {
        Account {
            address,
            login: None,
            server: None,
            authorities: None,
            password: Password::Prompt,
            device: None,
            inboxes: Vec::new(),
            displayed: Displayed::No,
            typing: true,
            signer_authorities: None,
            revocations: Vec::new(),
            trust_first: false,
            encrypt_presence: false,
            dns: Vec::new(),
            noop: NOOP_SECONDS,
        }
    }

    /// The configured account of that address, or the first where there is none.
    pub fn configured(address: Option<&str>) -> Result<Account, ClientError> {
        let file = config_file()?;
        let config = Config::read(&file)?;
        let found = config.find(address).ok_or_else(|| match address {
            Some(address) => {
                let known: Vec<String> = config.account.iter().map(|entry| entry.address.to_string()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                ClientError::Config(format!("{}: no account {address}; there are: {known}", file.display()))
            }
            None => ClientError::Config("no account yet; run `impart login ADDRESS`".to_owned()),
        })?;
        Ok(found.account())
    }

    /// How names are looked up.
    pub(super) fn resolver(&self) -> Result<Arc<dyn Resolve>, SetupError> {
        dns::from_options(dns::Options { servers: self.dns.clone(), ..dns::Options::default() })
    }

    /// Where its history is: below `XDG_DATA_HOME`.
    pub fn directory(&self) -> Result<PathBuf, ClientError> {
        let base = base("XDG_DATA_HOME", ".local/share")?;
        Ok(base.join("impart").join(directory_name(&self.address.key())))
    }

    /// What is shown to a server that asks for a certificate.
    pub(super) fn certificates(&self) -> Result<Arc<Certificates>, CertificateError> {
        match &self.password {
            Password::Certificate { chain, key } => {
                let files = CertificateFiles { names: Vec::new(), chain: chain.clone(), key: key.clone() };
                Certificates::load(vec![files])
            }
            _ => Ok(Certificates::none()),
        }
    }

    /// What the login is proven with; runs the command, or asks the person.
    pub async fn credentials(&self) -> Result<Credentials, ClientError> {
        let user = self.login.clone().unwrap_or_else(|| self.address.to_string());
        let fault = |reason: String| ClientError::Password { account: self.address.clone(), reason };
        match &self.password {
            Password::Given(password) => Ok(Credentials::Password { user, password: password.clone() }),
            Password::Command(command) => {
                let password = first_line(command).await.map_err(fault)?;
                Ok(Credentials::Password { user, password })
            }
            Password::TokenCommand(command) => {
                let token = first_line(command).await.map_err(fault)?;
                Ok(Credentials::Token { user, token })
            }
            Password::Certificate { .. } => Ok(Credentials::Certificate { user: Some(user) }),
            Password::Prompt => {
                let question = format!("Password of {}: ", self.address);
                let password = super::terminal::ask_secret(&question).map_err(|error| fault(error.to_string()))?;
                Ok(Credentials::Password { user, password })
            }
        }
    }
}

/// What logins are proven with. What a command says is asked for anew with each, for a token does not last.
#[derive(Debug)]
pub(super) struct Logins {
    account: Arc<Account>,
    known: Credentials,
    /// Until when the first answer of a command serves one login.
    first: Mutex<Option<Instant>>,
}

impl Logins {
    /// With what was asked for just now.
    pub fn new(account: Arc<Account>, known: Credentials) -> Logins {
        Logins { account, known, first: Mutex::new(Some(Instant::now() + PASSWORD_TIME)) }
    }

    /// For the next login.
    pub async fn next(&self) -> Result<Credentials, ClientError> {
        let fresh = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.account.password {
            Password::Command(_) | Password::TokenCommand(_) if fresh.is_none_or(|until| until < Instant::now()) => {
                self.account.credentials().await
            }
            _ => Ok(self.known.clone()),
        }
    }
}

/// An address as the name of a directory.
pub(super) fn directory_name(key: &str) -> String {
    let mut name = String::new();
    for octet in key.bytes() {
        if octet.is_ascii_alphanumeric() || b"@._+-".contains(&octet) {
            name.push(char::from(octet));
        } else {
            name.push_str(&format!("%{octet:02X}"));
        }
    }
    if name.starts_with('.') { format!("%2E{}", &name[1..]) } else { name }
}

/// The first line of what a command writes.
async fn first_line(command: &str) -> Result<Secret, String> {
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.arg("-c").arg(command).stderr(std::process::Stdio::inherit()).kill_on_drop(true);
    let output = tokio::time::timeout(PASSWORD_TIME, shell.output()).await;
    let output = output.map_err(|_| format!("`{command}` took longer than {} s", PASSWORD_TIME.as_secs()))?;
    let output = output.map_err(|error| format!("`{command}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{command}` failed ({})", output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| format!("`{command}` wrote no UTF-8"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(format!("`{command}` wrote nothing")),
    }
}

/// An account in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// The address.
    pub address: Mailbox,
    /// The name to log in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// A PEM file of authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Writes the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
    /// Writes a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_command: Option<String>,
    /// A PEM file of the certificate to log in with, instead of a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// A PEM file of its key, where that is another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_key: Option<PathBuf>,
    /// The name of this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Further inboxes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inboxes: Vec<Mailbox>,
    /// What authors are told.
    #[serde(default)]
    pub displayed: Displayed,
    /// Whether partners are told that one is typing.
    #[serde(default = "yes")]
    pub typing: bool,
    /// A PEM file of authorities that are believed when they name signers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smime_ca: Option<PathBuf>,
    /// Files of lists of revoked certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smime_crls: Vec<PathBuf>,
    /// Whether the first certificate that somebody signs with is believed.
    #[serde(default)]
    pub trust_first: bool,
    /// Whether what servers tell of others' presence is to be encrypted to the account's key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypt_presence: bool,
    /// Servers of the DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<SocketAddr>,
    /// Idle seconds after which the server gives a sign of life.
    #[serde(default = "noop", deserialize_with = "idle", skip_serializing_if = "is_noop")]
    pub noop: u16,
}

fn yes() -> bool {
    true
}

fn noop() -> u16 {
    NOOP_SECONDS
}

fn is_noop(seconds: &u16) -> bool {
    *seconds == NOOP_SECONDS
}

fn idle<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let seconds = u16::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("`noop` is {seconds}; write 30 to 1740 seconds"));
    Some(seconds).filter(|seconds| (30..=1740).contains(seconds)).ok_or_else(wrong)
}

impl Entry {
    /// As an account.
    pub fn account(&self) -> Account {
        let password = match (&self.certificate, &self.password_command, &self.token_command) {
            (Some(chain), _, _) => {
                let key = self.certificate_key.as_ref().unwrap_or(chain);
                Password::Certificate { chain: chain.clone(), key: key.clone() }
            }
            (None, Some(command), _) => Password::Command(command.clone()),
            (None, None, Some(command)) => Password::TokenCommand(command.clone()),
            (None, None, None) => Password::Prompt,
        };
        Account {
            login: self.login.clone(),
            server: self.server.clone(),
            authorities: self.ca.clone(),
            password,
            device: self.device.clone(),
            inboxes: self.inboxes.clone(),
            displayed: self.displayed,
            typing: self.typing,
            signer_authorities: self.smime_ca.clone(),
            revocations: self.smime_crls.clone(),
            trust_first: self.trust_first,
            encrypt_presence: self.encrypt_presence,
            dns: self.dns.clone(),
            noop: self.noop,
            ..Account::new(self.address.clone())
        }
    }
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The accounts; the first is used where none is named.
    #[serde(default)]
    pub account: Vec<Entry>,
}

impl Config {
    /// Reads it; a file that is not there has no accounts.
    pub fn read(file: &Path) -> Result<Config, ClientError> {
        match fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                ClientError::Config(format!("{}: {error}; mend the file, see impart(1)", file.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
            Err(error) => Err(ClientError::Config(format!("{}: {error}", file.display()))),
        }
    }

    /// The account of that address, or with a name that begins so; the first where none is named.
    pub fn find(&self, address: Option<&str>) -> Option<&Entry> {
        let Some(address) = address else { return self.account.first() };
        let wanted = address.to_lowercase();
        let exact = self.account.iter().find(|entry| entry.address.key() == wanted);
        exact.or_else(|| self.account.iter().find(|entry| entry.address.key().starts_with(&wanted)))
    }

    /// Puts an account in, in place of the one of its address.
    pub fn put(&mut self, entry: Entry) {
        match self.account.iter_mut().find(|known| known.address.key() == entry.address.key()) {
            Some(known) => *known = entry,
            None => self.account.push(entry),
        }
    }

    /// Writes it, for its owner alone, wholly or not at all.
    pub fn write(&self, file: &Path) -> Result<(), ClientError> {
        let fault = |error: &dyn std::fmt::Display| ClientError::Config(format!("{}: {error}", file.display()));
        let text = toml::to_string(self).map_err(|error| fault(&error))?;
        let directory = file.parent().unwrap_or(Path::new("."));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| fault(&error))?;
        // Two programs may write at one time.
        let token = random::token().map_err(|error| fault(&error))?;
        let beside = directory.join(format!(".config.{token}"));
        disk::replace_by(file, &beside, 0o600, None, &[CONFIG_HEAD.as_bytes(), text.as_bytes()])
            .map_err(|error| fault(&error))
    }
}

/// `IMPART_CONFIG`, else `impart/config.toml` below `XDG_CONFIG_HOME`.
pub fn config_file() -> Result<PathBuf, ClientError> {
    match std::env::var_os("IMPART_CONFIG").filter(|file| !file.is_empty()) {
        Some(file) => Ok(PathBuf::from(file)),
        None => Ok(base("XDG_CONFIG_HOME", ".config")?.join("impart").join("config.toml")),
    }
}

fn base(variable: &str, below_home: &str) -> Result<PathBuf, ClientError> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || of("HOME").map(|home| home.join(below_home));
    of(variable).or_else(home).ok_or_else(|| ClientError::Config(format!("neither {variable} nor HOME is set")))
}

/// A name for this device: of the host, with random letters, since hosts of one name are many.
pub fn device_name() -> Option<Device> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let host: String = host.split('.').next().unwrap_or_default().chars().filter(plain).take(40).collect();
    let host = if host.is_empty() { "device".to_owned() } else { host };
    Device::parse(&format!("{host}-{}", &random::token().ok()?[..6])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, expected) in [
            ("mx.a.test", Some("mx.a.test:2780")),
            ("MX.a.test:5", Some("mx.a.test:5")),
            ("127.0.0.1:5", Some("127.0.0.1:5")),
            ("127.0.0.1", Some("127.0.0.1:2780")),
            ("[::1]:5", Some("[::1]:5")),
            ("[::1]", Some("[::1]:2780")),
            ("::1", Some("[::1]:2780")),
            ("mx.a.test:x", None),
            ("mx.a.test:99999", None),
            ("", None),
        ] {
            let got = text.parse::<Server>().ok().map(|server| server.to_string());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_file_comes_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a").join("config.toml");
        assert_eq!(Config::read(&file).unwrap(), Config::default());
        let text = "[[account]]\naddress = \"alice@a.test\"\nserver = \"127.0.0.1:5\"\ndevice = \"laptop\"\n\
                    password-command = \"pass show x\"\ndisplayed = \"ask\"\n";
        let mut config: Config = toml::from_str(text).unwrap();
        config.put(Entry { login: Some("x".to_owned()), ..config.account[0].clone() });
        config.put(toml::from_str("address = \"bob@b.test\"").unwrap());
        config.write(&file).unwrap();
        assert_eq!(Config::read(&file).unwrap(), config);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let account = config.find(None).unwrap().account();
        assert_eq!(account.password, Password::Command("pass show x".to_owned()));
        assert_eq!((account.displayed, account.typing), (Displayed::Ask, true));
        assert_eq!(config.find(Some("BOB")).unwrap().address.to_string(), "bob@b.test");
        assert!(config.find(Some("eve")).is_none());
        fs::write(&file, "[[account]]\naddres = \"x\"\n").unwrap();
        let error = Config::read(&file).unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains("addres"), "{error}");
    }

    #[test]
    fn directories_and_devices() {
        assert_eq!(directory_name("a/../b@a.test"), "a%2F..%2Fb@a.test");
        assert_eq!(directory_name("..@a.test"), "%2E.@a.test");
        assert!(device_name().is_some());
    }

    #[tokio::test]
    async fn passwords_by_command() {
        let mut account = Account::new(Mailbox::parse("alice@a.test").unwrap());
        account.password = Password::Command("printf 'secret\\nmore\\n'".to_owned());
        let Ok(Credentials::Password { user, password }) = account.credentials().await else { panic!("none") };
        assert_eq!((user.as_str(), password.reveal()), ("alice@a.test", "secret"));
        for (command, words) in [("exit 3", "failed (exit status: 3)"), ("true", "wrote nothing")] {
            account.password = Password::Command(command.to_owned());
            let error = account.credentials().await.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("password-command"), "{error}");
        }
    }
}
