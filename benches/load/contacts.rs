//! Clients who watch many: how long it takes until each sees all of them, first, and when all come back at once.
//!
//! A client asks to watch, attaches, and counts the views that it is shown. Then all connections end, and all clients
//! attach again at one time, as after a failure of the network.

use std::cell::RefCell;
use std::io::{Error, Result};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::message::{nanoseconds, quantiles};
use crate::presence::{Person, Submission, attached};
use crate::send::numbered;

/// Recipients of one request.
const TOGETHER: usize = 100;
/// Clients that ask at one time.
const AT_ONCE: usize = 64;
/// How long a client may wait for its views.
const PATIENCE: Duration = Duration::from_secs(300);

/// Who watches whom.
#[derive(clap::Args)]
pub struct Options {
    /// Clients with their server and their number, as 127.0.0.2:2780,u{}@a.test,1000.
    #[arg(long)]
    clients: String,
    /// Whom they watch, as u{}@a.test or p@d{}.test.
    #[arg(long)]
    contacts: String,
    /// How many of these there are.
    #[arg(long)]
    among: usize,
    /// How many of these each watches.
    #[arg(long)]
    each: usize,
    /// Everybody's password.
    #[arg(long, default_value = "pw")]
    password: String,
}

/// Has everybody watch, ends all connections, and has everybody attach again.
pub async fn run(options: Options) -> Result<serde_json::Value> {
    let (rest, count) =
        options.clients.rsplit_once(',').ok_or_else(|| Error::other("ADDRESS:PORT,user@domain,COUNT"))?;
    let pattern = Person::parse(rest)?;
    let count: usize = count.parse().map_err(Error::other)?;
    let clients: Vec<Person> = (0..count).map(|number| pattern.numbered(number)).collect();
    let clients = Rc::new(clients);
    let options = Rc::new(options);
    let began = Instant::now();
    let first = all(&clients, &options, true, AT_ONCE).await?;
    let watched = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let again = all(&clients, &options, false, count).await?;
    let seconds = began.elapsed().as_secs_f64();
    let views = (count * options.each) as f64;
    Ok(serde_json::json!({
        "clients": count,
        "contacts": options.each,
        "watched_seconds": watched,
        "first_ms": quantiles(&mut first.borrow_mut()),
        "again_seconds": seconds,
        "again_ms": quantiles(&mut again.borrow_mut()),
        "views_per_second": views / seconds,
    }))
}

type Times = Rc<RefCell<Vec<u32>>>;

/// Every client, so many at a time; milliseconds until each has seen all of its contacts.
async fn all(clients: &Rc<Vec<Person>>, options: &Rc<Options>, asks: bool, at_once: usize) -> Result<Times> {
    let times = Times::default();
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for number in 0..clients.len() {
        if tasks.len() >= at_once
            && let Some(done) = tasks.join_next().await
        {
            done.map_err(Error::other)??;
        }
        let (clients, options, times) = (clients.clone(), options.clone(), times.clone());
        tasks.spawn_local(async move {
            let took = tokio::time::timeout(PATIENCE, one(&clients[number], &options, number, asks)).await;
            let took = took.map_err(|_| Error::other(format!("client {number} has not seen all")))??;
            times.borrow_mut().push(u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(Error::other)??;
    }
    Ok(times)
}

/// One client: the connection ends when it has seen all.
async fn one(who: &Person, options: &Options, number: usize, asks: bool) -> Result<Duration> {
    let began = Instant::now();
    let mut submission = Submission::open(who, &options.password).await?;
    if asks {
        // Not oneself, where one is among them.
        let contact = |place: usize| numbered(&options.contacts, (number + 1 + place) % options.among);
        let contacts: Vec<String> = (0..options.each).map(contact).collect();
        for contacts in contacts.chunks(TOGETHER) {
            let ask = format!("subscribe; id={:032x}; event=presence", nanoseconds());
            submission.tell_all(&who.address, contacts, &ask).await?;
        }
    }
    let Submission { mut replies, mut writer } = submission;
    writer.write_all(format!("ATRN INBOX={}\r\n", who.address).as_bytes()).await?;
    writer.flush().await?;
    replies.good().await?;
    attached(replies.into_inner().unsplit(writer), options.each).await?;
    Ok(began.elapsed())
}
