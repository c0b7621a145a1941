//! `impartctl`: asks the daemon, or the spool of one that does not run, and prints the answer.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser};
use impart::accounts;
use impart::accounts::file::{self, FileError};
use impart::address::{Domain, Mailbox};
use impart::clock::{Clock, System};
use impart::completion;
use impart::config::{self, Config, Via};
use impart::control::authority::brought::Brought;
use impart::control::authority::online::{self, PassPhrases};
use impart::control::authority::{self, AuthorityError, PassPhrase};
use impart::control::cli::{Account, Arguments, AuthorityFiles, Cert, Certified, Command, Presence, Queue, Rules};
use impart::control::client::{Client, ClientError};
use impart::control::offline::{Compose, Offline};
use impart::control::presence::{self, Ask, What};
use impart::control::publish::Offer;
use impart::control::server::{Handler, Rows};
use impart::control::{
    Call, Fault, FaultCode, Finding, Level, Row, account, certificate, check, mail, publish, rules, signers,
};
use impart::daemon;
use impart::daemon::journal::complain;
use impart::dns;
use impart::net::Address;
use impart::policy::Service;
use impart::queue;
use impart::sasl::Secret;
use impart::spool::{self, Spool};

#[path = "impartctl/printer.rs"]
mod printer;
#[path = "impartctl/watch.rs"]
mod watch;

use printer::Printer;

/// Codes of sysexits.h.
mod exit {
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const UNAVAILABLE: u8 = 69;
    pub const SOFTWARE: u8 = 70;
    pub const IO: u8 = 74;
    pub const PERMISSION: u8 = 77;
    pub const CONFIG: u8 = 78;
}

/// What is said and with which code it ends.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, text: impl ToString) -> Failure {
        Failure { code, text: text.to_string() }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        let code = match fault.code {
            FaultCode::Selection => exit::USAGE,
            FaultCode::NotFound => exit::DATA,
            FaultCode::Spool => exit::IO,
            FaultCode::Config => exit::CONFIG,
            FaultCode::Request | FaultCode::Version | FaultCode::Failed => exit::SOFTWARE,
        };
        Failure::new(code, fault)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match error {
            ClientError::Fault(fault) => return fault.into(),
            ClientError::NotRunning(_) => exit::UNAVAILABLE,
            ClientError::Forbidden(_) => exit::PERMISSION,
            ClientError::Broken(_) => exit::IO,
            ClientError::Strange(_) => exit::SOFTWARE,
        };
        Failure::new(code, error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let code = match &error {
            FileError::System { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => exit::PERMISSION,
            FileError::System { .. } => exit::IO,
            FileError::Content { .. } => exit::CONFIG,
            FileError::Change(_) => exit::DATA,
        };
        Failure::new(code, error)
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Failure {
        let code = match &error {
            AuthorityError::System { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
                exit::PERMISSION
            }
            AuthorityError::Pin(_) => exit::PERMISSION,
            AuthorityError::System { .. } | AuthorityError::Signing(_) => exit::IO,
            AuthorityError::Content { .. } | AuthorityError::Refused(_) => exit::DATA,
        };
        Failure::new(code, error)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        // It needs no configuration.
        Ok(Arguments { command: Command::Completion { shell }, .. }) => {
            let printed = completion::print(Arguments::command(), shell);
            return printed.map_or_else(|fault| fail(Failure::new(exit::IO, fault)), |()| ExitCode::SUCCESS);
        }
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no reason to say more.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Failure::new(exit::SOFTWARE, error)),
    };
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(failure),
    }
}

fn fail(failure: Failure) -> ExitCode {
    if !failure.text.is_empty() {
        complain("impartctl", failure.text);
    }
    ExitCode::from(failure.code)
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config).map_err(|errors| Failure::new(exit::CONFIG, errors))?;
    let mut printer = Printer::new(arguments.json);
    match &arguments.command {
        Command::Check => examine(&config, &mut printer).await,
        Command::Dns => {
            printer.text(&publish::zone(&publish_facts(&config)));
            Ok(())
        }
        Command::Status => ask(&config, Call::Status, &mut printer).await,
        Command::Completion { .. } => Ok(()),
        Command::Reload => ask(&config, Call::Reload, &mut printer).await,
        Command::Drain => ask(&config, Call::Drain, &mut printer).await,
        Command::Cert(wanted) => certificates(&config, wanted, &printer),
        Command::Account(wanted) => account(&config, wanted, &mut printer).await,
        Command::Rules(wanted) => inbox_rules(&config, wanted, &mut printer).await,
        Command::Presence(wanted) => whom(&config, wanted, &mut printer).await,
        Command::Queue(queue) => queue_call(&config, call(queue)?, &mut printer).await,
        Command::Trace { subject, log } => watch::trace(&config, subject, log.as_deref(), &mut printer).await,
        Command::Top { once, interval } => watch::top(&config, *once, *interval, &printer).await,
    }
}

/// The queue of the daemon, or of the disk.
async fn queue_call(config: &Config, call: Call, printer: &mut Printer) -> Result<(), Failure> {
    printer.heading = matches!(call, Call::List { .. });
    printer.detailed = matches!(call, Call::Show { .. });
    match Client::connect(&config.control).await {
        Ok(mut client) => client.call(call, |row| printer.row(&row)).await.map(drop)?,
        Err(ClientError::NotRunning(_)) => offline(config, call, printer).await?,
        Err(error) => return Err(error.into()),
    }
    printer.total();
    Ok(())
}

/// The authority of a domain.
fn certificates(config: &Config, wanted: &Cert, printer: &Printer) -> Result<(), Failure> {
    let served: Vec<_> = config.domains.iter().map(|domain| domain.name.clone()).collect();
    let files = wanted.authority();
    let directory = files.ca.clone().unwrap_or_else(|| config.authorities());
    let now = System::new().now();
    let place = authority::Place { directory: &directory, served: &served, now, json: printer.json };
    let text = authority::run(wanted, place, |domain, what| pass_phrase(config, files, domain, what))?;
    printer.text(&text);
    Ok(())
}

/// The pass phrase of an authority's key: the first line of a file, of a credential of systemd, else asked for.
fn pass_phrase(config: &Config, files: &AuthorityFiles, domain: &Domain, what: PassPhrase) -> Result<Secret, String> {
    let own = impart::daemon::issuers(config).into_iter().find(|issuer| issuer.domain == *domain);
    let usual = || PassPhrases { file: None, credential: "impart-ca".to_owned() };
    let configured = own.map_or_else(usual, |issuer| issuer.pass_phrase);
    if let Some(path) = files.passphrase_file.clone().or_else(|| configured.path()) {
        return PassPhrases::read(&path);
    }
    secret("pass phrase", &format!("Pass phrase for the authority of {domain}: "), what == PassPhrase::New)
}

/// The file of accounts; a daemon that runs is told of a change.
async fn account(config: &Config, wanted: &Account, printer: &mut Printer) -> Result<(), Failure> {
    let served: Vec<_> = config.domains.iter().map(|domain| domain.name.clone()).collect();
    if let Account::Remove { account, keep_certificates: false, authority } = wanted {
        revoke_all(config, account, authority, printer).await?;
    }
    let done = account::run(wanted, &config.accounts.file, &served, printer.json, password)?;
    done.lines.iter().for_each(|line| printer.text(&format!("{line}\n")));
    if done.changed { tell(config, "the account was changed").await } else { Ok(()) }
}

/// The certificates of an account that is to be removed: by the daemon, which may have the authority's key, else here. An
/// account whose certificates would hold stays.
async fn revoke_all(
    config: &Config,
    account: &Mailbox,
    files: &AuthorityFiles,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let entries = file::load(&config.accounts.file)?;
    let Some(entry) = entries.get(&account.key()) else { return Ok(()) };
    let all: Vec<Mailbox> = std::iter::once(&entry.name).chain(&entry.addresses).cloned().collect();
    let directory = files.ca.clone().unwrap_or_else(|| config.authorities());
    let now = System::new().now();
    let place = authority::Place { directory: &directory, served: &[], now, json: false };
    let mut certified = authority::certified(place, &all)?;
    if !certified.is_empty()
        && let Ok(mut client) = Client::connect(&config.control).await
        && client.call(Call::Revoke { addresses: certified.clone() }, |_| {}).await.is_ok()
    {
        certified = authority::certified(place, &certified)?;
    }
    for address in certified {
        let revoke = Cert::Revoke { what: Certified::Address(address.clone()), authority: files.clone() };
        let done = authority::run(&revoke, place, |domain, what| pass_phrase(config, files, domain, what));
        let fault = |fault: AuthorityError| {
            let text = format!(
                "the certificates of {address} are not revoked, and {account} is not removed: {fault}; give \
                 --passphrase-file, or --keep-certificates"
            );
            Failure { text, ..Failure::from(fault) }
        };
        printer.text(&done.map_err(fault)?);
    }
    Brought::at(config.brought()).withdraw(&all, None)?;
    Ok(())
}

/// The rules of an inbox; a daemon that runs is told of a change.
async fn inbox_rules(config: &Config, wanted: &Rules, printer: &mut Printer) -> Result<(), Failure> {
    let served: Vec<_> = config.domains.iter().map(|domain| domain.name.clone()).collect();
    let aliases: Vec<_> = config.domains.iter().flat_map(|domain| domain.aliases.iter().cloned()).collect();
    let entries = file::load(&config.accounts.file)?;
    let here = rules::Here { served: &served, aliases: &aliases, entries: &entries };
    let done = rules::run(wanted, &config.accounts.rules, here, printer.json, rules::open)?;
    printer.text(&done.text);
    done.remarks.iter().for_each(|remark| complain("impartctl", remark));
    audit(config, format!("rules {} {}", wanted.name(), wanted.inbox())).await;
    if done.changed { tell(config, "the rules were changed").await } else { Ok(()) }
}

/// Who watches whom; what holds for everybody is in the configuration.
async fn whom(config: &Config, wanted: &Presence, printer: &mut Printer) -> Result<(), Failure> {
    let (what, address, watcher) = match wanted {
        Presence::Watchers { address } => (What::Watchers, address, None),
        Presence::Contacts { address } => (What::Contacts, address, None),
        Presence::Show { address, watcher } => (What::Show, address, watcher.clone()),
        Presence::Remove { address, watcher } => (What::Remove, address, Some(watcher.clone())),
        Presence::Limits => {
            presence_limits(config).into_iter().for_each(|finding| printer.row(&Row::Finding(finding)));
            return Ok(());
        }
    };
    let asked = Ask { what, address: address.clone(), watcher };
    match ask(config, Call::Presence(asked.clone()), printer).await {
        Err(failure) if failure.code == exit::UNAVAILABLE => whom_offline(config, asked, printer).await,
        done => done,
    }
}

/// The same on the disk, while no daemon has it.
async fn whom_offline(config: &Config, ask: Ask, printer: &mut Printer) -> Result<(), Failure> {
    let spool = open_spool(config, "presence as it is on the disk")?;
    let clock: Arc<dyn Clock> = Arc::new(System::new());
    let (rows, mut receiver) = Rows::channel(256);
    let asked = async {
        let done = daemon::ask_presence_offline(config, &spool, &clock, ask, &rows).await;
        drop(rows);
        done
    };
    let print = async {
        while let Some(row) = receiver.recv().await {
            printer.row(&row);
        }
    };
    let (outcome, ()) = tokio::join!(asked, print);
    spool.close().await;
    Ok(outcome?)
}

fn presence_limits(config: &Config) -> Vec<Finding> {
    let domains: Vec<_> = config.domains.iter().map(|one| (one.name.clone(), one.im, one.presence)).collect();
    let config::Presence { default, options } = config.presence.clone();
    let impart::presence::Options { longest, shortest, interval, watchers, undecided, contacts, .. } = options;
    let watchers = (watchers, undecided);
    presence::limits(&domains, presence::Chosen { default, lasts: (shortest, longest), interval, watchers, contacts })
}

/// What was read or changed of a person's, for the log of a daemon that runs; without one there is none to tell.
async fn audit(config: &Config, text: String) {
    let told = async { Client::connect(&config.control).await?.call(Call::Audit { text }, |_| {}).await };
    match told.await {
        Ok(_) | Err(ClientError::NotRunning(_)) => {}
        Err(error) => complain("impartctl", format_args!("the log has no line about this: {error}")),
    }
}

/// Tells a daemon that runs of what was done to its files.
async fn tell(config: &Config, what: &str) -> Result<(), Failure> {
    let mut client = match Client::connect(&config.control).await {
        Ok(client) => client,
        Err(ClientError::NotRunning(_)) => return Ok(()),
        Err(error) => {
            complain("impartctl", format_args!("impartd sees the change in half a minute: {error}"));
            return Ok(());
        }
    };
    let rows = |_: Row| {};
    client
        .call(Call::Reload, rows)
        .await
        .map(drop)
        .map_err(|error| Failure::new(exit::CONFIG, format!("{what}, and impartd could not read it: {error}")))
}

/// A new password: asked for twice at a terminal, else the first line of standard input.
fn password(account: &Mailbox) -> Result<Secret, String> {
    secret("password", &format!("Password for {account}: "), true)
}

/// A secret: asked for at a terminal, twice if it is new, else the first line of standard input.
fn secret(what: &str, prompt: &str, new: bool) -> Result<Secret, String> {
    use std::io::{BufRead as _, IsTerminal as _, Read as _};
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        let read = std::io::stdin().lock().take(4096).read_line(&mut line);
        read.map_err(|error| format!("no {what} on standard input: {error}"))?;
        let line = line.trim_end_matches(['\r', '\n']);
        return match line.is_empty() {
            true => Err(format!("no {what} on standard input; write it there, or run impartctl at a terminal")),
            false => Ok(Secret::new(line)),
        };
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map_err(|error| format!("no {what}: {error}"));
    let first = ask(prompt)?;
    if new && first != ask("Once more: ")? {
        return Err("the two differ; nothing was changed".to_owned());
    }
    match first.is_empty() {
        true => Err(format!("no {what} was given")),
        false => Ok(Secret::new(first)),
    }
}

async fn ask(config: &Config, call: Call, printer: &mut Printer) -> Result<(), Failure> {
    let mut client = Client::connect(&config.control).await?;
    client.call(call, |row| printer.row(&row)).await?;
    Ok(())
}

fn call(queue: &Queue) -> Result<Call, Failure> {
    let age = |text: &str| config::parse_duration(text).map(|age| age.as_secs());
    let select = |which: &impart::control::cli::Which| {
        which.selector(age).map_err(|fault| Failure::new(exit::USAGE, format!("--older-than {fault}")))
    };
    Ok(match queue {
        Queue::List { which, limit } => Call::List { select: select(which)?, limit: *limit },
        Queue::Show { message, body } => Call::Show { message: *message, body: *body },
        Queue::Hold(which) => Call::Hold { select: select(which)? },
        Queue::Release(which) => Call::Release { select: select(which)? },
        Queue::Retry(which) => Call::Retry { select: select(which)? },
        Queue::Bounce { which, because } => Call::Bounce { select: select(which)?, reason: because.clone() },
        Queue::Remove(which) => Call::Remove { select: select(which)? },
    })
}

/// The spool, while no daemon has it.
fn open_spool(config: &Config, what: &str) -> Result<Spool, Failure> {
    let path = &config.spool;
    let data =
        std::fs::metadata(path).map_err(|error| Failure::new(exit::IO, format!("{}: {error}", path.display())))?;
    let owner = std::os::unix::fs::MetadataExt::uid(&data);
    if rustix::process::geteuid().as_raw() != owner {
        let text = format!(
            "impartd is not running, and {} belongs to user {owner}: run impartctl as that user, \
             so that the files stay the daemon's (setpriv --reuid {owner} --clear-groups impartctl ...)",
            path.display()
        );
        return Err(Failure::new(exit::PERMISSION, text));
    }
    complain("impartctl", format_args!("impartd is not running; this is {what}, {}", path.display()));
    let (spool, opened) =
        Spool::open(path, spool::Options::default()).map_err(|error| Failure::new(exit::IO, error))?;
    drop(opened);
    Ok(spool)
}

/// The queue on the disk, while no daemon has it.
async fn offline(config: &Config, call: Call, printer: &mut Printer) -> Result<(), Failure> {
    if call.changes().is_some_and(impart::control::Selector::is_empty) {
        return Err(Failure::new(exit::USAGE, "nothing is selected; name messages, or say --all"));
    }
    let spool = open_spool(config, "the queue on the disk")?;
    let offline = Offline::new(spool.clone(), compose(config), Box::new(System::new()));
    let (rows, mut receiver) = Rows::channel(256);
    let print = async {
        while let Some(row) = receiver.recv().await {
            printer.row(&row);
        }
    };
    let (outcome, ()) = tokio::join!(offline.call(call, rows), print);
    spool.close().await;
    Ok(outcome?)
}

/// The receipt for what an administrator fails: the same as the running daemon's.
fn compose(config: &Config) -> Box<Compose> {
    let host = config.host.clone();
    let known = daemon::accounts(config, None, &accounts::Rules::default()).unwrap_or_else(|fault| {
        complain("impartctl", format_args!("receipts to aliases wait in the aliases' own names: {fault}"));
        accounts::Accounts::default()
    });
    Box::new(move |record, entity, indexes, reason, now| {
        queue::complete::failure_receipt(&host, &known, record, entity, indexes, reason, now)
    })
}

/// Configuration, files, ports, DNS, and what the daemon knows.
async fn examine(config: &Config, printer: &mut Printer) -> Result<(), Failure> {
    printer.row(&Row::Finding(Finding::ok("configuration", config.file.display().to_string())));
    let mut client = match Client::connect(&config.control).await {
        Ok(client) => Some(client),
        Err(ClientError::NotRunning(_)) => None,
        Err(error) => {
            printer.row(&Row::Finding(Finding::warning("daemon", error.to_string(), "run impartctl as root")));
            None
        }
    };
    let options = check_options(config, client.is_some());
    let now = System::new().now();
    let mut found = check::local(&options, now);
    found.push(account::finding(&config.accounts.file));
    found.extend(rules::findings(&config.accounts.rules));
    let directory = config.authorities();
    let served: Vec<_> = config.domains.iter().map(|domain| domain.name.clone()).collect();
    found.extend(authority::findings(authority::Place { directory: &directory, served: &served, now, json: false }));
    found.extend(impart::daemon::issuers(config).iter().map(online::finding));
    found.extend(check::ports(&options).await);
    found.iter().for_each(|finding| printer.row(&Row::Finding(finding.clone())));
    let resolver = dns::from_options(config.dns.clone());
    let via = match &config.bridge.via {
        Some(Via::Route(route)) => Some(route),
        Some(Via::Exchangers) => {
            printer.row(&Row::Finding(mail::straight(config.dns.validation)));
            None
        }
        None => None,
    };
    for (name, route) in [("via", via), ("store", config.bridge.store.as_ref())] {
        if let Some(route) = route {
            let resolver = resolver.as_ref().ok().map(|resolver| &**resolver);
            let found = mail::findings(name, &route.server, route.lmtp, &config.host, resolver).await;
            found.into_iter().for_each(|finding| printer.row(&Row::Finding(finding)));
        }
    }
    match resolver {
        Ok(resolver) => {
            let found = check::dns(&options, &*resolver).await;
            found.into_iter().for_each(|finding| printer.row(&Row::Finding(finding)));
        }
        Err(error) => {
            let remedy = "examine the section dns of the configuration";
            printer.row(&Row::Finding(Finding::error("dns", error.to_string(), remedy)));
        }
    }
    match &mut client {
        Some(client) => client.call(Call::Check, |row| printer.row(&row)).await.map(drop)?,
        None => {
            let remedy = "systemctl start impartd";
            printer.row(&Row::Finding(Finding::warning("daemon", "impartd is not running", remedy)));
        }
    }
    match printer.worst {
        Some(Level::Error) => Err(Failure { code: exit::UNAVAILABLE, text: String::new() }),
        _ => Ok(()),
    }
}

/// Addresses of the listeners for `service`.
fn addresses(config: &Config, service: Service) -> Vec<std::net::SocketAddr> {
    let listeners = config.listeners.iter().filter(|listener| listener.service == service);
    let tcp = |address: &Address| match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(..) => None,
    };
    listeners.filter_map(|listener| tcp(&listener.address)).collect()
}

fn offers(config: &Config) -> Vec<Offer> {
    let served = config.domains.iter();
    served.map(|one| Offer { domain: one.name.clone(), im: one.im, presence: one.presence }).collect()
}

fn check_options(config: &Config, running: bool) -> check::Options {
    check::Options {
        file: config.file.clone(),
        host: config.host.clone(),
        domains: offers(config),
        relays: addresses(config, Service::Relay),
        others: [Service::Mail, Service::Client, Service::Odmr].iter().flat_map(|it| addresses(config, *it)).collect(),
        certificates: config.certificates.iter().map(|pair| (pair.chain.clone(), pair.key.clone())).collect(),
        signatures: signatures(config),
        spool: config.spool.clone(),
        running,
    }
}

fn signatures(config: &Config) -> signers::Options {
    let signers = config.signers.iter().map(|one| (one.domain.clone(), one.chain.clone(), one.key.clone()));
    let roots = match &config.smime.roots {
        config::Roots::System => None,
        config::Roots::Files(files) => Some(files.clone()),
    };
    signers::Options { signers: signers.collect(), roots, lists: config.smime.revocations.clone() }
}

/// Certificates that cannot be read are told of, and left out.
fn publish_facts(config: &Config) -> publish::Facts {
    let ports = |service| {
        let ports = addresses(config, service).into_iter().map(|address| address.port());
        ports.collect::<std::collections::BTreeSet<u16>>().into_iter().collect()
    };
    let digest = |pair: &impart::tls::CertificateFiles| match certificate::read(&pair.chain) {
        Ok(facts) => Some(facts.key_digest_hex()),
        Err(fault) => {
            complain("impartctl", format_args!("{fault}; its TLSA record is left out"));
            None
        }
    };
    let directory = config.authorities();
    let record = |domain: &config::LocalDomain| match authority::published(&directory, &domain.name) {
        Ok(record) => record,
        Err(fault) => {
            complain("impartctl", format_args!("{fault}; its SMIMEA record is left out"));
            None
        }
    };
    publish::Facts {
        host: config.host.clone(),
        ports: ports(Service::Relay),
        client_ports: ports(Service::Client),
        domains: offers(config),
        key_digests: config.certificates.iter().filter_map(digest).collect(),
        authorities: config.domains.iter().filter_map(record).collect(),
    }
}
