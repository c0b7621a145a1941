//! Presence in the chat's model and on its screen.

use std::time::Duration;

use super::tests::{NOW, index, keys, mailbox, model, received, screen};
use super::*;
use crate::client::presence::{Shown, Standing, View, Watcher};

fn view(who: &str, seq: u64, open: bool, activity: Option<&str>, note: Option<&str>) -> Input {
    let activities = activity.into_iter().map(str::to_owned).collect();
    let shown = Shown { open: Some(open), activities, note: note.map(str::to_owned), contacts: Vec::new() };
    let (who, standing, signature) = (mailbox(who), Standing::Active, Default::default());
    let view = View { who, standing, reason: None, seq, shown: Some(shown), signature };
    Input::News(Incoming::Presence(News::View(Box::new(view))))
}

fn watchers(full: bool, list: &[(&str, &str, &str)]) -> Input {
    let one = |(id, who, status): &(&str, &str, &str)| Watcher {
        id: (*id).to_owned(),
        who: Some(mailbox(who)),
        status: (*status).to_owned(),
        ..Watcher::default()
    };
    Input::News(Incoming::Presence(News::Watchers { full, list: list.iter().map(one).collect() }))
}

#[test]
fn the_list_shows_how_everybody_is() {
    let mut model = model(Displayed::No);
    model.show(&index(vec![received("bob@b.test", "<1@b>", 0, "x"), received("eve@e.test", "<2@e>", -5, "y")]));
    model.update(Input::News(Incoming::State(Link::Connected)), NOW);
    assert_eq!(model.update(view("bob@b.test", 1, true, Some("away"), Some("lunch\x1b")), NOW), []);
    model.update(view("carol@c.test", 1, false, None, None), NOW);
    let shown = screen(&model, 80, 24);
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], " impart alice@a.test — bob@b.test (1 unread), away, open: lunch\u{241b}");
    assert!(rows[1].starts_with(">bob@b.test ~          │"), "{shown}");
    assert!(rows[2].starts_with(" eve@e.test 1          │"), "whom she does not watch has no mark: {shown}");
    assert!(rows[3].starts_with(" carol@c.test -        │"), "{shown}");
    // A newer view, an older one; the list stays when the history is shown anew.
    model.update(view("bob@b.test", 3, true, None, None), NOW);
    model.update(view("bob@b.test", 2, false, None, None), NOW);
    model.show(&index(vec![received("bob@b.test", "<1@b>", 0, "x")]));
    let shown = screen(&model, 80, 24);
    assert!(shown.contains(">bob@b.test + ") && shown.contains(" carol@c.test - "), "{shown}");
    keys(&mut model, "/contacts\n");
    assert_eq!(model.status, "bob@b.test: open; carol@c.test: closed");
    // Without a connection nothing is known.
    let lost = Link::Lost { reason: "x".to_owned(), retry: Duration::from_secs(1) };
    model.update(Input::News(Incoming::State(lost)), NOW);
    assert!(screen(&model, 80, 24).contains(">bob@b.test ? "));
}

#[test]
fn whoever_asks_is_a_question() {
    let mut model = model(Displayed::No);
    model.update(Input::News(Incoming::State(Link::Connected)), NOW);
    model.update(watchers(true, &[("1", "bob@b.test", "active"), ("2", "carol@c.test", "pending")]), NOW);
    let shown = screen(&model, 120, 24);
    assert!(shown.contains(" carol@c.test asks to see your presence; /allow carol@c.test"), "{shown}");
    assert!(shown.contains(" carol@c.test ! "), "{shown}");
    let carol = || Who::Mailbox(mailbox("carol@c.test"));
    assert_eq!(keys(&mut model, "/allow car\n"), [Effect::Treat(carol(), Treatment::Allow)]);
    assert_eq!(keys(&mut model, "/polite-block carol@c.test\n"), [Effect::Treat(carol(), Treatment::PoliteBlock)]);
    let domain = Who::Domain("c.test".parse().unwrap());
    assert_eq!(keys(&mut model, "/block c.test\n"), [Effect::Treat(domain, Treatment::Block)]);
    assert_eq!(keys(&mut model, "/block nobody\n"), []);
    assert!(model.status.contains("no contact"), "{}", model.status);
    model.update(watchers(false, &[("2", "carol@c.test", "active")]), NOW);
    assert_eq!(model.status, "carol@c.test watches");
    assert_eq!(model.request(), None);
    // What follows from the person's own word does not take the place of the answer to it.
    keys(&mut model, "/allow carol@c.test\n");
    model.update(Input::Say("carol@c.test may see it".to_owned()), NOW);
    model.update(watchers(false, &[("2", "carol@c.test", "pending")]), NOW);
    model.update(Input::Say("carol@c.test may see it".to_owned()), NOW);
    model.update(watchers(false, &[("2", "carol@c.test", "active")]), NOW);
    assert_eq!(model.status, "carol@c.test may see it");
    keys(&mut model, "/watchers\n");
    assert_eq!(model.status, "bob@b.test watches; carol@c.test watches");
}

#[test]
fn watching_and_being_seen() {
    let mut model = model(Displayed::No);
    assert_eq!(keys(&mut model, "/watch\n"), []);
    assert!(model.status.contains("no address"), "{}", model.status);
    let bob = mailbox("bob@b.test");
    assert_eq!(keys(&mut model, "/watch bob@b.test\n"), [Effect::Watch(bob.clone())]);
    model.talk_with(bob.clone());
    assert_eq!(keys(&mut model, "/watch\n"), [Effect::Watch(bob.clone())], "the partner");
    model.update(view("bob@b.test", 1, true, None, None), NOW);
    assert_eq!(keys(&mut model, "/unwatch bob@b.test\n"), [Effect::Unwatch(bob.clone())]);
    assert!(model.roster.of(&bob).is_none());
    let away = Status { activity: Some("away"), note: Some("lunch".to_owned()), ..Status::default() };
    assert_eq!(keys(&mut model, "/status away 2h lunch\n"), [Effect::Status(away, Some(Duration::from_secs(7200)))]);
}
