//! The demonstration: two domains on one host, each a complete relay, without network, root or well-known ports.
//!
//! In: nothing but a directory. Out: plain lines that tell what happens, with measured times; then both daemons stay up, with
//! what to type in another terminal. Everything shown is done by the real daemon in processes of its own, found by DNS and
//! over TLS; only the DNS authority and the certificates are made here. It ends with ^C, and its directory goes with it.

mod presence;
mod submit;
mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::config::arguments::Demo;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Call, Row};
use crate::control::select::Selector;
use crate::mime::report;
use crate::spool::QueueId;

use submit::Letter;
use world::{Site, World};

/// How long anything in the demonstration may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of the burst.
const BURST: usize = 2000;

/// Why the demonstration could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Files, sockets or processes.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
    /// Certificates.
    #[error("the certificates could not be made: {0}")]
    Certificates(#[from] crate::tls::make::MakeError),
    /// An account.
    #[error(transparent)]
    Account(#[from] crate::accounts::file::FileError),
    /// The zone.
    #[error("the DNS zone could not be made: {0}")]
    Zone(#[from] crate::dns::authority::ZoneError),
    /// A daemon ended or did not become ready.
    #[error("the daemon of {site} {what}; its log is {}", log.display())]
    Daemon {
        /// The domain.
        site: String,
        /// What it did.
        what: String,
        /// Its log.
        log: PathBuf,
    },
    /// A message was not accepted.
    #[error("{0}")]
    Refused(String),
    /// A person's client.
    #[error(transparent)]
    Client(#[from] crate::client::ClientError),
    /// Administration.
    #[error(transparent)]
    Control(#[from] ClientError),
    /// Something that was awaited did not happen.
    #[error("{0} did not happen within {seconds} s", seconds = PATIENCE.as_secs())]
    Awaited(String),
}

/// Runs it.
pub fn run(options: Demo) -> Result<(), DemoError> {
    let system = |what: &str| {
        let what = what.to_owned();
        move |fault| DemoError::System(what, fault)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(system("the runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("the handler of signals"))?;
        let mut world = World::make(options.directory).await?;
        let shown = async {
            show(&mut world).await?;
            if !options.once {
                invite(&world);
                let _ = tokio::signal::ctrl_c().await;
                say("\nEnding.");
            }
            Ok(())
        };
        let result = tokio::select! {
            result = shown => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        world.end().await;
        result
    })
}

/// A line on standard output; a reader that has gone is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

async fn show(world: &mut World) -> Result<(), DemoError> {
    introduce(world);
    world.a.start().await?;
    world.b.start().await?;
    say("");
    one_message(world).await?;
    unknown_inbox(world).await?;
    interruption(world).await?;
    burst(world).await?;
    no_impp(world).await?;
    presence::show(world).await
}

fn introduce(world: &World) {
    say("Two domains, each with a relay of its own; everything is in");
    say(&format!("  {}", world.directory.display()));
    say(&format!("DNS   {}", world.dns));
    for site in [&world.a, &world.b] {
        say(&format!("        _im._impp.{0}, _pres._impp.{0}  SRV 0 0 {1} mx.{0}", site.domain, site.relay.port()));
    }
    for site in [&world.a, &world.b] {
        let Site { domain, relay, mail, client, user, .. } = site;
        say(&format!(
            "{domain}  relay {relay} (TLS), clients {client} (TLS), for mail programs {mail}, account {user}@{domain}"
        ));
    }
}

async fn one_message(world: &World) -> Result<(), DemoError> {
    say("1. alice@a.test writes to bob@b.test and asks for a receipt.");
    let start = Instant::now();
    let token =
        submit::send(world.a.mail, &Letter::new("alice@a.test", "bob@b.test", "Hello Bob").with_receipt()).await?;
    say(&format!("   accepted by a.test, on stable storage, after {}", millis(start.elapsed())));
    let id = arrival(&world.b, "bob@b.test", &token).await?;
    say(&format!("   in bob's inbox at b.test after {}, as {id}", millis(start.elapsed())));
    let text = receipt(&world.a, "alice@a.test", &token).await?;
    say(&format!("   the receipt is in alice's inbox after {}:", millis(start.elapsed())));
    quote(&text);
    Ok(())
}

async fn unknown_inbox(world: &World) -> Result<(), DemoError> {
    say("2. alice@a.test writes to an address that does not exist, nobody@b.test.");
    let start = Instant::now();
    let token = submit::send(world.a.mail, &Letter::new("alice@a.test", "nobody@b.test", "Is anybody there?")).await?;
    let text = receipt(&world.a, "alice@a.test", &token).await?;
    say(&format!("   after {} she has this:", millis(start.elapsed())));
    quote(&text);
    Ok(())
}

async fn interruption(world: &mut World) -> Result<(), DemoError> {
    say("3. b.test is stopped; bob's message waits at a.test.");
    world.b.stop().await;
    let token = submit::send(world.a.mail, &Letter::new("alice@a.test", "bob@b.test", "See you later")).await?;
    let reason = deferral(&world.a).await?;
    say(&format!("   waiting: {reason}"));
    let start = Instant::now();
    world.b.start().await?;
    say(&format!("   b.test is back after {}", millis(start.elapsed())));
    arrival(&world.b, "bob@b.test", &token).await?;
    say(&format!("   the message is in bob's inbox {} after the start, at the next attempt", millis(start.elapsed())));
    say("");
    Ok(())
}

async fn burst(world: &World) -> Result<(), DemoError> {
    say(&format!("4. {BURST} messages at once for bulk@b.test, over one connection."));
    let before = count(&world.b, "bulk@b.test").await?;
    let start = Instant::now();
    submit::send_many(world.a.mail, &Letter::new("alice@a.test", "bulk@b.test", "One of many"), BURST).await?;
    let accepted = start.elapsed();
    let wanted = before + BURST as u64;
    while count(&world.b, "bulk@b.test").await? < wanted {
        if start.elapsed() > PATIENCE {
            return Err(DemoError::Awaited("the arrival of all messages".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (all, rate) = (start.elapsed(), |time: Duration| BURST as f64 / time.as_secs_f64());
    say(&format!(
        "   all accepted after {} ({:.0} a second, each on stable storage)",
        millis(accepted),
        rate(accepted)
    ));
    say(&format!("   all in the inbox, on b.test's disk, after {} ({:.0} a second)", millis(all), rate(all)));
    say("");
    Ok(())
}

async fn no_impp(world: &World) -> Result<(), DemoError> {
    say("5. alice@a.test writes to carol@mail.test, a domain with mail and no instant messages.");
    let token = submit::send(world.a.mail, &Letter::new("alice@a.test", "carol@mail.test", "Hello Carol")).await?;
    quote(&receipt(&world.a, "alice@a.test", &token).await?);
    Ok(())
}

/// The part of a text that a person reads, indented.
fn quote(text: &str) {
    for line in text.trim_end().lines() {
        say(format!("   | {line}").trim_end());
    }
    say("");
}

fn invite(world: &World) {
    let ctl = world::program("impartctl");
    let (a, b) = (world.a.config.display(), world.b.config.display());
    say("Both stay up until ^C. Talk to yourself across two domains, from two terminals:");
    say("");
    say(&format!("  {} chat bob@b.test", world.a.command.display()));
    say(&format!("  {} chat alice@a.test", world.b.command.display()));
    say("");
    say(
        "bob has what was sent to him above as soon as he is there, and sees whether alice is; to let her see him, he writes",
    );
    say("/allow alice@a.test when she has written /watch bob@b.test. Also, in another terminal:");
    say("");
    say(
        "  # how alice is to be seen, for two hours; whom bob watches; who watches alice, as her administrator sees it",
    );
    say(&format!("  {} status busy 'in a demonstration' --for 2h", world.a.command.display()));
    say(&format!("  {} contacts", world.b.command.display()));
    say(&format!("  {ctl} --config {a} presence watchers alice@a.test"));
    say("  # one message from a script, with its receipt, once bob is there; what alice has heard");
    say(&format!("  echo Hi | {} send bob@b.test --receipt --wait 5", world.a.command.display()));
    say(&format!("  {} listen", world.a.command.display()));
    say("  # what waits at b.test for a client, and what is in it");
    say(&format!("  {ctl} --config {b} queue list"));
    say(&format!("  {ctl} --config {b} queue show --body ID"));
    say("  # send with what is at hand");
    let mail = world.a.mail;
    say(&format!(
        "  printf 'From: alice@a.test\\nTo: bob@b.test\\n\\nHi\\n' | curl -sS --crlf smtp://{mail} --mail-from alice@a.test \
         --mail-rcpt bob@b.test --upload-file -"
    ));
    say(&format!("  swaks --server {mail} --from alice@a.test --to bob@b.test --body Hi"));
    say("  # how a.test fares");
    say(&format!("  {ctl} --config {a} status"));
    say("  # what it logs");
    say(&format!("  tail -f {}", world.a.log.display()));
}

/// The messages of an inbox: queue ids.
async fn inbox(site: &Site, address: &str) -> Result<Vec<QueueId>, DemoError> {
    let select = Selector { address: address.parse().ok(), ..Selector::default() };
    let mut ids = Vec::new();
    let mut client = Client::connect(&site.control).await?;
    let take = |row| {
        if let Row::Message(message) = row
            && message.recipients.iter().any(|recipient| recipient.address == address)
        {
            ids.extend(message.id.parse::<QueueId>());
        }
    };
    client.call(Call::List { select, limit: None }, take).await?;
    Ok(ids)
}

async fn count(site: &Site, address: &str) -> Result<u64, DemoError> {
    Ok(inbox(site, address).await?.len() as u64)
}

async fn entity(site: &Site, id: QueueId) -> Result<String, DemoError> {
    let mut text = String::new();
    let mut client = Client::connect(&site.control).await?;
    let take = |row| {
        if let Row::Entity(entity) = row {
            text = entity.text;
        }
    };
    client.call(Call::Show { message: id, body: true }, take).await?;
    Ok(text)
}

/// Waits until an inbox has an entity with `token` in it.
async fn await_entity(site: &Site, address: &str, token: &str) -> Result<(QueueId, String), DemoError> {
    let start = Instant::now();
    let mut known = 0;
    while start.elapsed() < PATIENCE {
        let ids = inbox(site, address).await?;
        for id in ids.iter().skip(known) {
            let text = entity(site, *id).await?;
            if text.contains(token) {
                return Ok((*id, text));
            }
        }
        known = ids.len();
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    Err(DemoError::Awaited(format!("a message for {address}")))
}

async fn arrival(site: &Site, address: &str, token: &str) -> Result<QueueId, DemoError> {
    await_entity(site, address, token).await.map(|(id, _)| id)
}

/// The text of the receipt for a message.
async fn receipt(site: &Site, address: &str, token: &str) -> Result<String, DemoError> {
    let (_, text) = await_entity(site, address, token).await?;
    let wire = text.replace('\n', "\r\n");
    let report = report::parse(wire.as_bytes()).map_err(|fault| DemoError::Refused(fault.to_string()))?;
    Ok(report.text)
}

/// Why the message for b.test waits.
async fn deferral(site: &Site) -> Result<String, DemoError> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut reason = None;
        let mut client = Client::connect(&site.control).await?;
        let take = |row| {
            if let Row::Destination(destination) = row {
                reason = destination.reason.or(reason.take());
            }
        };
        client.call(Call::Status, take).await?;
        if let Some(reason) = reason {
            return Ok(reason);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(DemoError::Awaited("an attempt at b.test".to_owned()))
}
