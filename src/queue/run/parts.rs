//! What the loop is made of and wired to, and what it may be asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::sync::{oneshot, watch};

use crate::accounts::Accounts;
use crate::address::{Domain, Mailbox};
use crate::attached::Attached;
use crate::clock::Clock;
use crate::deliver::{Deliver, Report};
use crate::queue::counters::Counters;
use crate::queue::look_up;
use crate::queue::schedule::{self, Standing};
use crate::route::Table;
use crate::spool::{QueueId, Record, Spool};

/// What the administrator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// This host's name, for receipts.
    pub host: Domain,
    /// The schedule's.
    pub schedule: schedule::Options,
    /// After how long the sender is told that a message is late.
    pub delay_notice: Duration,
}

/// What the queue is wired to.
pub struct Parts {
    /// The spool.
    pub spool: Spool,
    /// What enters it from now on.
    pub arrivals: UnboundedReceiver<Arc<Record>>,
    /// What of that is taken back.
    pub withdrawn: UnboundedReceiver<Arc<Record>>,
    /// The first identifier of those; what is before was there when the daemon started.
    pub first_new: QueueId,
    /// Who delivers.
    pub deliver: Arc<dyn Deliver>,
    /// What became of it.
    pub reports: UnboundedReceiver<Report>,
    /// Who is attached.
    pub attached: Attached,
    /// Who knows where domains' servers are.
    pub look_up: look_up::LookUp,
    /// Who lives here.
    pub accounts: watch::Receiver<Arc<Accounts>>,
    /// The configured routes.
    pub table: watch::Receiver<Arc<Table>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Domains that have shown life.
    pub life: UnboundedReceiver<Domain>,
    /// The administrator's commands.
    pub commands: Receiver<Command>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What an administrator asks of the running queue.
#[derive(Debug)]
pub enum Command {
    /// How the destinations stand.
    Standings(oneshot::Sender<Vec<Standing>>),
    /// The message was changed in the spool, for these recipients, or is to be tried at once.
    Changed(QueueId, Vec<Mailbox>),
}
