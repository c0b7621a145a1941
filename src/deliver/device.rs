//! One attachment at work: what waits for it is sent while its session has room, and what it says is reported. A device that
//! takes presence is shown it between the messages: [`Showing`].
//!
//! Invariant: an offer is answered, given back, or ends with the attachment; an entity is read when the session wants it and
//! not before. An idle attachment holds no buffer. How it fails: the connection is closed, and what was not answered is
//! offered again when the device comes back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::devices::Context;
use super::showing::{self, NOTICES, Showing};
use super::wire::Wire;
use super::{DeviceAnswer, Outcome, Report, Scope, outcome};
use crate::accounts::{Principal, Proof, Reads};
use crate::address::Device as Name;
use crate::attached::{Attachment, Concluded, End, Feed, Joined, Offer, Upkeep, Verdict};
use crate::envelope::{ByMode, Envelope, Notify, Recipient};
use crate::limits;
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::client::{Event, Fate, Fault, Protection, Session, Transaction};
use crate::smtp::extension::Extension;
use crate::spool::{Record, State};
use crate::timestamp::Timestamp;

/// After how many idle seconds a device is asked for a sign of life that does not say itself.
const NOOP_SECONDS: u16 = 300;
/// Offers taken at a time.
const BATCH: usize = 16;
/// How long an attachment that is to end may take for what it was offered; its peer may have gone without a word.
const GRACE: Duration = Duration::from_secs(5);

/// How long it may take by the reason of its end.
fn grace(end: End) -> Duration {
    match end {
        End::Replaced | End::Revoked => GRACE,
        // Who stops the daemon has set the time, and cuts off what is not done by then ([`super::Devices::close`]).
        End::Closing => limits::DRAIN_TIMEOUT,
        End::Renewal => limits::HANDSHAKE_TIMEOUT,
    }
}

/// A message under way.
struct Flying {
    offer: Offer,
    record: Arc<Record>,
    started: Instant,
    _share: Option<OwnedSemaphorePermit>,
}

struct Device {
    context: Arc<Context>,
    feed: Feed,
    wire: Wire,
    /// As in logs: the device, and its address.
    relay: String,
    until_empty: bool,
    /// When those who vouch for the account are to be asked again.
    renewal: Option<Instant>,
    /// Taken and not yet submitted.
    pending: VecDeque<Offer>,
    flying: HashMap<u64, Flying>,
    /// Where it takes presence.
    showing: Option<Showing>,
    token: u64,
    over: Option<Option<Fault>>,
}

/// Serves an attachment to its end.
pub(super) async fn serve(context: Arc<Context>, attachment: Attachment) {
    let Attachment { stream, principal, inboxes, device, until_empty, tls, place } = attachment;
    let Joined { feed, upkeep } = context.attached.attach(&principal, &inboxes, device.as_ref(), context.clock.now());
    // The account may have changed between its login and here.
    context.revise(&feed);
    let renewal = (principal.proof == Proof::Elsewhere).then(|| Instant::now() + context.vouched);
    // Whoever reads others' inboxes only does not touch its own presence by that.
    let own = inboxes.is_empty() || inboxes.iter().any(|(_, reads)| *reads == Reads::Own);
    let shown = (own && !until_empty).then(|| (principal.clone(), device.clone()));
    let name =
        device.as_ref().map_or_else(|| "a device without a name".to_owned(), |device| format!("device {device}"));
    let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_else(|| "local".to_owned());
    let options = if until_empty { &context.on_demand } else { &context.device };
    // It has authenticated under TLS: that it is the inbox's own is proven.
    let protection = if tls { Protection::Proven } else { Protection::Clear };
    let session = Session::new(options.clone(), protection, Instant::now().into_std());
    tracing::info!("{}: {name} attached from {peer}", principal.account);
    let mut served = Device {
        context: context.clone(),
        feed,
        wire: Wire::new(stream, session),
        relay: format!("{name}[{peer}]"),
        until_empty,
        renewal,
        pending: VecDeque::new(),
        flying: HashMap::new(),
        showing: None,
        token: 0,
        over: None,
    };
    let why = served.run(upkeep, shown).await;
    let Device { feed, wire, .. } = served;
    tracing::info!("{}: {name} detached: {why}", principal.account);
    // First the place among the others: what this one has not answered, another connection of the device may have now.
    let seen = feed.leave(context.clock.now());
    wire.close().await;
    drop(place);
    if let Err(fault) = Box::pin(context.note(seen)).await {
        tracing::debug!("{}: {name} cannot be noted as seen: {fault}", principal.account);
    }
}

impl Device {
    /// Serves until there is a reason to end, which is given.
    async fn run(&mut self, upkeep: Upkeep, shown: Option<(Principal, Option<Name>)>) -> String {
        if !upkeep.is_empty()
            && let Err(fault) = Box::pin(self.context.note(upkeep)).await
        {
            return format!("the spool cannot know the device: {fault}");
        }
        if !self.greet().await {
            return self.reason();
        }
        let offer = self.wire.session.offer();
        let noop = Duration::from_secs(offer.noop.unwrap_or(NOOP_SECONDS).into());
        // What shows no service at all is a server that takes messages.
        let messages = offer.impp.im || !offer.impp.pres;
        let shown = self.context.presence.as_ref().zip(shown.filter(|_| offer.impp.pres));
        self.showing = shown
            .map(|(presence, (principal, device))| Showing::begin(presence, &principal, device.as_ref(), messages));
        if messages {
            self.feed.ready(offer.size);
        }
        let mut ending = None;
        loop {
            self.take_events();
            if self.over.is_some() {
                return self.reason();
            }
            if self.renewal.take_if(|at| *at <= Instant::now()).is_some() {
                self.feed.end_by(End::Renewal);
                self.showing.as_mut().into_iter().for_each(Showing::pause);
            }
            let end = self.feed.end();
            if end.is_none() {
                self.fill().await;
                self.take_events();
                if self.over.is_some() {
                    continue;
                }
            }
            let idle = self.wire.session.is_idle() && self.pending.is_empty();
            match end {
                Some(end) => {
                    let until = *ending.get_or_insert_with(|| Instant::now() + grace(end));
                    self.pending.clear();
                    if self.wire.session.is_idle() || Instant::now() >= until {
                        return words(end).to_owned();
                    }
                }
                None if idle && self.until_empty && self.feed.is_dry() => return "nothing waits".to_owned(),
                None if idle && self.wire.session.is_exhausted() => {
                    return "it takes no more in this session".to_owned();
                }
                None => {}
            }
            self.wait(noop, ending).await;
        }
    }

    /// The greeting and EHLO; false when the attachment is over.
    async fn greet(&mut self) -> bool {
        loop {
            let event = tokio::select! {
                event = self.wire.event() => event,
                () = ended(&self.feed) => return false,
            };
            match event {
                Event::Ready => return true,
                Event::Over(fault) => {
                    self.over = Some(fault);
                    return false;
                }
                Event::StartTls | Event::Turned | Event::Done { .. } => {}
            }
        }
    }

    fn reason(&self) -> String {
        match &self.over {
            Some(Some(fault)) => fault.to_string(),
            Some(None) => "the session was ended".to_owned(),
            None => self.feed.end().map_or("ended", words).to_owned(),
        }
    }

    /// Hands messages and notices to the session while it wants them.
    async fn fill(&mut self) {
        // One notice may always go; the others wait until no message does.
        self.show(1);
        self.deliver().await;
        self.show(NOTICES);
    }

    fn show(&mut self, most: usize) {
        let Some(showing) = &mut self.showing else { return };
        while self.wire.session.wants() {
            let Some(notice) = showing.next(self.token + 1, most, Instant::now()) else { return };
            self.token += 1;
            let envelope = Arc::new(showing::envelope(&notice));
            let message = Transaction { token: self.token, envelope, recipients: vec![0], entity: notice.entity };
            self.wire.session.submit(message, self.context.clock.now(), Instant::now().into_std());
        }
    }

    async fn deliver(&mut self) {
        while self.wire.session.wants() {
            if self.pending.is_empty() {
                let room = self.wire.session.room().min(BATCH);
                self.pending.extend(self.feed.take(room, Instant::now().into_std()));
            }
            let Some(offer) = self.pending.pop_front() else { return };
            self.submit(offer).await;
        }
    }

    async fn submit(&mut self, offer: Offer) {
        // One without IMPP would not know a second copy, as the sender makes one after a crash.
        if !self.wire.session.offer().has(Extension::Impp) && !self.context.spool.is_durable(offer.id()).await {
            return drop(self.feed.answered(&offer, Verdict::Left, Instant::now().into_std()));
        }
        let (now, wall) = (Instant::now().into_std(), self.context.clock.now());
        let record = match self.context.spool.record(offer.id()) {
            Ok(Some(record)) => record,
            Ok(None) => return self.feed.vanished(&offer),
            Err(fault) => {
                tracing::error!("{}: its record cannot be read for a device: {fault}", offer.id());
                return drop(self.feed.answered(&offer, Verdict::Left, now));
            }
        };
        match record.states.get(offer.index()) {
            Some(State::Open(_)) if !record.held && record.expires > wall => {}
            // Nobody wants to see what was meant for a moment that has passed.
            Some(State::Owed(_)) if is_past(&record, wall) => return self.feed.vanished(&offer),
            Some(State::Owed(_)) if !record.held => {}
            // The queue knows, or will hear of it.
            Some(State::Open(_) | State::Owed(_)) => return drop(self.feed.answered(&offer, Verdict::Left, now)),
            Some(State::Closed(_)) | None => return self.feed.vanished(&offer),
        }
        let share = match Context::share(offer.size) {
            None => None,
            Some(kibis) => match self.context.large.clone().try_acquire_many_owned(kibis) {
                Ok(share) => Some(share),
                Err(_) => return self.feed.soon(&offer, now),
            },
        };
        let entity = match self.context.spool.entity(offer.id()).await {
            Ok(Some(entity)) => entity,
            Ok(None) => return self.feed.vanished(&offer),
            Err(fault) => {
                tracing::error!("{}: it cannot be read for a device: {fault}", offer.id());
                return drop(self.feed.answered(&offer, Verdict::Left, now));
            }
        };
        self.token += 1;
        let envelope = Arc::new(for_one(&record, offer.index()));
        let message = Transaction { token: self.token, envelope, recipients: vec![0], entity };
        let flying = Flying { offer, record: Arc::new(record), started: Instant::now(), _share: share };
        self.flying.insert(self.token, flying);
        self.wire.session.submit(message, wall, now);
    }

    fn take_events(&mut self) {
        while let Some(event) = self.wire.session.poll() {
            match event {
                Event::Done { token, fates } => {
                    let Some((_, fate)) = fates.into_iter().next() else { continue };
                    let now = Instant::now();
                    if self.showing.as_mut().is_some_and(|showing| showing.answered(token, &fate, now)) {
                        continue;
                    }
                    if let Some(flying) = self.flying.remove(&token) {
                        self.done(flying, fate);
                    }
                }
                Event::Over(fault) => self.over = Some(fault),
                Event::StartTls | Event::Turned | Event::Ready => {}
            }
        }
    }

    fn done(&self, flying: Flying, fate: Fate) {
        let Flying { offer, record, started, _share } = flying;
        let now = Instant::now().into_std();
        let say = |verdict| self.feed.answered(&offer, verdict, now);
        let (concluded, outcome) = match fate {
            Fate::Accepted { reply, .. } => (say(Verdict::Had), Outcome::Delivered { reply }),
            Fate::Refused { reply } if reply.is_permanent() => match say(Verdict::Refused) {
                Concluded::Fails => {
                    let (status, reason) = (reply.status(), format!("the recipient's client said: {reply}"));
                    (Concluded::Fails, Outcome::Failed { reply: Some(reply), status, reason })
                }
                other => (other, left(reply.status(), format!("left to other devices; {} said: {reply}", self.relay))),
            },
            Fate::Refused { reply } => (say(Verdict::Later), later(reply, &self.relay)),
            Fate::Unfit { status, reason } => {
                (say(Verdict::Left), left(status, format!("left to other connections: {}: {reason}", self.relay)))
            }
            lost @ Fate::Lost { .. } => {
                if self.wire.session.fault().is_none() {
                    self.feed.soon(&offer, now);
                }
                (
                    Concluded::Nothing,
                    outcome::of(lost, outcome::Acceptance::Taken, &self.relay, self.wire.session.fault()),
                )
            }
        };
        self.context.report(Report {
            id: offer.id(),
            destination: format!("inbox {}", record.envelope.recipients[offer.index()].address).into(),
            relay: self.relay.clone(),
            outcomes: vec![(offer.index(), outcome)],
            connecting: Duration::ZERO,
            transmitting: started.elapsed(),
            device: Some(DeviceAnswer { record, item: offer.item, concluded }),
        });
    }

    /// Until something comes from the device or the queue, or a deadline passes.
    async fn wait(&mut self, noop: Duration, grace: Option<Instant>) {
        let session = &self.wire.session;
        let quiet = session.is_idle().then(|| session.quiet_since() + noop);
        let again = if session.wants() && grace.is_none() { self.feed.next_due() } else { None };
        let due = session.deadline().into_iter().chain(quiet).chain(again).map(Instant::from_std);
        let shown = self.showing.as_ref().filter(|_| session.wants() && grace.is_none()).and_then(Showing::next_due);
        let due = due.chain(shown).chain(grace).chain(self.renewal).min();
        if self.flying.is_empty() && self.pending.is_empty() {
            (self.flying, self.pending) = (HashMap::new(), VecDeque::new());
            self.showing.as_mut().map(Showing::rest).unwrap_or_default();
            self.wire.rest();
        }
        let alarm = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.wire.move_octets() => {}
            () = self.feed.news() => {}
            () = showing::news(self.showing.as_ref()) => {}
            () = alarm => {
                let (session, now) = (&mut self.wire.session, Instant::now().into_std());
                if session.deadline().is_some_and(|at| at <= now) {
                    session.timed_out();
                } else if session.is_idle() && session.quiet_since() + noop <= now {
                    session.noop(now);
                }
            }
        }
    }
}

/// Whether it was to be returned rather than be delivered so late (RFC 2852 §4.1.4).
fn is_past(record: &Record, now: Timestamp) -> bool {
    record.envelope.deliver_by.is_some_and(|by| by.mode == ByMode::Return && by.at <= now)
}

async fn ended(feed: &Feed) {
    while feed.end().is_none() {
        feed.news().await;
    }
}

fn words(end: End) -> &'static str {
    match end {
        End::Replaced => "the same device is attached by another connection",
        End::Revoked => "the account may no longer read the inbox, or has another password",
        End::Renewal => "whether the account is still good is asked anew; it may log in again",
        End::Closing => "this server is stopping",
    }
}

fn left(status: EnhancedCode, reason: String) -> Outcome {
    let status = EnhancedCode { class: 4, ..status };
    Outcome::Deferred { scope: Scope::Recipient, reply: None, status, reason, uncertain: false }
}

fn later(reply: Reply, relay: &str) -> Outcome {
    let (status, reason) = (reply.status(), format!("{relay} said: {reply}"));
    Outcome::Deferred { scope: Scope::Recipient, reply: Some(reply), status, reason, uncertain: false }
}

/// The envelope for one recipient, as the inbox's client gets it. The time to deliver by is ours to keep, and so is the
/// duty to report success: the server is the mailbox (RFC 3461 §5.2.3).
fn for_one(record: &Record, index: usize) -> Envelope {
    let Envelope { class, sender, body, utf8, ret, envid, require_tls, .. } = &*record.envelope;
    let Recipient { address, notify, original } = &record.envelope.recipients[index];
    let notify = notify.map(|notify| Notify { success: false, ..notify });
    Envelope {
        class: *class,
        sender: sender.clone(),
        body: *body,
        utf8: *utf8,
        ret: *ret,
        envid: envid.clone(),
        deliver_by: None,
        require_tls: *require_tls,
        recipients: vec![Recipient { address: address.clone(), notify, original: original.clone() }],
    }
}
