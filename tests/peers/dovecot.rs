//! A Dovecot that knows the accounts: it judges proofs, whatever their mechanism, and tells which users exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use impart::accounts::{Accounts, Authority, LocalDomain, Options, Origin, Step, Users};
use impart::address::{Domain, Mailbox};
use impart::clock::System;
use impart::sasl::{Client, Credentials, Mechanism, Secret};

use crate::common::tools::{find, have, leave_out, root};
use crate::common::wait;

/// A Dovecot with a configuration and sockets of its own; stopped when it is dropped.
pub struct Dovecot {
    child: Child,
    directory: PathBuf,
}

impl Dovecot {
    /// Starts one that knows alice@a.test, whose password is `pw`.
    pub fn start(directory: &Path) -> Dovecot {
        use std::os::unix::fs::PermissionsExt as _;
        // Its processes run as users of their own, and must get through the temporary directory.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let users = "alice@a.test:{PLAIN}pw:1000:1000::/nonexistent::\n";
        fs::write(directory.join("users"), users).unwrap();
        fs::write(directory.join("dovecot.conf"), configuration(directory)).unwrap();
        let mut command = Command::new(find("dovecot").expect("dovecot is installed"));
        command.arg("-F").arg("-c").arg(directory.join("dovecot.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let dovecot = Dovecot { child: command.spawn().expect("dovecot starts"), directory: directory.to_owned() };
        wait::until("dovecot listens", || std::os::unix::net::UnixStream::connect(dovecot.socket("auth-userdb")).ok());
        dovecot
    }

    /// One of its sockets.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.directory.join("run").join(name)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Only the part that authenticates.
fn configuration(directory: &Path) -> String {
    let place = directory.display();
    format!(
        "protocols =\n\
         ssl = no\n\
         base_dir = {place}/run\n\
         log_path = {place}/dovecot.log\n\
         auth_mechanisms = plain scram-sha-256\n\
         auth_failure_delay = 1 secs\n\
         first_valid_uid = 100\n\
         passdb {{\n driver = passwd-file\n args = username_format=%u {place}/users\n}}\n\
         userdb {{\n driver = passwd-file\n args = username_format=%u {place}/users\n}}\n\
         service auth {{\n unix_listener auth-client {{\n  mode = 0666\n }}\n\
         unix_listener auth-userdb {{\n  mode = 0666\n }}\n}}\n"
    )
}

async fn log_in(authority: &Authority, mechanism: Mechanism, user: &str, password: &str) -> String {
    let credentials = Credentials::Password { user: user.to_owned(), password: Secret::new(password) };
    let mut client = Client::new(&[mechanism], credentials, None).unwrap();
    let origin = Origin { address: "192.0.2.1".parse().ok(), tls: true, ..Origin::default() };
    let initial = client.initial();
    let (mut exchange, mut step) = authority.begin(mechanism, initial, &origin).await;
    loop {
        match step {
            Step::Challenge(challenge) => {
                let response = client.step(&challenge).unwrap();
                step = exchange.step(response).await;
            }
            Step::Done(principal, last) => {
                assert_eq!((last, client.finish()), (None, Ok(())));
                return principal.account.to_string();
            }
            Step::Refused(reply) => return reply.code().to_string(),
        }
    }
}

#[test]
fn dovecot_judges_proofs_and_knows_users() {
    const NAME: &str = "dovecot_judges_proofs_and_knows_users";
    if !have(NAME, &["dovecot"]) {
        return;
    }
    if !root() {
        return leave_out(&format!("{NAME} (Dovecot's daemon needs root)"));
    }
    let folder = tempfile::tempdir().unwrap();
    let dovecot = Dovecot::start(folder.path());
    let domain = Domain::parse("a.test").unwrap();
    let domains = [(domain.clone(), LocalDomain { im: true, ..LocalDomain::default() })];
    let users = Arc::new(Users::new(dovecot.socket("auth-userdb")));
    let accounts = Arc::new(Accounts::new(domains.into()).with_users(Some(users)));
    let (_sender, receiver) = tokio::sync::watch::channel(accounts.clone());
    let options = Options { dovecot: Some(dovecot.socket("auth-client")), ..Options::new(domain) };
    let authority = Authority::new(options, receiver, Arc::new(System::new())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async {
        authority.refresh().await;
        let secure = Origin { tls: true, ..Origin::default() };
        assert_eq!(authority.mechanisms(&secure), [Mechanism::ScramSha256, Mechanism::Plain]);
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
            assert_eq!(log_in(&authority, mechanism, "alice@a.test", "pw").await, "alice@a.test", "{mechanism}");
            assert_eq!(log_in(&authority, mechanism, "alice@a.test", "wrong").await, "535", "{mechanism}");
        }
        let exists = async |address: &str| accounts.exists(&Mailbox::parse(address).unwrap()).await;
        assert_eq!(exists("alice@a.test").await, Ok(true));
        assert_eq!(exists("nobody@a.test").await, Ok(false));
    };
    let in_time = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await });
    let log = fs::read_to_string(folder.path().join("dovecot.log")).unwrap_or_default();
    assert!(in_time.is_ok(), "it took more than a minute\n{log}");
}
