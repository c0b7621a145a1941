//! Presence, built and wired: its tables, and the loop that delivers what is due of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Base;
use crate::accounts::{Accounts, Rules};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::authority::online::Online;
use crate::control::presence::Ask;
use crate::control::protocol::{Fault, FaultCode};
use crate::control::server::Rows;
use crate::deliver::Peers;
use crate::deliver::policies::Keeper;
use crate::presence::{self, Handle};
use crate::queue::Counters;
use crate::queue::look_up::LookUp;
use crate::queue::notices;
use crate::spool::{Spool, SpoolError};
use crate::tls::Connector;

/// The tables, as the spool has them.
pub(super) fn tables(
    config: &Config,
    spool: &Spool,
    clock: &Arc<dyn Clock>,
    accounts: &watch::Sender<Arc<Accounts>>,
    certifier: Arc<Online>,
) -> Result<Handle, SpoolError> {
    let (rules, sender, one) = (config.accounts.rules.clone(), accounts.clone(), Mutex::new(()));
    // Rules alone are read: the rest of the accounts is the newest that a reload has brought.
    let reload = move || {
        let _one = one.lock().unwrap_or_else(PoisonError::into_inner);
        let before = sender.borrow().rules().clone();
        match Rules::load(&rules, &before) {
            Ok((new, faults)) => {
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
                let new = Arc::new(new);
                sender.send_modify(|accounts| *accounts = Arc::new(Accounts::clone(accounts).with_rules(new)));
            }
            Err(fault) => tracing::error!("the rules stay as they were: {fault}"),
        }
    };
    let handle = Handle::new(presence::Parts {
        options: config.presence.options.clone(),
        default: config.presence.default,
        spool: spool.clone(),
        accounts: accounts.subscribe(),
        clock: clock.clone(),
        rules: config.accounts.rules.clone(),
        reload: Box::new(reload),
        certifier: Some(certifier),
    })?;
    handle.run();
    Ok(handle)
}

/// What an administrator asks about presence, of a spool that no daemon has.
pub async fn ask_offline(
    config: &Config,
    spool: &Spool,
    clock: &Arc<dyn Clock>,
    ask: Ask,
    rows: &Rows,
) -> Result<(), Fault> {
    let fault = |code| move |fault: &dyn std::fmt::Display| Fault::new(code, fault.to_string());
    let accounts =
        super::accounts(config, None, &Rules::default()).map_err(|error| fault(FaultCode::Config)(&error))?;
    let (accounts, _follow) = watch::channel(Arc::new(accounts));
    let handle = Handle::new(presence::Parts {
        options: config.presence.options.clone(),
        default: config.presence.default,
        spool: spool.clone(),
        accounts: accounts.subscribe(),
        clock: clock.clone(),
        rules: config.accounts.rules.clone(),
        reload: Box::new(|| {}),
        certifier: None,
    });
    super::presence::answer(&handle.map_err(|error| fault(FaultCode::Spool)(&error))?, ask, rows).await
}

/// The loop that delivers; its connections are its own. What it remembers of domains is for messages too.
pub(super) fn deliver(
    config: &Config,
    base: &Base,
    connector: Arc<Connector>,
    (counters, stop): (Arc<Counters>, watch::Receiver<bool>),
) -> (Arc<Peers>, JoinHandle<()>, LookUp) {
    let (reports, reported) = unbounded_channel();
    let socks5 = config.queue.socks5;
    let policies = Keeper::new(base.resolver.clone(), &connector, config.spool.join("mta-sts"), socks5);
    let peers = base.peers(config, connector, reports);
    let look_up = LookUp::new(base.resolver.clone(), policies, socks5);
    let parts = notices::Parts {
        presence: base.presence.clone(),
        deliver: peers.clone(),
        reports: reported,
        look_up: look_up.clone(),
        table: base.table.clone(),
        clock: base.clock.clone(),
        retry: config.queue.retry.clone(),
        bridge_secret: base.spool.secret("mail bridge"),
        unsubscribe: config.bridge.unsubscribe_url.clone(),
        counters,
    };
    (peers, tokio::spawn(notices::run(parts, stop)), look_up)
}
