//! What administrators ask about presence. Whatever shows or changes what is a person's own is a line of the log, with who
//! asked.

use crate::address::Mailbox;
use crate::control::presence::{Ask, Document, Subscription, What};
use crate::control::protocol::{Changed, Fault, FaultCode, Row};
use crate::control::server::Rows;
use crate::presence::{Contact, Handle, Reason, State, Watcher};

/// Answers.
pub async fn answer(presence: &Handle, ask: Ask, rows: &Rows) -> Result<(), Fault> {
    let Ask { what, address, watcher } = ask;
    match what {
        What::Watchers => {
            audit(rows, &format!("presence watchers {address}"));
            list(presence.watchers(&address).into_iter().map(|one| of_watcher(&address, one)), rows).await
        }
        What::Contacts => {
            audit(rows, &format!("presence contacts {address}"));
            list(presence.contacts(&address).into_iter().map(|one| of_contact(&address, one)), rows).await
        }
        What::Show => {
            let row = match &watcher {
                Some(watcher) => {
                    audit(rows, &format!("presence show {address} --as {watcher}"));
                    let (state, text) = presence.view(&address, Some(watcher));
                    let (presentity, state) = (address.to_string(), Some(words(state).0.to_owned()));
                    Document { presentity, watcher: Some(watcher.to_string()), state, text }
                }
                None => {
                    audit(rows, &format!("presence show {address}"));
                    let (presentity, text) = (address.to_string(), presence.document(&address));
                    Document { presentity, watcher: None, state: None, text }
                }
            };
            let _ = rows.send(Row::Document(row)).await;
            Ok(())
        }
        What::Remove => {
            let watcher = watcher.ok_or_else(|| Fault::new(FaultCode::Request, "name the watcher"))?;
            audit(rows, &format!("presence remove {address} {watcher}"));
            if !presence.remove(&address, &watcher).await {
                let text = format!("{watcher} does not watch {address}; impartctl presence watchers lists who does");
                return Err(Fault::new(FaultCode::NotFound, text));
            }
            let (id, what) = (watcher.to_string(), "watches no more".to_owned());
            let _ = rows.send(Row::Changed(Changed { id, what, recipients: vec![address.to_string()] })).await;
            Ok(())
        }
    }
}

/// A line about what an administrator reads or changes of a person's.
pub fn audit(rows: &Rows, text: &str) {
    // What came over the socket could be anything.
    let text: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
    tracing::info!("audit: {}: {text}", rows.asker());
}

async fn list(subscriptions: impl Iterator<Item = Subscription>, rows: &Rows) -> Result<(), Fault> {
    for subscription in subscriptions {
        if rows.send(Row::Subscription(subscription)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn of_watcher(presentity: &Mailbox, watcher: Watcher) -> Subscription {
    let (state, reason) = words(watcher.state);
    Subscription {
        watcher: watcher.watcher.to_string(),
        proven: watcher.proven,
        presentity: presentity.to_string(),
        state: state.to_owned(),
        reason: reason.map(str::to_owned),
        since: Some(watcher.since.rfc3339()),
        expires: watcher.expires.rfc3339(),
        up_to_date: Some(watcher.up_to_date),
        seen: None,
    }
}

fn of_contact(watcher: &Mailbox, contact: Contact) -> Subscription {
    let (state, reason) = words(contact.state);
    Subscription {
        watcher: watcher.to_string(),
        proven: true,
        presentity: contact.presentity.to_string(),
        state: state.to_owned(),
        reason: reason.map(str::to_owned),
        since: None,
        expires: contact.expires.rfc3339(),
        up_to_date: None,
        seen: contact.seen.map(|seen| seen.rfc3339()),
    }
}

/// A state, and why it ended.
fn words(state: State) -> (&'static str, Option<&'static str>) {
    match state {
        State::Asked => ("asked", None),
        State::Pending => ("pending", None),
        State::Active => ("active", None),
        State::Waiting => ("waiting", None),
        State::Terminated(reason) => ("terminated", reason.map(Reason::word)),
    }
}
