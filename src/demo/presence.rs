//! Presence in the demonstration: bob asks to see alice, she decides, and he sees what she says of herself.
//!
//! It is done by the client library, on connections that take presence alone: what waits in the inboxes waits on.

use std::time::{Duration, Instant};

use super::world::{Site, World};
use super::{DemoError, millis, say};
use crate::address::Mailbox;
use crate::client::account::Config;
use crate::client::presence::{Answers, News, Standing, Status, Treatment, View};
use crate::client::{Client, History};
use crate::rules::edit::Who;

/// How long a view may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Shows it.
pub async fn show(world: &World) -> Result<(), DemoError> {
    let (alice, bob) = (client(&world.a).await?, client(&world.b).await?);
    let (her, his) = (alice.account().address.clone(), bob.account().address.clone());
    say(&format!("6. {his} asks to see the presence of {her}."));
    let mut seen = bob.observe().await?;
    let start = Instant::now();
    bob.ask_to_watch(&her).await?;
    let view = until(&mut seen, &her, |view| view.standing == Standing::Pending).await?;
    say(&format!("   bob, after {}: {view}", millis(start.elapsed())));
    let start = Instant::now();
    alice.treat(&Who::Mailbox(his), Treatment::Allow).await?;
    let view = until(&mut seen, &her, |view| view.standing == Standing::Active).await?;
    say(&format!("   alice allows it; bob, after {}: {view}", millis(start.elapsed())));
    let status = Status { activity: Some("away"), note: Some("at lunch".to_owned()), ..Status::default() };
    let start = Instant::now();
    alice.say_status(&status, None).await?;
    let accepted = start.elapsed();
    let said = |view: &View| view.shown.as_ref().is_some_and(|shown| shown.note.is_some());
    let view = until(&mut seen, &her, said).await?;
    say(&format!("   alice is away, which is on stable storage after {};", millis(accepted)));
    say(&format!("   bob, {} after she began to say so: {view}", millis(start.elapsed())));
    alice.say_status(&Status::default(), None).await?;
    say("");
    alice.close().await;
    bob.close().await;
    Ok(())
}

/// The person's client, as the command has it, with a history of its own: nothing is received.
async fn client(site: &Site) -> Result<Client, DemoError> {
    let home = site.config.with_file_name("");
    let config = Config::read(&home.join("client.toml"))?;
    let entry = config.find(None).ok_or_else(|| DemoError::Refused("there is no account".to_owned()))?;
    let history = History::open(&home.join("shown")).map_err(crate::client::ClientError::from)?;
    Ok(Client::with(entry.account(), history).await?)
}

/// Waits for a view that fits.
async fn until(seen: &mut Answers, who: &Mailbox, fits: impl Fn(&View) -> bool) -> Result<View, DemoError> {
    let end = tokio::time::Instant::now() + PATIENCE;
    while let Some(told) = seen.next(end).await? {
        if let News::View(view) = told.news
            && view.who.key() == who.key()
            && fits(&view)
        {
            return Ok(*view);
        }
    }
    Err(DemoError::Awaited(format!("a view of {who}")))
}
