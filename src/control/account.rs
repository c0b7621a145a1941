//! `impartctl account`: the file of accounts, looked at and changed without the daemon.
//!
//! In: what is wanted, the file, a way to ask for a password. Out: lines to print, and whether the file was changed, so that the
//! daemon is to be told. It fails like [`accounts::file`].

use std::path::Path;

use serde_json::json;

use super::cli::Account as Wanted;
use super::protocol::Finding;
use crate::accounts::file::{self, FileError};
use crate::accounts::{self, Account, Change, Fallback, Reads};
use crate::address::{Domain, Mailbox};
use crate::sasl::Secret;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Lines to print.
    pub lines: Vec<String>,
    /// Whether the file is another now.
    pub changed: bool,
}

/// Does what is wanted. `ask` asks for a new password; `served` are the domains served here.
pub fn run(
    wanted: &Wanted,
    path: &Path,
    served: &[Domain],
    json: bool,
    ask: impl FnOnce(&Mailbox) -> Result<Secret, String>,
) -> Result<Done, FileError> {
    let ask = |name: &Mailbox| ask(name).map_err(FileError::Change);
    match wanted {
        Wanted::List => {
            let entries = file::load(path)?;
            let mut accounts: Vec<&Account> = entries.iter().collect();
            accounts.sort_by(|one, other| (one.name.domain(), &one.name).cmp(&(other.name.domain(), &other.name)));
            let line = |account: &&Account| if json { object(account) } else { words(account) };
            Ok(Done { lines: accounts.iter().map(line).collect(), changed: false })
        }
        Wanted::Add { account, no_password, no_inbox, no_presentity, odmr, addresses, fallback, delegates } => {
            for name in std::iter::once(account).chain(addresses) {
                if !served.contains(name.domain()) {
                    let fault = format!("{} is not served here; add a section [[domain]] for it first", name.domain());
                    return Err(FileError::Change(fault));
                }
            }
            let password = if *no_password { None } else { Some(ask(account)?) };
            let odmr = if *odmr { Some(accounts::generated()?) } else { None };
            let told = odmr.as_ref().map(|secret| tell(secret, json));
            let delegates = delegates.iter().map(|delegate| (delegate.who.clone(), delegate.how)).collect();
            let addresses = addresses.clone();
            let (inbox, presentity, fallback) = (!no_inbox, !no_presentity, *fallback);
            let change = Change::Add { password, inbox, presentity, odmr, addresses, fallback, delegates };
            changed(path, account, change, told)
        }
        Wanted::Passwd { account, odmr: true, .. } => {
            let secret = accounts::generated()?;
            let told = tell(&secret, json);
            changed(path, account, Change::Odmr(Some(secret)), Some(told))
        }
        Wanted::Passwd { account, no_odmr: true, .. } => changed(path, account, Change::Odmr(None), None),
        Wanted::Passwd { account, .. } => {
            let password = ask(account)?;
            changed(path, account, Change::Password(password), None)
        }
        Wanted::Fallback { account, time } => changed(path, account, Change::Fallback(time.0), None),
        Wanted::Disable { account } => changed(path, account, Change::Disabled(true), None),
        Wanted::Enable { account } => changed(path, account, Change::Disabled(false), None),
        Wanted::Remove { account, .. } => changed(path, account, Change::Remove, None),
    }
}

/// The file of accounts, for [`super::check`].
pub fn finding(path: &Path) -> Finding {
    match file::load(path) {
        Ok(entries) => Finding::ok("accounts", format!("{} in {}", entries.len(), path.display())),
        Err(fault) => Finding::error("accounts", fault.to_string(), "mend the file; until then the old accounts hold"),
    }
}

fn changed(path: &Path, account: &Mailbox, change: Change, told: Option<String>) -> Result<Done, FileError> {
    accounts::change(path, account, change)?;
    Ok(Done { lines: told.into_iter().collect(), changed: true })
}

fn tell(secret: &Secret, json: bool) -> String {
    if json { json!({ "odmr": secret.reveal() }).to_string() } else { secret.reveal().to_owned() }
}

fn object(account: &Account) -> String {
    let delegates: serde_json::Map<_, _> =
        account.delegates.iter().map(|(who, how)| (who.to_string(), how.keyword().into())).collect();
    let addresses: Vec<String> = account.addresses.iter().map(Mailbox::to_string).collect();
    let object = json!({
        "account": account.name.to_string(),
        "disabled": account.disabled,
        "password": account.has_password(),
        "odmr": account.has_odmr(),
        "inbox": account.inbox,
        "presentity": account.presentity,
        "addresses": addresses,
        "fallback": account.fallback.map(|fallback| fallback.to_string()),
        "delegates": delegates,
    });
    object.to_string()
}

/// What is not as usual is said.
fn words(account: &Account) -> String {
    let mut words = vec![account.name.to_string()];
    let mut say = |whether: bool, what: &str| {
        if whether {
            words.push(what.to_owned());
        }
    };
    say(account.disabled, "disabled");
    say(!account.has_password(), "no-password");
    say(!account.inbox, "no-inbox");
    say(!account.presentity, "no-presentity");
    say(account.has_odmr(), "odmr");
    words.extend(account.addresses.iter().map(|address| format!("address={address}")));
    words.extend(account.fallback.map(|fallback| format!("fallback={fallback}")));
    words.extend(account.delegates.iter().map(|(who, how)| format!("delegate={who}={}", how.keyword())));
    words.join(" ")
}

/// When messages go to the mail store, as it is written: a time, `never`, or `domain`, which is none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Option<Fallback>);

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        if text == "domain" { Ok(Time(None)) } else { text.parse().map(|time| Time(Some(time))) }
    }
}

/// A delegate, as it is written: `bob@a.example=copy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// Who.
    pub who: Mailbox,
    /// How.
    pub how: Reads,
}

impl std::str::FromStr for Delegate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (who, how) = text.rsplit_once('=').ok_or("write user@domain=copy or user@domain=take")?;
        let how = [Reads::Copy, Reads::Take].into_iter().find(|reads| reads.keyword() == how);
        let how = how.ok_or("what follows the = is copy or take")?;
        Ok(Delegate { who: Mailbox::parse(who).map_err(|fault| fault.to_string())?, how })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::cli::{Arguments, Command};
    use super::*;

    fn check(path: &Path, line: &str, expected: Result<&str, &str>) {
        let words = ["impartctl", "account"].into_iter().chain(line.split(' '));
        let Command::Account(wanted) = Arguments::try_parse_from(words).unwrap().command else { panic!("{line}") };
        let served = [Domain::parse("a.example").unwrap()];
        let done = run(&wanted, path, &served, false, |_| Ok(Secret::new("password")));
        let shown = done.map(|done| done.lines.join("\n")).map_err(|fault| fault.to_string());
        match (&shown, expected) {
            (Ok(shown), Ok(expected)) if shown == expected => {}
            (Err(shown), Err(expected)) if shown.contains(expected) => {}
            _ => panic!("{line}: {shown:?}, not {expected:?}"),
        }
    }

    #[test]
    fn accounts_are_added_changed_and_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        let check = |line: &str, expected| check(&path, line, expected);
        check("list", Ok(""));
        check("add alice@a.example", Ok(""));
        check("add ALICE@a.example", Err("alice@a.example exists"));
        check("add carol@c.example", Err("c.example is not served here"));
        check("add Presence@a.example", Err("is kept for what its whole domain signs; choose another name"));
        check("add carol@a.example --address presence@a.example", Err("is kept for what its whole domain signs"));
        check(
            "add bob@a.example --no-password --no-inbox --address b@a.example --delegate alice@a.example=take",
            Ok(""),
        );
        check("add b@a.example", Err("the address b@a.example belongs to b@a.example"));
        check("disable alice@a.example", Ok(""));
        check("disable nobody@a.example", Err("there is no account nobody@a.example"));
        check(
            "list",
            Ok("alice@a.example disabled\n\
                bob@a.example no-password no-inbox address=b@a.example delegate=alice@a.example=take"),
        );
        check("enable alice@a.example", Ok(""));
        check("fallback alice@a.example 90m", Ok(""));
        check("fallback bob@a.example never", Ok(""));
        check("fallback nobody@a.example never", Err("there is no account nobody@a.example"));
        check(
            "list",
            Ok("alice@a.example fallback=90m\n\
                bob@a.example no-password no-inbox address=b@a.example fallback=never delegate=alice@a.example=take"),
        );
        check("fallback alice@a.example domain", Ok(""));
        check("passwd Alice@a.example", Ok(""));
        check("remove bob@a.example", Ok(""));
        check("list", Ok("alice@a.example"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("argon2id = \"$argon2id$v=19$") && text.contains("scram-sha-256 = \"16384$"), "{text}");
        assert!(!text.contains("password = ") && !text.contains("\"password\""), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_secret_of_odmr_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        let (served, name) = ([Domain::parse("a.example").unwrap()], Mailbox::parse("alice@a.example").unwrap());
        let add = Wanted::Add {
            account: name.clone(),
            no_password: true,
            no_inbox: false,
            no_presentity: false,
            odmr: true,
            addresses: Vec::new(),
            fallback: None,
            delegates: Vec::new(),
        };
        let done = run(&add, &path, &served, false, |_| Err(String::new())).unwrap();
        assert_eq!((done.lines[0].len(), done.changed), (26, true));
        assert!(std::fs::read_to_string(&path).unwrap().contains(&done.lines[0]));
        check(&path, "passwd alice@a.example --no-odmr", Ok(""));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("odmr"));
    }

    #[test]
    fn a_file_that_is_wrong_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        std::fs::write(&path, "[account.\"a@a.example\"]\ndisabled = 1\n").unwrap();
        check(&path, "disable a@a.example", Err("line 2, column 12: invalid type"));
        std::fs::write(&path, "[account.\"a@a.example\"]\ndelegates = { \"b@a.example\" = \"all\" }\n").unwrap();
        check(&path, "list", Err("account a@a.example: delegate b@a.example: \"all\" is neither"));
        assert!("bob=copy".parse::<Delegate>().is_err() && "b@a.example=own".parse::<Delegate>().is_err());
    }
}
