//! Attachments: a task for each connection whose roles have been reversed.
//!
//! In: attachments, from whoever receives. Out: reports to the queue, with what each device said of each message; what is
//! known of devices, to the spool. Invariant: an attachment's place is given back when its connection is closed, whatever
//! happens; large entities that are on their way to devices are bounded in all. RFC 2645.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::{Report, device};
use crate::accounts::Accounts;
use crate::address::Domain;
use crate::attached::{Attached, Attachment, Feed, Upkeep};
use crate::clock::Clock;
use crate::presence::Handle;
use crate::smtp::client::{self, StartTls, Timeouts};
use crate::spool::{QueueId, Settlement, Spool, SpoolError};

/// How often devices that are attached are noted as seen, and those that are gone for long are forgotten.
const UPKEEP: Duration = Duration::from_secs(3600);
/// KiB of large entities on their way to all devices.
const LARGE_KIBIS: usize = 256 * 1024;
/// What is written of forgotten devices at a time.
const TOGETHER: usize = 64;

/// What an administrator may choose.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Our name in EHLO.
    pub helo: Domain,
    /// Transactions unanswered on one connection, where the device shows IMPP.
    pub window: usize,
    /// How long a device may take; what it does by itself it does at once.
    pub timeouts: Timeouts,
    /// How long a server may take that fetches what waits: as a hop may (RFC 5321 §4.5.3.2).
    pub on_demand: Timeouts,
    /// How long an attachment lasts for whose account others vouch ([`crate::limits::VOUCHED`]).
    pub vouched: Duration,
}

impl DeviceOptions {
    /// The defaults.
    pub fn new(helo: Domain) -> Self {
        let minute = Duration::from_secs(60);
        let timeouts = Timeouts {
            greeting: minute,
            command: minute,
            data: minute,
            block: minute,
            end: 2 * minute,
            transaction: 10 * minute,
            ..Timeouts::default()
        };
        let vouched = crate::limits::VOUCHED;
        DeviceOptions { helo, window: 128, timeouts, on_demand: Timeouts::default(), vouched }
    }
}

/// What the tasks share.
pub(super) struct Context {
    pub device: Arc<client::Options>,
    pub on_demand: Arc<client::Options>,
    pub vouched: Duration,
    pub attached: Attached,
    /// `None`: nobody here has any.
    pub presence: Option<Handle>,
    pub spool: Spool,
    pub clock: Arc<dyn Clock>,
    pub large: Arc<Semaphore>,
    accounts: watch::Receiver<Arc<Accounts>>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Context {
    /// Ends an attachment whose account has changed since it logged in.
    pub fn revise(&self, feed: &Feed) {
        let (accounts, now) = (self.accounts.borrow().clone(), self.clock.now());
        feed.revise(|principal, inbox| accounts.reads(principal, inbox, now));
    }

    /// Whoever no longer listens needs no report.
    pub fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// How many KiB of the bound an entity takes; `None` if it is none of the large ones.
    pub fn share(size: u64) -> Option<u32> {
        let kibis = size.div_ceil(1024).min(LARGE_KIBIS as u64);
        if size > crate::limits::LARGE_OCTETS { u32::try_from(kibis).ok() } else { None }
    }

    /// Writes what has to be known of devices; what cannot be written now is due again.
    pub async fn note(&self, upkeep: Upkeep) -> Result<(), SpoolError> {
        let written = self.write(upkeep.clone()).await;
        if written.is_err() {
            self.attached.again(upkeep);
        }
        written
    }

    /// Nothing is kept for a device that is not known, so what was kept for those
    /// that are forgotten is written first.
    async fn write(&self, upkeep: Upkeep) -> Result<(), SpoolError> {
        let Upkeep { know, forget, had } = upkeep;
        for some in had.chunks(TOGETHER) {
            let settle = |(id, had): &(QueueId, _)| {
                let had = vec![Clone::clone(had)];
                self.spool.settle(Settlement { had, ..Settlement::new(*id) })
            };
            let settling: Vec<_> = some.iter().map(settle).map(tokio::spawn).collect();
            for settled in settling {
                settled.await.map_err(|_| SpoolError::Closed)??;
            }
        }
        if !forget.is_empty() {
            self.spool.forget(forget).await?;
        }
        if !know.is_empty() {
            self.spool.know(know).await?;
        }
        Ok(())
    }
}

/// Serves attachments.
pub struct Devices {
    attached: Attached,
    closing: watch::Sender<Option<Instant>>,
    tasks: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Devices").field("status", &self.attached.status()).finish_non_exhaustive()
    }
}

impl Devices {
    /// Within a tokio runtime: serves what comes by `attachments`, for as long as `accounts` allow it. Reports go to
    /// `reports`.
    pub fn new(
        options: DeviceOptions,
        (attached, presence): (Attached, Option<Handle>),
        spool: Spool,
        clock: Arc<dyn Clock>,
        accounts: watch::Receiver<Arc<Accounts>>,
        attachments: mpsc::Receiver<Attachment>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Devices {
        let session = |timeouts| {
            let (helo, starttls) = (options.helo.clone(), StartTls::Never);
            Arc::new(client::Options {
                helo,
                starttls,
                helo_fallback: true,
                lmtp: false,
                window: options.window,
                timeouts,
                login: None,
            })
        };
        let context = Arc::new(Context {
            device: session(options.timeouts),
            on_demand: session(options.on_demand),
            vouched: options.vouched,
            attached: attached.clone(),
            presence,
            spool,
            clock,
            large: Arc::new(Semaphore::new(LARGE_KIBIS)),
            accounts: accounts.clone(),
            reports,
        });
        let (closing, closed) = watch::channel(None);
        let tasks = tokio::spawn(serve(context, attachments, accounts, closed));
        Devices { attached, closing, tasks: tokio::sync::Mutex::new(Some(tasks)) }
    }

    /// Takes no more attachments, and ends those that there are by QUIT when what they were offered is answered; what is
    /// not done within `patience` is cut off, and offered again at another time.
    pub async fn close(&self, patience: Duration) {
        self.closing.send_replace(Some(Instant::now() + patience));
        self.attached.close();
        if let Some(tasks) = self.tasks.lock().await.take() {
            // It ends by itself; if it has panicked there is nothing left to wait for.
            let _ = tasks.await;
        }
    }
}

async fn serve(
    context: Arc<Context>,
    mut attachments: mpsc::Receiver<Attachment>,
    mut accounts: watch::Receiver<Arc<Accounts>>,
    mut closing: watch::Receiver<Option<Instant>>,
) {
    let mut tasks = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP);
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let deadline = loop {
        tokio::select! {
            Some(attachment) = attachments.recv() => drop(tasks.spawn(device::serve(context.clone(), attachment))),
            Some(_) = tasks.join_next() => {}
            Ok(()) = accounts.changed() => {
                let (accounts, now) = (accounts.borrow_and_update().clone(), context.clock.now());
                context.attached.revise(|principal, inbox| accounts.reads(principal, inbox, now));
            }
            _ = upkeep.tick() => {
                // A rule may be over without having changed.
                let (all, now) = (accounts.borrow().clone(), context.clock.now());
                if !all.rules().is_empty() {
                    context.attached.revise(|principal, inbox| all.reads(principal, inbox, now));
                }
                let due = context.attached.upkeep(context.clock.now());
                if let Err(fault) = context.note(due).await {
                    tracing::warn!("devices cannot be noted as seen, tried again: {fault}");
                }
            }
            changed = closing.changed() => match (*closing.borrow_and_update(), changed) {
                (Some(deadline), _) => break deadline,
                (None, Err(_)) => break Instant::now(),
                (None, Ok(())) => {}
            }
        }
    };
    attachments.close();
    // What was handed over and not begun is closed; its client comes back.
    while attachments.try_recv().is_ok() {}
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout_at(deadline, all).await;
    tasks.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Principal;
    use crate::address::Mailbox;

    fn context(spool: Spool) -> Arc<Context> {
        let options = DeviceOptions::new(Domain::parse("mx.a.example").unwrap());
        let session = Arc::new(client::Options {
            helo: options.helo,
            starttls: StartTls::Never,
            helo_fallback: false,
            lmtp: false,
            window: 1,
            timeouts: options.timeouts,
            login: None,
        });
        Arc::new(Context {
            device: session.clone(),
            on_demand: session,
            vouched: crate::limits::VOUCHED,
            attached: Attached::new(Vec::new()),
            presence: None,
            spool,
            clock: Arc::new(crate::clock::System::new()),
            large: Arc::new(Semaphore::new(1)),
            accounts: watch::channel(Arc::default()).1,
            reports: mpsc::unbounded_channel().0,
        })
    }

    #[tokio::test]
    async fn an_attachment_that_rests_is_small() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _opened) = Spool::open(directory.path(), crate::spool::Options::default()).unwrap();
        let context = context(spool);
        let attachment = Attachment {
            stream: tokio::net::UnixStream::pair().unwrap().0.into(),
            principal: Principal::vouched(Mailbox::parse("alice@a.example").unwrap()),
            inboxes: Vec::new(),
            device: None,
            until_empty: false,
            tls: false,
            place: Box::new(()),
        };
        let octets = size_of_val(&device::serve(context, attachment));
        assert!(octets <= 4096, "{octets} octets for each client");
    }

    #[tokio::test]
    async fn what_the_spool_does_not_take_is_due_again() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _opened) = Spool::open(directory.path(), crate::spool::Options::default()).unwrap();
        let context = context(spool.clone());
        let alice = Mailbox::parse("alice@a.example").unwrap();
        let principal = Principal::vouched(alice.clone());
        let (inboxes, device) = ([(alice, crate::accounts::Reads::Own)], "phone".parse().unwrap());
        let attach = || context.attached.attach(&principal, &inboxes, Some(&device), context.clock.now());
        let first = attach().upkeep;
        context.note(first.clone()).await.unwrap();
        assert!(attach().upkeep.is_empty());
        spool.close().await;
        assert!(context.note(first.clone()).await.is_err());
        assert_eq!(attach().upkeep, first);
    }
}
