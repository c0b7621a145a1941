//! What a reload replaces, and everybody reads as it is at the time.
//!
//! In: a configuration. Out: all of it, or nothing and the fault: then everything stays as it was.

use std::sync::Arc;

use tokio::sync::watch;

use super::{DaemonError, build, lists, signatures};
use crate::accounts::{Accounts, Rules, Users};
use crate::config::Config;
use crate::policy::refused::Refused;
use crate::receive::signed::Signatures;
use crate::route::Table;
use crate::tls::Certificates;

/// What a reload replaces.
pub(super) struct Reloadable {
    pub accounts: watch::Sender<Arc<Accounts>>,
    pub table: watch::Sender<Arc<Table>>,
    pub refused: watch::Sender<Arc<Refused>>,
    pub certificates: Arc<Certificates>,
    pub signatures: watch::Sender<Arc<Signatures>>,
    pub users: Option<Arc<Users>>,
    /// Lists of revoked certificates from elsewhere.
    pub fetched: Arc<lists::Fetched>,
    /// In what order those who are believed were read.
    pub turns: signatures::Turns,
}

impl Reloadable {
    /// At the start.
    pub fn read(
        config: &Config,
        certificates: Arc<Certificates>,
        fetched: Arc<lists::Fetched>,
    ) -> Result<Reloadable, DaemonError> {
        let users = build::users(config);
        let accounts = build::accounts(config, users.clone(), &Rules::default())?;
        let signatures = signatures::signatures(config, false, &fetched)?;
        Ok(Reloadable {
            accounts: watch::Sender::new(Arc::new(accounts)),
            table: watch::Sender::new(Arc::new(build::table(config))),
            refused: watch::Sender::new(Arc::new(config.policy.refused.clone())),
            certificates,
            signatures: watch::Sender::new(Arc::new(signatures)),
            users,
            fetched,
            turns: signatures::Turns::default(),
        })
    }

    pub fn read_accounts(&self, config: &Config) -> Result<Accounts, crate::accounts::file::FileError> {
        let rules = self.accounts.borrow().rules().clone();
        build::accounts(config, self.users.clone(), &rules)
    }

    /// Takes a new configuration over, all of what can be or nothing.
    pub fn take(&self, config: &Config) -> Result<(), DaemonError> {
        let accounts = self.read_accounts(config)?;
        let turn = self.turns.next();
        let signatures = signatures::signatures(config, true, &self.fetched)?;
        self.certificates.replace(config.certificates.clone())?;
        self.accounts.send_replace(Arc::new(accounts));
        self.table.send_replace(Arc::new(build::table(config)));
        self.refused.send_replace(Arc::new(config.policy.refused.clone()));
        self.turns.take(turn, || _ = self.signatures.send_replace(Arc::new(signatures)));
        Ok(())
    }
}
