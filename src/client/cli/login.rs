//! `impart login`: an account is remembered once it works.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Arguments, Failure, Login, exit, print};
use crate::client::account::{self, Config, Entry};
use crate::client::{Account, Client, Password, terminal};
use crate::sasl::Secret;

/// Logs in, then writes the configuration.
pub async fn run(arguments: &Arguments, login: &Login) -> Result<(), Failure> {
    let file = account::config_file()?;
    let mut config = Config::read(&file)?;
    let known = config.account.iter().find(|entry| entry.address.key() == login.address.key()).cloned();
    let entry = entry(arguments, login, known)?;
    let mut account = entry.account();
    let asked = matches!(account.password, Password::Prompt) || login.keyring;
    if asked {
        let question = format!("Password of {}: ", account.address);
        let password = terminal::ask_secret(&question)
            .map_err(|error| Failure::new(exit::PERMISSION, format!("{error}; use --password-command")))?;
        if login.keyring {
            keep(&account, &password)?;
        }
        account.password = Password::Given(password);
    }
    let client = Client::open(account.clone()).await?;
    client.check().await?;
    client.close().await;
    config.put(entry);
    config.write(&file)?;
    print(&format!("Logged in as {}. The account is in {}.\n", account.address, file.display()));
    if asked && !login.keyring {
        print(
            "The password is asked for each time. To change that, log in with --keyring, or with --password-command, \
             such as\n    --password-command 'pass show impart'\n",
        );
    }
    Ok(())
}

/// What the file will say: what is asked for now, else what it says already.
fn entry(arguments: &Arguments, login: &Login, known: Option<Entry>) -> Result<Entry, Failure> {
    let mut entry = match known {
        Some(known) => known,
        None => toml::from_str(&format!("address = {}", toml::Value::String(login.address.to_string())))
            .map_err(|error| Failure::new(exit::SOFTWARE, error))?,
    };
    entry.login = login.user.clone().or(entry.login);
    entry.server = arguments.server.clone().or(entry.server);
    entry.ca = whole(arguments.ca.as_deref())?.or(entry.ca);
    entry.smime_ca = whole(login.smime_ca.as_deref())?.or(entry.smime_ca);
    if login.certificate.is_some() || login.keyring || login.password_command.is_some() || login.token_command.is_some()
    {
        entry.certificate = whole(login.certificate.as_deref())?;
        entry.certificate_key = whole(login.certificate_key.as_deref())?;
        (entry.password_command, entry.token_command) = (None, None);
    }
    if login.keyring {
        let address = login.address.to_string();
        let quoted = address.replace('\'', "'\\''");
        entry.password_command = Some(format!("secret-tool lookup service impart account '{quoted}'"));
    } else if login.password_command.is_some() || login.token_command.is_some() {
        entry.password_command.clone_from(&login.password_command);
        entry.token_command.clone_from(&login.token_command);
    }
    entry.device = login.device.clone().or(entry.device).or_else(account::device_name);
    Ok(entry)
}

/// The whole path of a file, which is read from other directories later.
fn whole(file: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    file.map(std::path::absolute).transpose().map_err(|error| Failure::new(exit::NO_INPUT, error))
}

/// Puts the password into the keyring.
fn keep(account: &Account, password: &Secret) -> Result<(), Failure> {
    let fault = |text: String| {
        Failure::new(
            exit::UNAVAILABLE,
            format!("secret-tool: {text}; install libsecret-tools, or use --password-command"),
        )
    };
    let label = format!("impart {}", account.address);
    let mut tool = Command::new("secret-tool");
    tool.args(["store", "--label", &label, "service", "impart", "account", &account.address.to_string()]);
    let mut child = tool.stdin(Stdio::piped()).spawn().map_err(|error| fault(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(password.reveal().as_bytes()).map_err(|error| fault(error.to_string()))?;
    }
    let status = child.wait().map_err(|error| fault(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(fault(status.to_string())) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Command;
    use super::*;

    fn of(line: &str, known: Option<&str>) -> Entry {
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        let Command::Login(login) = &arguments.command else { panic!("not login") };
        entry(&arguments, login, known.map(|text| toml::from_str(text).unwrap())).unwrap()
    }

    #[test]
    fn what_is_known_stays_unless_something_else_is_said() {
        let new = of("impart login alice@a.test --server 127.0.0.1:5", None);
        assert_eq!(new.server.unwrap().port, 5);
        assert!(new.device.is_some() && new.password_command.is_none());
        let known = "address = \"alice@a.test\"\ndevice = \"d\"\npassword-command = \"p\"\ndisplayed = \"yes\"";
        let again = of("impart login alice@a.test --ca /x/y", Some(known));
        assert_eq!(again.ca.unwrap().to_str(), Some("/x/y"));
        assert_eq!((again.device.unwrap().as_str(), again.password_command.as_deref()), ("d", Some("p")));
        let ring = of("impart login al'ice@a.test --keyring", Some(known));
        let expected = "secret-tool lookup service impart account 'al'\\''ice@a.test'";
        assert_eq!(ring.password_command.as_deref(), Some(expected));
        let shown = of("impart login alice@a.test --certificate /c.pem --certificate-key /k.pem", Some(known));
        assert_eq!(shown.password_command, None);
        let (chain, key) = ("/c.pem".into(), "/k.pem".into());
        assert_eq!(shown.account().password, Password::Certificate { chain, key });
        let file = toml::to_string(&shown).unwrap();
        assert_eq!(toml::from_str::<Entry>(&file).unwrap(), shown);
        let stays = of("impart login alice@a.test --device x", Some(&file));
        assert_eq!(stays.certificate, shown.certificate);
        let back = of("impart login alice@a.test --password-command p", Some(&file));
        assert_eq!((back.certificate, back.certificate_key), (None, None));
    }
}
