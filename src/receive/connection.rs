//! One connection: octets to the session, its events to policy and spool, replies back.
//!
//! In: a stream, and who is at its other end. Out: messages in the spool, replies. Invariant: a `250` to an entity is written
//! after the spool has it on stable storage; what the peer can make this hold is bounded by the session's options and by
//! [`limits::LARGE_ENTITIES`]. Fails: by closing, with `421` where the peer can still read it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::address::{Domain, EhloName};
use crate::envelope::Class;
use crate::limits;
use crate::net::Stream;
use crate::policy::Service;
use crate::receive::large::Large;
use crate::receive::login::Say;
use crate::receive::transaction::{Accepted, Accepting, Judge};
use crate::receive::{Context, Listener, Meters, Place, encrypt};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::server::{Event, Session, Ticket};
use crate::spool::Acceptance;
use crate::tls::Peer;

/// Octets read at once while a peer is busy.
const READ_OCTETS: usize = 64 * 1024;
/// Octets of buffer that an idle connection holds.
const IDLE_OCTETS: usize = 1024;
/// How long replies may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the reply to an entity waits for those to the entities behind it, to go out with them: one write, and the peer is
/// woken once. Replies to what precedes an entity wait for the entity's own reply, however long that takes: nobody does
/// anything with them before, and a timer for each message would wake this host twice.
const GATHER: Duration = Duration::from_millis(2);
/// Octets of replies that wait for that, at most.
const GATHER_OCTETS: usize = 4096;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// What TLS told, where there is TLS.
    pub tls: Option<Peer>,
}

/// A commit that a reply waits for.
struct Commit {
    ticket: Ticket,
    class: Class,
    /// The entity has been here before.
    returned: bool,
    /// Its share of what may wait for the disk.
    _share: Option<OwnedSemaphorePermit>,
    future: Accepted,
    done: Option<Result<Acceptance, Reply>>,
}

/// What comes when the output is written.
#[derive(Clone, Copy)]
enum Next {
    Commands,
    StartTls,
    Turn,
}

/// Serves a connection until either side ends it, or the roles are reversed.
pub async fn serve(
    mut stream: Stream,
    origin: Origin,
    context: Arc<Context>,
    listener: Arc<Listener>,
    mut stop: watch::Receiver<bool>,
    place: Place,
) {
    let mut large = Large::new(context.large.clone(), origin.address);
    let (mut session, mut judge) = greet(&context, &listener, origin);
    let mut commits: VecDeque<Commit> = VecDeque::new();
    let (mut input, mut busy, mut next) = (BytesMut::new(), false, Next::Commands);
    let (started, mut progress) = (Instant::now(), Instant::now());
    // Until when the reply to an entity may wait for others.
    let mut until: Option<Instant> = None;
    let counts = (&context.meters, listener.service);
    loop {
        session.input(&mut input);
        while let Some(event) = session.poll() {
            if matches!(event, Event::Entity(_)) {
                large.entity_ended();
            }
            next = handle(event, &mut session, &mut judge, &mut commits, &stop).await;
            session.input(&mut input);
            progress = Instant::now();
        }
        let settled = poll_fn(|task| Poll::Ready(settle(task, &mut commits, &mut session, counts))).await;
        let gathers = gathers(&mut session, &commits, settled, &mut until);
        if !session.output().is_empty() && !gathers {
            until = None;
            if !write(&mut stream, &mut session, listener.service).await {
                return finish(commits).await;
            }
            progress = Instant::now();
            // It reads no further while replies wait to be written.
            continue;
        }
        match next {
            Next::Commands => {}
            Next::Turn => return judge.turn(stream, place),
            Next::StartTls => {
                next = Next::Commands;
                let Some(encrypted) = upgrade(stream, &listener, &mut session, &mut judge).await else { return };
                stream = encrypted;
                continue;
            }
        }
        if session.is_closing() && commits.is_empty() {
            return drop(timeout(WRITE_TIMEOUT, stream.shutdown()).await);
        }
        let readable = wants_input(&session, &mut large);
        input.reserve(if busy || session.is_receiving() { READ_OCTETS } else { IDLE_OCTETS });
        // No command is progress of an entity that has begun.
        let end = large.before(patience(&session, listener.service, started, progress));
        tokio::select! {
            read = stream.read_buf(&mut input), if readable => match read {
                Ok(0) | Err(_) => return finish(commits).await,
                Ok(count) => busy = count >= IDLE_OCTETS,
            },
            () = large.wait(), if large.waits(session.holds()) => {}
            () = poll_fn(|task| ready(settle(task, &mut commits, &mut session, counts))), if !commits.is_empty() => {
                until.get_or_insert_with(|| Instant::now() + GATHER);
            }
            () = tokio::time::sleep_until(until.unwrap_or(end)), if gathers && until.is_some() => {}
            () = tokio::time::sleep_until(end), if commits.is_empty() => session.close(&too_late()),
            () = stopped(&mut stop), if !session.is_closing() && session.is_idle() && commits.is_empty() => session.close(&going_down()),
        }
        rest(&mut input, busy, &mut session);
    }
}

/// The session, and who answers what it asks.
fn greet(context: &Arc<Context>, listener: &Arc<Listener>, origin: Origin) -> (Session, Judge) {
    let mut session = Session::new(listener.session.clone(), origin.tls.is_some());
    let judge = Judge::new(context.clone(), listener.clone(), origin);
    session.offer_mechanisms(judge.mechanisms());
    (session, judge)
}

fn wants_input(session: &Session, large: &mut Large) -> bool {
    // Asked in any case: it gives back what is needed no more.
    let room = large.may_go_on(session.holds());
    session.wants_input() && !session.is_closing() && room
}

/// A connection on which nothing comes holds no buffer.
fn rest(input: &mut BytesMut, busy: bool, session: &mut Session) {
    if input.is_empty() && !busy && session.is_idle() {
        *input = BytesMut::new();
        session.release_buffers();
    }
}

/// Whether replies wait for those to entities whose commit is under way. `settled`: those to entities are among them.
fn gathers(session: &mut Session, commits: &VecDeque<Commit>, settled: bool, until: &mut Option<Instant>) -> bool {
    if settled {
        until.get_or_insert_with(|| Instant::now() + GATHER);
    }
    let waiting = 1..=GATHER_OCTETS;
    let may = waiting.contains(&session.output().len()) && !commits.is_empty() && !session.is_closing();
    may && until.is_none_or(|until| until > Instant::now())
}

/// Until when something must come to an end.
fn patience(session: &Session, service: Service, started: Instant, progress: Instant) -> Instant {
    let patience = if session.is_receiving() { limits::ENTITY_TIMEOUT } else { limits::COMMAND_TIMEOUT };
    if service.authenticates() && !session.is_authenticated() {
        return (progress + patience).min(started + limits::LOGIN_TIMEOUT);
    }
    progress + patience
}

/// TLS after STARTTLS: what was said before counts no more (RFC 3207 §4.2).
async fn upgrade(stream: Stream, listener: &Listener, session: &mut Session, judge: &mut Judge) -> Option<Stream> {
    let (stream, peer) = encrypt(stream, listener.starttls.as_ref()?, &judge.context.meters).await?;
    judge.encrypted(peer);
    session.tls_started();
    session.offer_mechanisms(judge.mechanisms());
    Some(stream)
}

/// What a client is told that takes too long.
fn too_late() -> Reply {
    Reply::new(421, EnhancedCode::new(4, 4, 2), "nothing came to an end in time, closing")
}

/// What a client is told while the daemon stops.
pub(super) fn going_down() -> Reply {
    Reply::new(421, EnhancedCode::new(4, 3, 2), "the service is going down, try again later")
}

fn ready(progress: bool) -> Poll<()> {
    if progress { Poll::Ready(()) } else { Poll::Pending }
}

/// Polls every commit; those at the front that are done get their replies, in order. Tells whether one was.
fn settle(
    task: &mut TaskContext<'_>,
    commits: &mut VecDeque<Commit>,
    session: &mut Session,
    (meters, service): (&Meters, Service),
) -> bool {
    let mut progress = false;
    for commit in commits.iter_mut().filter(|commit| commit.done.is_none()) {
        match commit.future.as_mut().poll(task) {
            Poll::Ready(result) => commit.done = Some(result),
            // Commits are answered in order: what follows is not there either.
            Poll::Pending => break,
        }
    }
    while commits.front().is_some_and(|commit| commit.done.is_some()) {
        let Some(Commit { ticket, class, returned, done: Some(result), .. }) = commits.pop_front() else { break };
        if result.as_ref().is_ok_and(|acceptance| !acceptance.all_duplicate) {
            meters.accept(service, class);
        }
        session.complete(ticket, reply(result, returned));
        progress = true;
    }
    progress
}

/// A second copy that carries our own trace field is no repetition by a careful client: it would be dropped here, and
/// nobody would be told. RFC 5321 §6.3.
fn reply(result: Result<Acceptance, Reply>, returned: bool) -> Reply {
    match result {
        Ok(acceptance) if acceptance.all_duplicate && returned => {
            Reply::new(554, EnhancedCode::new(5, 4, 6), "the message has been here before; the routes are in a loop")
        }
        Ok(acceptance) => Reply::new(250, EnhancedCode::new(2, 0, 0), format!("accepted as {}", acceptance.id)),
        Err(refusal) => refusal,
    }
}

/// The peer is gone; what is on its way to the disk is let through, for nothing is half accepted.
async fn finish(commits: VecDeque<Commit>) {
    for commit in commits {
        if commit.done.is_none() {
            let _ = commit.future.await;
        }
    }
}

async fn write(stream: &mut Stream, session: &mut Session, service: Service) -> bool {
    let output = session.output().split();
    // fetchmail waits for ever when a record of TLS has more than one line.
    let by_lines = service == Service::Odmr && stream.is_tls();
    let written = timeout(WRITE_TIMEOUT, async {
        if by_lines {
            for line in output.split_inclusive(|octet| *octet == b'\n') {
                stream.write_all(line).await?;
                stream.flush().await?;
            }
            return Ok(());
        }
        stream.write_all(&output).await?;
        stream.flush().await
    });
    matches!(written.await, Ok(Ok::<(), std::io::Error>(())))
}

async fn handle(
    event: Event,
    session: &mut Session,
    judge: &mut Judge,
    commits: &mut VecDeque<Commit>,
    stop: &watch::Receiver<bool>,
) -> Next {
    match event {
        Event::Hello { name, lmtp, .. } => judge.hello(name, lmtp),
        Event::Mail(mail) => session.answer(judge.mail(mail).await),
        Event::Rcpt(rcpt) => session.answer(judge.recipient(rcpt).await),
        Event::Entity(transaction) => {
            let (ticket, class) = (transaction.ticket, transaction.mail.class.unwrap_or(Class::Im));
            let share = share(judge.waiting(), transaction.entity.len()).await;
            match judge.entity(transaction).await {
                Ok(accepting) => commits.push_back(begin((ticket, class), accepting, share).await),
                Err(refusal) => session.complete(ticket, refusal),
            }
        }
        Event::Auth { mechanism, initial } => say(session, judge.login(mechanism, initial).await),
        Event::AuthResponse(response) => say(session, judge.respond(response).await),
        Event::Atrn(_) if *stop.borrow() => session.answer(going_down()),
        Event::Atrn(atrn) => session.answer(judge.attach(atrn).await),
        Event::StartTls => return Next::StartTls,
        Event::Turn => return Next::Turn,
        Event::Close => {}
    }
    Next::Commands
}

fn say(session: &mut Session, say: Say) {
    match say {
        Say::Challenge(challenge) => session.challenge(&challenge),
        Say::Reply(reply) => session.answer(reply),
    }
}

/// Waits until an entity's octets are within what may wait for the disk.
async fn share(waiting: &Arc<Semaphore>, octets: usize) -> Option<OwnedSemaphorePermit> {
    let kibis = octets.div_ceil(1024).min(limits::WAITING_KIBIS);
    waiting.clone().acquire_many_owned(u32::try_from(kibis).unwrap_or(u32::MAX)).await.ok()
}

/// Asks the spool at once: it takes messages in the order in which their futures are first polled.
async fn begin((ticket, class): (Ticket, Class), accepting: Accepting, share: Option<OwnedSemaphorePermit>) -> Commit {
    let Accepting { returned, future } = accepting;
    let mut commit = Commit { ticket, class, returned, _share: share, future, done: None };
    commit.done = poll_fn(|task| match commit.future.as_mut().poll(task) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => Poll::Ready(None),
    })
    .await;
    commit
}

/// Resolves when it is told to stop, or when nobody is left to tell.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The domain that an EHLO name claims.
pub fn claimed(name: &EhloName) -> Option<&Domain> {
    match name {
        EhloName::Domain(domain) => Some(domain),
        EhloName::V4(_) | EhloName::V6(_) => None,
    }
}
