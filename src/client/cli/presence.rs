//! `impart status`, `watch`, `unwatch`, `contacts`, `watchers`, `fetch`, and what is decided about others.

use std::time::Duration;

use serde_json::json;

use super::{Failure, Look, Party, Said, Shown, Status, Watch, complain, exit, print, show};
use crate::address::Mailbox;
use crate::client::presence::{self, Standing, Treatment, View};
use crate::client::{Client, clean};
use crate::clock::{Clock as _, System};
use crate::rules::edit::Who;

/// A time as people write it: a number with one of s, m, h, d.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write a number with one of s, m, h, d, such as 2h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(unit).filter(|seconds| (1..=3650 * 86_400).contains(seconds)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// What a state is in the entity.
pub(in crate::client) fn said(state: Said, note: Option<String>) -> presence::Status {
    let (open, activity) = match state {
        Said::Open => (Some(true), None),
        Said::Closed => (Some(false), None),
        Said::Away => (None, Some("away")),
        Said::Busy => (None, Some("busy")),
        Said::Auto => (None, None),
    };
    presence::Status { open, activity, note: note.filter(|note| !note.trim().is_empty()) }
}

/// Says how one is, or shows it.
pub async fn status(client: &Client, wanted: &Status) -> Result<(), Failure> {
    let Some(state) = wanted.state else {
        let me = client.account().address.clone();
        let view = client.fetch(&me, false).await?;
        view_line(&view, wanted.json);
        client.close().await;
        return Ok(());
    };
    let said = said(state, wanted.note.clone());
    client.say_status(&said, wanted.time).await?;
    let until = wanted.time.map(|time| System::new().now().after(time));
    if wanted.json {
        let (open, activity, note) = (said.open, said.activity, &said.note);
        let until = until.map(|at| at.rfc3339());
        print(&format!("{}\n", json!({ "open": open, "activity": activity, "note": note, "until": until })));
    } else {
        print(&format!("{}\n", told(&said, until.map(show::time))));
    }
    client.close().await;
    Ok(())
}

/// `You are away: lunch; until 14:00.`
pub(in crate::client) fn told(said: &presence::Status, until: Option<String>) -> String {
    let state = match (said.open, said.activity) {
        (Some(true), _) => "open",
        (Some(false), _) => "closed",
        (None, Some(activity)) => activity,
        (None, None) => "open while a device of yours is connected",
    };
    let note = said.note.as_deref().map(|note| format!(": {}", clean::line(note))).unwrap_or_default();
    let until = until.map(|until| format!("; until {until}")).unwrap_or_default();
    format!("You are {state}{note}{until}.")
}

fn named(client: &Client, name: &str) -> Result<Mailbox, Failure> {
    client.history().partner(name).ok_or_else(|| {
        let text = format!("{name:?} is no address, and no name of the history that is only one; write user@domain");
        Failure::new(exit::USAGE, text)
    })
}

fn view_line(view: &View, json: bool) {
    match json {
        true => print(&format!("{}\n", view.json())),
        false => print(&format!("{view}\n")),
    }
}

/// Asks to see somebody's presence from now on.
pub async fn watch(client: &Client, wanted: &Look) -> Result<(), Failure> {
    let who = named(client, &wanted.who)?;
    let encrypt = wanted.encrypt || client.account().encrypt_presence;
    let view = client.watch(&who, encrypt).await?;
    complain_of_clear(&view, encrypt);
    view_line(&view, wanted.json);
    client.close().await;
    match view.standing {
        Standing::Unknown => Err(Failure::new(
            exit::TEMPORARY,
            "the request stands; `impart contacts` shows the answer when there is one",
        )),
        _ => verdict(&view),
    }
}

/// Says so where somebody's server does not do what was asked for.
fn complain_of_clear(view: &View, encrypt: bool) {
    if encrypt && view.shown.is_some() && !view.signature.encrypted {
        complain(format_args!("the server of {} does not encrypt what it tells", view.who.domain()));
    }
}

fn verdict(view: &View) -> Result<(), Failure> {
    match (view.standing, view.reason.as_deref()) {
        (Standing::Terminated, Some("noresource")) => Err(Failure::new(exit::NO_USER, "")),
        (Standing::Terminated, _) => Err(Failure::new(exit::PERMISSION, "")),
        _ => Ok(()),
    }
}

/// Sees it no more.
pub async fn unwatch(client: &Client, wanted: &Watch) -> Result<(), Failure> {
    let who = named(client, &wanted.who)?;
    let watched = client.unwatch(&who).await?;
    client.close().await;
    if !watched {
        return Err(Failure::new(exit::DATA, format!("{who} is not watched; `impart contacts` shows who is")));
    }
    match wanted.json {
        true => print(&format!("{}\n", json!({ "who": who, "watched": false }))),
        false => print(&format!("{} is watched no more.\n", clean::line(&who.to_string()))),
    }
    Ok(())
}

/// Looks once.
pub async fn fetch(client: &Client, wanted: &Look) -> Result<(), Failure> {
    let who = named(client, &wanted.who)?;
    let encrypt = wanted.encrypt || client.account().encrypt_presence;
    let view = client.fetch(&who, encrypt).await?;
    complain_of_clear(&view, encrypt);
    view_line(&view, wanted.json);
    client.close().await;
    verdict(&view)
}

/// All that one watches.
pub async fn contacts(client: &Client, wanted: &Shown) -> Result<(), Failure> {
    let views = client.contacts().await?;
    views.iter().for_each(|view| view_line(view, wanted.json));
    if views.is_empty() && !wanted.json {
        print("You watch nobody; `impart watch ADDRESS` asks to.\n");
    }
    client.close().await;
    Ok(())
}

/// All who watch one, or ask to.
pub async fn watchers(client: &Client, wanted: &Shown) -> Result<(), Failure> {
    let watchers = client.watchers().await?;
    for watcher in &watchers {
        match wanted.json {
            true => print(&format!("{}\n", watcher.json())),
            false => print(&format!("{watcher}\n")),
        }
    }
    if watchers.is_empty() && !wanted.json {
        print("Nobody watches you.\n");
    }
    client.close().await;
    Ok(())
}

/// Somebody as people write it: an address, a domain, the start of a known name.
pub(in crate::client) fn party(client: &Client, name: &str) -> Result<Who, String> {
    match name.contains(['@', '.']) {
        true => name.parse().map_err(|error| format!("{name:?} is no address and no domain: {error}")),
        false => client
            .history()
            .partner(name)
            .map(Who::Mailbox)
            .ok_or_else(|| format!("{name:?} is no address or domain, and no name of the history that is only one")),
    }
}

/// Decides about somebody.
pub async fn treat(client: &Client, wanted: &Party, how: Treatment) -> Result<(), Failure> {
    let who = party(client, &wanted.who).map_err(|fault| Failure::new(exit::USAGE, fault))?;
    let remarks = client.treat(&who, how).await?;
    print(&format!("{}\n", treated(&who, how)));
    remarks.iter().for_each(complain);
    client.close().await;
    Ok(())
}

/// What was decided, in words.
pub(in crate::client) fn treated(who: &Who, how: Treatment) -> String {
    let who = clean::line(&who.to_string());
    match how {
        Treatment::Allow => format!("{who} may see all of your presence, and write to you."),
        Treatment::Confirm => format!("You are asked before {who} sees your presence."),
        Treatment::Block => format!("{who} sees nothing of your presence, and cannot write to you."),
        Treatment::PoliteBlock => format!("{who} sees you as closed, whatever is so."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        for bad in ["", "h", "2", "2w", "-1h", "0s", "1.5h", "99999999999999999999d", "4000d", "2 h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words() {
        let note = Some("a\x1bb".to_owned());
        assert_eq!(told(&said(Said::Away, note), Some("14:00".to_owned())), "You are away: a\u{241b}b; until 14:00.");
        assert_eq!(told(&said(Said::Auto, None), None), "You are open while a device of yours is connected.");
        assert!(said(Said::Auto, Some(" ".to_owned())).is_empty());
        let domain = "b.test".parse().unwrap();
        assert_eq!(treated(&domain, Treatment::PoliteBlock), "b.test sees you as closed, whatever is so.");
    }
}
