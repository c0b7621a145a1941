//! The daemon: builds the parts, wires them, tells systemd, reloads on SIGHUP, drains on SIGTERM.
//!
//! In: a configuration. Out: an exit. Invariant: no part knows another but by what is handed to it here; a reload that is
//! wrong leaves everything as it was. On a drain nothing new is taken, what is under way is finished within
//! [`limits::DRAIN_TIMEOUT`], the rest stays in the spool.

mod build;
mod descriptors;
mod handler;
pub mod journal;
mod lists;
pub mod metrics;
mod presence;
mod reload;
mod signatures;
mod tls_reports;
mod unsubscribe;
mod waiting;
mod watched;
mod watching;

pub use build::{accounts, issuers};
pub use watching::ask_offline as ask_presence_offline;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::accounts::{Accounts, Authority};
use crate::address::Domain;
use crate::attached::{Attached, Attachment};
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::control::authority::brought::Brought;
use crate::control::authority::online::Online;
use crate::deliver::{Devices, Peers, Report, TlsCounts};
use crate::dns::{self, Resolve};
use crate::limits;
use crate::net;
use crate::policy::Service;
use crate::policy::refused::Refused;
use crate::presence::Handle;
use crate::queue::{self, Parts};
use crate::receive::signed::Signatures;
use crate::receive::{self, Connections, Context, Listener, Rates, Shares};
use crate::route::Table;
use crate::spool::{self, Spool};
use crate::timestamp::Timestamp;
use crate::tls::{self, Acceptor, Certificates, Connector};

use reload::Reloadable;

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(30);
/// Commands of administrators that may wait.
const COMMANDS: usize = 64;

/// Why the daemon could not run; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The runtime or a signal handler could not be had.
    #[error("the system refuses what every program needs: {0}")]
    System(#[from] std::io::Error),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] spool::OpenError),
    /// What the spool has of presence.
    #[error("what the spool has of presence cannot be read: {0}")]
    Presence(spool::SpoolError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] net::ListenError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] tls::certificates::CertificateError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The trust anchors.
    #[error(transparent)]
    Roots(#[from] tls::roots::RootsError),
    /// Authorities for signatures.
    #[error(transparent)]
    Signers(#[from] tls::signers::SignersError),
    /// The accounts.
    #[error("the accounts cannot be read: {0}")]
    Accounts(#[from] crate::accounts::file::FileError),
    /// There are no random octets.
    #[error(transparent)]
    Random(#[from] crate::sasl::SaslError),
    /// DNS cannot be set up.
    #[error(transparent)]
    Dns(#[from] dns::SetupError),
    /// The administration socket.
    #[error("the administration socket {} cannot be made: {fault}; make its directory writable, or set `control`", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// What the system says.
        fault: std::io::Error,
    },
}

/// Runs until it is told to stop.
pub fn run(config: Config) -> Result<(), DaemonError> {
    journal::start(config.log.level.keyword());
    descriptors::raise(config.limits.connections.saturating_add(config.queue.connections));
    // While there is one thread only: the environment is changed.
    let inherited = net::Inherited::of_the_service_manager();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anybody is served: who is told to end then ends in order.
        let signals = Signals::new()?;
        Daemon::start(config, inherited).await?.run(signals).await
    })
}

/// What tells the daemon to stop, or to read its files again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Ok(Signals { terminate: signal(terminate)?, interrupt: signal(interrupt)?, hangup: signal(hangup)? })
    }
}

struct Daemon {
    config: Config,
    spool: Spool,
    peers: Arc<Peers>,
    /// Who delivers what is due of presence.
    notifiers: Arc<Peers>,
    notices: JoinHandle<()>,
    presence: Handle,
    devices: Devices,
    reloadable: Arc<Reloadable>,
    /// True: nothing new is taken.
    closing: watch::Sender<bool>,
    /// True: the queue finishes.
    finishing: watch::Sender<bool>,
    tasks: JoinSet<()>,
    queue: JoinHandle<()>,
    administration: JoinHandle<()>,
    requests: tokio::sync::mpsc::Receiver<handler::Request>,
    authority: Authority,
    /// The files of accounts as they were when they were read.
    accounts_stamp: [Option<crate::accounts::file::Stamp>; 3],
    /// The lists of revoked certificates as they were when they were read.
    lists_stamp: Vec<Option<crate::accounts::file::Stamp>>,
    /// Word of lists that were fetched.
    lists: lists::Changes,
    /// Who reads whom to believe, beside the rest.
    believing: JoinSet<()>,
    issuers: Arc<Online>,
}

/// What most parts need.
struct Base {
    spool: Spool,
    clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolve>,
    accounts: watch::Receiver<Arc<Accounts>>,
    table: watch::Receiver<Arc<Table>>,
    refused: watch::Receiver<Arc<Refused>>,
    signatures: watch::Receiver<Arc<Signatures>>,
    presence: Handle,
    tls_counts: Option<TlsCounts>,
}

impl Base {
    fn new(
        spool: Spool,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolve>,
        presence: Handle,
        (config, reloadable): (&Config, &Reloadable),
    ) -> Base {
        let tls_counts = tls_reports::counts(config);
        let (accounts, table) = (reloadable.accounts.subscribe(), reloadable.table.subscribe());
        let (refused, signatures) = (reloadable.refused.subscribe(), reloadable.signatures.subscribe());
        Base { spool, clock, resolver, accounts, table, refused, signatures, presence, tls_counts }
    }

    /// Connections to other servers, which report there what becomes of what they are given.
    fn peers(&self, config: &Config, connector: Arc<Connector>, reports: UnboundedSender<Report>) -> Arc<Peers> {
        let (resolver, spool, clock) = (self.resolver.clone(), self.spool.clone(), self.clock.clone());
        let options = build::deliver(config, &spool, self.tls_counts.clone());
        Arc::new(Peers::new(options, resolver, connector, spool, clock, reports))
    }
}

/// Whoever delivers: to other servers, and to clients that are attached.
struct Delivery {
    peers: Arc<Peers>,
    attached: Attached,
    attach: Sender<Attachment>,
    devices: Devices,
    reports: UnboundedReceiver<Report>,
}

impl Delivery {
    fn start(config: &Config, base: &Base, connector: Arc<Connector>, known: Vec<spool::Known>) -> Delivery {
        let (reports, reported) = unbounded_channel();
        let (attach, attaching) = channel(limits::ATTACHING);
        let attached = Attached::new(known);
        let devices = Devices::new(
            build::devices(config),
            (attached.clone(), Some(base.presence.clone())),
            base.spool.clone(),
            base.clock.clone(),
            base.accounts.clone(),
            attaching,
            reports.clone(),
        );
        let peers = base.peers(config, connector, reports);
        Delivery { peers, attached, attach, devices, reports: reported }
    }
}

impl Daemon {
    async fn start(config: Config, inherited: net::Inherited) -> Result<Daemon, DaemonError> {
        let clock: Arc<dyn Clock> = Arc::new(clock::System::new());
        let (certificates, roots) = (certificates(&config, clock.now())?, Arc::new(build::roots(&config)?));
        let (resolver, (spool, opened)) = (dns::from_options(config.dns.clone())?, open(&config)?);
        let (fetched, lists) = lists::start(config.smime.fetch_crls, resolver.clone(), clock.clone());
        let accounts_stamp = build::accounts_stamp(&config);
        let reloadable = Reloadable::read(&config, certificates.clone(), fetched)?;
        let (lists_stamp, (life, lives)) = (signatures::lists_stamp(&config), unbounded_channel());
        let ((closing, closed), (finishing, finished)) = (watch::channel(false), watch::channel(false));
        let (issuers, counters) = (
            Arc::new(Online::new(build::issuers(&config), Brought::at(config.brought()))),
            Arc::<queue::Counters>::default(),
        );
        let presence = watching::tables(&config, &spool, &clock, &reloadable.accounts, issuers.clone());
        let base = Base::new(spool, clock, resolver, presence.map_err(DaemonError::Presence)?, (&config, &reloadable));
        let connector = Arc::new(Connector::new(roots.clone(), certificates.clone(), build::connect(&config)));
        let authority = authority(&config, &base, &connector).await?;
        let (notifiers, notices, look_up) =
            watching::deliver(&config, &base, connector.clone(), (counters.clone(), finished.clone()));
        let Delivery { peers, attached, attach, devices, reports } =
            Delivery::start(&config, &base, connector, opened.devices);
        let (commands, commanded) = channel(COMMANDS);
        let parts = Parts {
            spool: base.spool.clone(),
            arrivals: opened.arrivals,
            withdrawn: opened.withdrawn,
            first_new: opened.first_new,
            deliver: peers.clone(),
            reports,
            attached: attached.clone(),
            look_up,
            accounts: base.accounts.clone(),
            table: base.table.clone(),
            clock: base.clock.clone(),
            life: lives,
            commands: commanded,
            counters: counters.clone(),
        };
        let queue = tokio::spawn(queue::run(parts, build::queue(&config), finished, limits::DRAIN_TIMEOUT));
        let context = receiving(&config, &base, roots, authority.clone(), (attached.clone(), attach), life);
        let mut tasks = JoinSet::new();
        listen(&config, inherited, &context, &certificates, &closed, &mut tasks)?;
        beside(&config, &base, &certificates, &closed, &mut tasks)?;
        let told =
            handler::Parts { commands, peers: peers.clone(), issuers: issuers.clone(), counters, receive: context };
        let (administration, requests) = watched::administer(&config, told, notifiers.clone(), closed).await?;
        let Base { spool, presence, .. } = base;
        Ok(Daemon {
            config,
            spool,
            peers,
            notifiers,
            notices,
            presence,
            devices,
            reloadable: Arc::new(reloadable),
            closing,
            finishing,
            tasks,
            queue,
            administration,
            requests,
            authority,
            accounts_stamp,
            lists_stamp,
            lists,
            believing: JoinSet::new(),
            issuers,
        })
    }

    async fn run(mut self, mut signals: Signals) -> Result<(), DaemonError> {
        let mut certificates = tokio::time::interval(CERTIFICATES_EVERY);
        let mut watchdog = watchdog();
        notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!("{} is ready", self.config.host);
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => { let _ = self.reload(); }
                Some(request) = self.requests.recv() => match request {
                    handler::Request::Reload(answer) => { let _ = answer.send(self.reload()); }
                    handler::Request::Drain => break,
                },
                Some(told) = self.lists.recv(), if self.believing.is_empty() => self.believe_again(told),
                Some(_) = self.believing.join_next() => {}
                _ = certificates.tick() => self.look_at_files(),
                _ = watchdog.tick() => notify(&[sd_notify::NotifyState::Watchdog]),
            }
        }
        self.drain(&mut signals.terminate).await;
        Ok(())
    }

    /// Certificates and accounts that have changed are read again. What Dovecot offers is asked.
    fn look_at_files(&mut self) {
        for change in self.reloadable.certificates.reload_changed() {
            tracing::warn!("{change}");
        }
        let stamp = build::accounts_stamp(&self.config);
        if stamp != self.accounts_stamp {
            self.accounts_stamp = stamp;
            match self.reloadable.read_accounts(&self.config) {
                Ok(accounts) => {
                    tracing::info!("the accounts were read again: {} of them", accounts.entries().len());
                    self.reloadable.accounts.send_replace(Arc::new(accounts));
                }
                Err(fault) => tracing::error!("the accounts stay as they were: {fault}"),
            }
        }
        self.look_at_lists();
        let (issuers, now) = (self.issuers.clone(), self.presence.now());
        tokio::task::spawn_blocking(move || issuers.keep(now).iter().for_each(|fault| tracing::error!("{fault}")));
        let authority = self.authority.clone();
        tokio::spawn(async move { authority.refresh().await });
    }

    /// Lists of revoked certificates that have changed are read again, and what was found with the old ones is forgotten.
    fn look_at_lists(&mut self) {
        let stamp = signatures::lists_stamp(&self.config);
        if stamp == self.lists_stamp {
            return;
        }
        self.lists_stamp = stamp;
        self.believe_again(None);
    }

    fn believe_again(&mut self, told: Option<oneshot::Sender<()>>) {
        let (config, reloadable) = (self.config.clone(), Arc::clone(&self.reloadable));
        let turn = reloadable.turns.next();
        self.believing.spawn_blocking(move || {
            match signatures::signatures(&config, true, &reloadable.fetched) {
                Ok(new) => reloadable.turns.take(turn, || _ = reloadable.signatures.send_replace(Arc::new(new))),
                Err(fault) => tracing::error!("the lists of revoked certificates stay as they were: {fault}"),
            }
            let _ = told.map(|told| told.send(()));
        });
    }

    /// Reads the configuration again. What only a restart changes is said; a mistake leaves all as it was.
    fn reload(&mut self) -> Result<String, String> {
        notify(&reloading());
        let stamp = build::accounts_stamp(&self.config);
        let result = config::load(&self.config.file).map_err(|errors| errors.to_string()).and_then(|new| {
            // A restart takes another section accounts over, as a whole.
            let taken = Config { accounts: self.config.accounts.clone(), ..new.clone() };
            self.reloadable.take(&taken).map_err(|fault| fault.to_string())?;
            Ok(new)
        });
        notify(&[sd_notify::NotifyState::Ready]);
        match result {
            Ok(new) => {
                self.accounts_stamp = stamp;
                let restart = needs_restart(&self.config, &new);
                let said = if restart.is_empty() {
                    "the configuration was read again".to_owned()
                } else {
                    format!("the configuration was read again; a restart is needed for: {}", restart.join(", "))
                };
                tracing::info!("{said}");
                self.config = Config {
                    domains: new.domains,
                    routes: new.routes,
                    certificates: new.certificates,
                    smime: new.smime,
                    ..self.config.clone()
                };
                self.lists_stamp = signatures::lists_stamp(&self.config);
                Ok(said)
            }
            Err(fault) => {
                tracing::error!("the configuration was not taken over, the old one stays: {fault}");
                Err(fault)
            }
        }
    }

    /// Ends in order; a second signal ends the wait, not the safety: the spool is closed in any case.
    async fn drain(mut self, again: &mut Signal) {
        notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("stopping: nothing new is taken, deliveries under way are finished");
        // The devices come back; nobody is out of contact for that.
        self.presence.close();
        self.closing.send_replace(true);
        self.finishing.send_replace(true);
        let finish = async {
            // The queue ends when what it gave out has been reported, which closing the connections brings about.
            let (peers, devices) = (self.peers.close(limits::DRAIN_TIMEOUT), self.devices.close(limits::DRAIN_TIMEOUT));
            let notifiers = self.notifiers.close(limits::DRAIN_TIMEOUT);
            let _ = tokio::join!(&mut self.queue, &mut self.notices, peers, notifiers, devices);
        };
        tokio::select! {
            () = finish => {}
            _ = again.recv() => tracing::warn!("stopping at once; what was under way is offered again"),
        }
        let connections = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(2), connections).await;
        self.tasks.abort_all();
        self.administration.abort();
        // A name without a daemon behind it would only puzzle.
        let _ = std::fs::remove_file(&self.config.control);
        self.spool.close().await;
        tracing::info!("stopped");
    }
}

/// Our certificates; what is not well about them is said.
fn certificates(config: &Config, now: Timestamp) -> Result<Arc<Certificates>, DaemonError> {
    let certificates = Certificates::load(config.certificates.clone())?;
    for warning in certificates.warnings(now) {
        tracing::warn!("{warning}");
    }
    Ok(certificates)
}

/// Who says who people are.
async fn authority(config: &Config, base: &Base, connector: &Connector) -> Result<Authority, DaemonError> {
    let options = build::authority(config, connector, &base.spool)?;
    let authority = Authority::new(options, base.accounts.clone(), base.clock.clone())?;
    authority.refresh().await;
    Ok(authority)
}

/// The spool; what was put aside is said.
fn open(config: &Config) -> Result<(Spool, spool::Opened), DaemonError> {
    let (spool, opened) = Spool::open(&config.spool, spool::Options::default())?;
    for (what, why) in &opened.set_aside {
        tracing::error!("{what} was put aside: {why}");
    }
    Ok((spool, opened))
}

/// What connections from outside share.
fn receiving(
    config: &Config,
    base: &Base,
    roots: Arc<tls::Roots>,
    authority: Authority,
    (attached, attach): (Attached, Sender<Attachment>),
    life: UnboundedSender<Domain>,
) -> Arc<Context> {
    Arc::new(Context {
        options: build::receive(config),
        spool: base.spool.clone(),
        accounts: base.accounts.clone(),
        authority,
        attached,
        presence: base.presence.clone(),
        clients: Shares::new(config.limits.attached),
        attach,
        rates: Rates::new(config.limits.messages_per_minute),
        peers: config.limits.domain_messages_per_minute.map(Rates::new),
        mailed: Rates::in_an_hour(limits::MAILED_REQUESTS),
        refused: base.refused.clone(),
        table: base.table.clone(),
        resolver: base.resolver.clone(),
        roots,
        signatures: base.signatures.clone(),
        clock: base.clock.clone(),
        life,
        connections: Connections::new(config.limits.connections, config.limits.connections_per_address),
        waiting: Arc::new(Semaphore::new(limits::WAITING_KIBIS)),
        large: Arc::default(),
        meters: receive::Meters::default(),
    })
}

fn listen(
    config: &Config,
    mut inherited: net::Inherited,
    context: &Arc<Context>,
    certificates: &Arc<Certificates>,
    closed: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), DaemonError> {
    for listener in &config.listeners {
        let service = listener.service;
        let acceptor = match service {
            Service::Mail => None,
            _ if config.certificates.is_empty() => None,
            _ => Some(Acceptor::new(certificates.clone(), build::accept(config, service))?),
        };
        let at_once = service != Service::Odmr || listener.tls == config::TlsStart::AtOnce;
        let (tls, starttls) = if at_once { (acceptor, None) } else { (None, acceptor) };
        let socket = inherited.take(&listener.address).map_or_else(|| net::listen(&listener.address), Ok)?;
        tracing::info!("listening on {} for {}", listener.address, build::purpose(service));
        let session = Arc::new(build::session(config, service, starttls.is_some()));
        let (senders, clear_auth) = (listener.senders, listener.clear_auth);
        let bridge = build::bridge(config, senders, &context.spool)?;
        let listener = Arc::new(Listener { service, senders, bridge, session, tls, starttls, clear_auth });
        tasks.spawn(receive::listen(socket, listener, context.clone(), closed.clone()));
    }
    inherited.left().iter().for_each(|fault| tracing::warn!("{fault}"));
    Ok(())
}

/// What goes on beside messages and presence.
fn beside(
    config: &Config,
    base: &Base,
    certificates: &Arc<Certificates>,
    closed: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), DaemonError> {
    tls_reports::start(config, base, closed, tasks);
    unsubscribe::start(config, base, certificates, closed, tasks)
}

/// What a reload cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut differ = |name, differs: bool| {
        if differs {
            keys.push(name);
        }
    };
    differ("host", old.host != new.host);
    differ("spool", old.spool != new.spool);
    differ("control", old.control != new.control);
    differ("[[listen]]", old.listeners != new.listeners);
    differ("[tls]", old.tls != new.tls);
    differ("[dns]", old.dns != new.dns);
    differ("[accounts]", old.accounts != new.accounts);
    differ("[limits]", old.limits != new.limits);
    differ("[queue]", old.queue != new.queue);
    differ("[presence]", old.presence != new.presence);
    differ("[bridge]", old.bridge != new.bridge);
    differ("[policy]", old.policy != new.policy);
    differ("[[authority]]", old.issuers != new.issuers || old.authorities() != new.authorities());
    differ("[log]", old.log != new.log);
    differ("[metrics]", old.metrics != new.metrics);
    differ("smime.fetch_crls", old.smime.fetch_crls != new.smime.fetch_crls);
    keys
}

/// Tells systemd, where there is one.
fn notify(states: &[sd_notify::NotifyState]) {
    if let Err(fault) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {fault}");
    }
}

/// A reload begins; systemd wants to know when it did (`Type=notify-reload`).
fn reloading() -> Vec<sd_notify::NotifyState<'static>> {
    let begun = sd_notify::NotifyState::monotonic_usec_now().ok();
    std::iter::once(sd_notify::NotifyState::Reloading).chain(begun).collect()
}

/// At half the time that systemd gives; practically never where it gives none.
fn watchdog() -> tokio::time::Interval {
    let every = sd_notify::watchdog_enabled().map_or(Duration::from_secs(86_400), |time| time / 2);
    tokio::time::interval(every.max(Duration::from_millis(100)))
}
