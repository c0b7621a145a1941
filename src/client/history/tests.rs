use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::client::mark::Mark;
use crate::limits::CLIENT_MESSAGES;
use crate::timestamp::Timestamp;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

pub fn received(from: &str, id: &str, at: i64, text: &str) -> Received {
    Received {
        id: id.to_owned(),
        from: mailbox(from),
        reply_to: Vec::new(),
        to: vec![],
        date: Timestamp::from_secs(at),
        at: Timestamp::from_secs(at),
        text: text.to_owned(),
        attachments: vec![],
        in_reply_to: None,
        references: vec![],
        wants_displayed: false,
        automatic: false,
        mark: Mark::default(),
    }
}

fn draft(id: &str, to: &[&str], at: i64) -> Draft {
    Draft {
        id: id.to_owned(),
        envid: format!("env-{id}"),
        date: Timestamp::from_secs(at),
        from: mailbox("alice@a.test"),
        to: to.iter().map(|to| mailbox(to)).collect(),
        text: "hello".to_owned(),
        attachments: vec![],
        in_reply_to: None,
        references: vec![],
        receipt: true,
        displayed: false,
        automatic: false,
        sealed: None,
        signed: false,
        encrypted: false,
    }
}

fn state(id: &str, to: &str, state: State) -> Record {
    Record::State { id: id.to_owned(), to: mailbox(to), state, at: Timestamp::default(), reason: None }
}

/// A disk in memory on which there is room for so many octets.
#[derive(Clone, Default)]
pub(in crate::client) struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl Disk {
    pub fn with(text: &str, room: usize) -> Disk {
        Disk(Arc::new(Mutex::new((text.as_bytes().to_vec(), room))))
    }

    pub fn grow(&self, room: usize) {
        self.0.lock().unwrap().1 = room;
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap().0).into_owned()
    }

    fn open(&self) -> Result<History, HistoryError> {
        History::with(Path::new("/nowhere"), Box::new(self.clone()))
    }
}

impl Storage for Disk {
    fn read_from(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let disk = self.0.lock().unwrap();
        let rest = &disk.0[offset as usize..];
        Ok(rest[..most.min(rest.len())].to_vec())
    }

    fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let room = disk.1.saturating_sub(disk.0.len()).min(octets.len());
        disk.0.extend_from_slice(&octets[..room]);
        if room < octets.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().0.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn unlock(&mut self) {}
}

const HEAD: &str = "{\"impart-history\":1}\n";

#[test]
fn a_long_history_is_read_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::open(directory.path()).unwrap();
    let text = "é".repeat(read::TEXT_CHARACTERS);
    let records = (0..20).map(|at| Record::Received(received("bob@b.test", &format!("<{at}@b>"), at, &text)));
    history.add(records.collect()).unwrap();
    struct Pieces(Box<dyn Storage>, Arc<Mutex<usize>>);
    impl Storage for Pieces {
        fn read_from(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
            let octets = self.0.read_from(offset, most)?;
            let mut longest = self.1.lock().unwrap();
            *longest = octets.len().max(*longest);
            Ok(octets)
        }
        fn append(&mut self, octets: &[u8]) -> io::Result<()> {
            self.0.append(octets)
        }
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.0.truncate(length)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync()
        }
        fn lock(&mut self) -> io::Result<()> {
            self.0.lock()
        }
        fn unlock(&mut self) {
            self.0.unlock();
        }
    }
    let longest = Arc::new(Mutex::new(0));
    let file = log::open(&directory.path().join("history.jsonl")).unwrap();
    let again = History::with(directory.path(), Box::new(Pieces(Box::new(file), longest.clone()))).unwrap();
    assert_eq!((again.index().messages().count(), again.unreadable()), (20, 0));
    assert!(again.index().messages().all(|message| message.text() == text));
    assert!(*longest.lock().unwrap() <= 256 * 1024, "{longest:?}");
}

#[test]
fn what_was_added_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::open(directory.path()).unwrap();
    let news = history
        .add(vec![
            Record::Received(received("bob@b.test", "<1@b>", 10, "hi")),
            Record::Received(received("bob@b.test", "<1@b>", 11, "hi again")),
            Record::Written(draft("<2@a>", &["bob@b.test", "eve@e.test"], 12)),
            state("<2@a>", "bob@b.test", State::Delivered),
        ])
        .unwrap();
    assert_eq!(news.len(), 3, "the second copy is none");
    for mut history in [history, History::open(directory.path()).unwrap()] {
        history.refresh().unwrap();
        let index = history.index();
        assert!(index.has_seen(&mailbox("BOB@b.test"), "<1@b>"));
        let texts: Vec<&str> =
            index.conversation(&mailbox("bob@b.test")).into_iter().map(record::Message::text).collect();
        assert_eq!(texts, ["hi", "hello"]);
        let (waiting, fates) = index.outbox().next().unwrap();
        assert_eq!((waiting.id.as_str(), fates[1].state), ("<2@a>", State::Waiting));
        assert_eq!(index.contacts()[0].last, Timestamp::from_secs(12));
        assert_eq!(index.by_envelope("env-<2@a>").unwrap().id, "<2@a>");
        let past = history.past(&Choice { words: "HELLO eve", ..Choice::default() }, 10).unwrap();
        assert_eq!(past.messages().count(), 1);
    }
}

/// Everything that is held, as `id` or `id:state`.
fn held(index: &Index) -> Vec<String> {
    let show = |message: &Message| match message {
        Message::In(received) => received.id.clone(),
        Message::Out { draft, fates } => format!("{}:{}", draft.id, fates[0].state.word()),
    };
    index.messages().map(show).collect()
}

fn taken(from: &str, id: &str) -> Record {
    Record::Taken { from: mailbox(from), id: id.to_owned() }
}

#[test]
fn the_latest_messages_are_held_and_what_waits() {
    let mut index = Index::bounded(3, usize::MAX, 100);
    assert!(index.apply(Record::Written(draft("<own@a>", &["bob@b.test"], 1))));
    for number in 0..6 {
        let id = format!("<{number}@b>");
        assert!(index.apply(Record::Received(received("bob@b.test", &id, 1 + number, "x"))));
        assert!(index.apply(taken("bob@b.test", &id)), "{number}");
    }
    assert_eq!(held(&index), ["<own@a>:waiting", "<3@b>", "<4@b>", "<5@b>"]);
    assert_eq!(index.contacts()[0].unread, 6, "they are unread, held or not");
    // What is let go counts once all the same.
    assert!(index.has_seen(&mailbox("bob@b.test"), "<0@b>"));
    assert!(!index.apply(Record::Received(received("bob@b.test", "<0@b>", 9, "x"))));
    assert!(!index.apply(taken("bob@b.test", "<0@b>")));
    // What has gone is as old as it is.
    assert!(index.apply(state("<own@a>", "bob@b.test", State::Sent)));
    assert_eq!(held(&index), ["<3@b>", "<4@b>", "<5@b>"]);
    assert!(index.own("<own@a>").is_none() && index.by_envelope("env-<own@a>").is_none());
    assert!(!index.apply(Record::Written(draft("<own@a>", &["bob@b.test"], 1))));
    assert_eq!(index.conversation(&mailbox("bob@b.test")).len(), 3);
    assert!(index.apply(Record::Read { with: mailbox("bob@b.test"), at: Timestamp::from_secs(6) }));
    assert_eq!(index.contacts()[0].unread, 0);
}

#[test]
fn what_nobody_takes_over_does_not_wait_for_ever() {
    let mut index = Index::bounded(3, usize::MAX, 100);
    for number in 0..20 {
        index.apply(Record::Received(received("bob@b.test", &format!("<{number}@b>"), number, "x")));
    }
    let untaken: Vec<&str> = index.untaken().map(|message| message.id.as_str()).collect();
    assert_eq!(untaken, ["<17@b>", "<18@b>", "<19@b>"]);
    assert!(index.messages().count() <= 4, "{:?}", held(&index));
}

#[test]
fn memory_has_bounds_whatever_comes() {
    let text = "x".repeat(1000);
    let mut index = Index::bounded(1000, 50_000, 500);
    for number in 0..5000 {
        // Each of them is somebody else, who signs.
        let from = format!("somebody-{number}@b.test");
        let mut one = received(&from, "<1@b>", number, &text);
        one.mark.seen = Some(format!("seal {number}"));
        index.apply(Record::Received(one));
        index.apply(taken(&from, "<1@b>"));
    }
    assert!((10..50).contains(&index.messages().count()), "{}", index.messages().count());
    assert!(index.has_seen(&mailbox("somebody-4900@b.test"), "<1@b>") && index.has_seal(Some("seal 4900")));
    assert!(!index.has_seen(&mailbox("somebody-0@b.test"), "<1@b>"), "that was too long ago");
    let mut index = Index::bounded(10, usize::MAX, 500);
    for number in 0..crate::limits::CLIENT_CONTACTS as i64 + 500 {
        let from = format!("somebody-{number}@b.test");
        index.apply(Record::Received(received(&from, "<1@b>", number, "x")));
        index.apply(taken(&from, "<1@b>"));
    }
    assert!(index.contacts().len() <= crate::limits::CLIENT_CONTACTS + 10, "{}", index.contacts().len());
}

#[test]
fn what_is_held_no_more_is_found_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::open(directory.path()).unwrap();
    let mut records = vec![Record::Written(draft("<own@a>", &["eve@e.test"], 1))];
    for number in 0..CLIENT_MESSAGES as i64 + 20 {
        let (from, id) = (if number % 2 == 0 { "bob@b.test" } else { "eve@e.test" }, format!("<{number}@b>"));
        records.push(Record::Received(received(from, &id, number, &format!("the {number}. text"))));
        records.push(taken(from, &id));
    }
    records.push(state("<own@a>", "eve@e.test", State::Sent));
    history.add(records).unwrap();
    history.add(vec![state("<own@a>", "eve@e.test", State::Delivered)]).unwrap();
    drop(history);
    {
        let mut history = History::open(directory.path()).unwrap();
        assert_eq!(history.index().messages().count(), CLIENT_MESSAGES);
        assert!(history.index().find("<7@b>").is_none());
        assert_eq!(history.find("<7@b>").unwrap().unwrap().text(), "the 7. text");
        assert_eq!(history.find("<nothing>").unwrap(), None);
        let ids = |index: &Index| index.messages().map(|message| message.id().to_owned()).collect::<Vec<_>>();
        let choice = Choice { words: "THE 10007.", ..Choice::default() };
        assert_eq!(ids(&history.past(&choice, 10).unwrap()), ["<10007@b>"]);
        let choice = Choice { with: Some(mailbox("Eve@e.test")), ..Choice::default() };
        assert_eq!(ids(&history.past(&choice, 2).unwrap()), ["<10017@b>", "<10019@b>"]);
        let all = history.past(&choice, 100_000).unwrap();
        assert_eq!(all.messages().count(), CLIENT_MESSAGES / 2 + 10 + 1);
        assert_eq!(held(&all)[0], "<own@a>:delivered", "with what became of it since");
    }
}

#[test]
fn an_answer_elsewhere_stands_in_both_conversations() {
    let mut index = Index::bounded(3, usize::MAX, 100);
    let mut asked = received("bob@b.test", "<1@b>", 1, "to the team, please");
    asked.reply_to = vec![mailbox("team@b.test")];
    index.apply(Record::Received(asked));
    let answer = Draft { in_reply_to: Some("<1@b>".to_owned()), ..draft("<2@a>", &["team@b.test"], 2) };
    index.apply(Record::Written(answer));
    let ids = |index: &Index, with: &str| {
        index.conversation(&mailbox(with)).iter().map(|message| message.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&index, "bob@b.test"), ["<1@b>", "<2@a>"]);
    assert_eq!(ids(&index, "team@b.test"), ["<2@a>"]);
    index.apply(taken("bob@b.test", "<1@b>"));
    index.apply(state("<2@a>", "team@b.test", State::Sent));
    for number in 3..6 {
        index.apply(Record::Received(received("eve@e.test", &format!("<{number}@e>"), number, "x")));
    }
    assert!(ids(&index, "bob@b.test").is_empty() && ids(&index, "team@b.test").is_empty());
}

#[test]
fn two_processes_see_what_the_other_adds() {
    let directory = tempfile::tempdir().unwrap();
    let mut one = History::open(directory.path()).unwrap();
    let mut two = History::open(directory.path()).unwrap();
    one.add(vec![Record::Received(received("bob@b.test", "<1@b>", 10, "one"))]).unwrap();
    let news = two.add(vec![Record::Received(received("bob@b.test", "<1@b>", 10, "one"))]).unwrap();
    assert!(news.is_empty(), "the other has it already");
    two.add(vec![Record::Received(received("bob@b.test", "<2@b>", 10, "two"))]).unwrap();
    one.refresh().unwrap();
    assert_eq!(one.index().messages().count(), 2);
}

#[test]
fn a_second_receiver_is_told_who_is_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).unwrap();
    let hold = history.receive().unwrap();
    let error = History::open(directory.path()).unwrap().receive().unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(hold);
    history.receive().unwrap();
}

#[test]
fn a_torn_line_is_cut_off_before_the_next() {
    let line = serde_json::to_string(&Record::Received(received("bob@b.test", "<1@b>", 10, "hi"))).unwrap();
    for torn in ["", "{", &line[..line.len() - 1], &line] {
        let disk = Disk::with(&format!("{HEAD}{line}\n{torn}"), 100_000);
        let mut history = disk.open().unwrap();
        assert_eq!(history.index().messages().count(), 1, "{torn}");
        history.add(vec![Record::Received(received("bob@b.test", "<2@b>", 11, "ho"))]).unwrap();
        let again = disk.open().unwrap();
        assert_eq!((again.index().messages().count(), again.unreadable()), (2, 0), "{}", disk.text());
    }
    let disk = Disk::with(&HEAD[..7], 100_000);
    disk.open().unwrap();
    assert_eq!(disk.text(), HEAD);
}

#[test]
fn a_line_that_is_no_record_is_passed_over() {
    let line = serde_json::to_string(&Record::Received(received("bob@b.test", "<1@b>", 10, "hi"))).unwrap();
    let history = Disk::with(&format!("{HEAD}rubbish\n{line}\n{{\"record\":\"new\"}}\n"), 100_000).open().unwrap();
    assert_eq!((history.index().messages().count(), history.unreadable()), (1, 2));
}

#[test]
fn another_version_is_refused_and_left_alone() {
    for (text, words) in [
        ("{\"impart-history\":2}\n", "a history of version 2"),
        ("#!/bin/sh\nrm\n", "a history of another program"),
        ("not ours, without an end of line", "a history of another program"),
    ] {
        let disk = Disk::with(text, 100_000);
        let error = disk.open().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("move the file away"), "{error}");
        assert_eq!(disk.text(), text);
    }
}

#[test]
fn a_full_disk_takes_nothing_and_loses_nothing() {
    for room in 0..400 {
        let disk = Disk::with(HEAD, HEAD.len() + room);
        let mut history = disk.open().unwrap();
        match history.add(vec![Record::Received(received("bob@b.test", "<1@b>", 10, "hi"))]) {
            Ok(_) => assert!(history.index().has_seen(&mailbox("bob@b.test"), "<1@b>")),
            Err(error) => {
                assert!(error.to_string().contains("the disk is full; make room"), "{error}");
                assert_eq!(disk.text(), HEAD);
                assert!(!history.index().has_seen(&mailbox("bob@b.test"), "<1@b>"));
                disk.grow(10_000);
                history.add(vec![Record::Received(received("bob@b.test", "<1@b>", 10, "hi"))]).unwrap();
            }
        }
        assert_eq!(disk.open().unwrap().index().messages().count(), 1);
    }
}

#[test]
fn states_do_not_go_back() {
    let mut index = Index::default();
    index.apply(Record::Written(draft("<1@a>", &["bob@b.test"], 1)));
    let mut check = |next: State, new: bool, expected: State| {
        assert_eq!(index.apply(state("<1@a>", "bob@b.test", next)), new, "{next:?}");
        let Some(record::Message::Out { fates, .. }) = index.own("<1@a>") else { panic!("gone") };
        assert_eq!(fates[0].state, expected);
    };
    check(State::Sent, true, State::Sent);
    check(State::Sent, false, State::Sent);
    check(State::Waiting, false, State::Sent);
    check(State::Delayed, true, State::Delayed);
    check(State::Delivered, true, State::Delivered);
    check(State::Relayed, false, State::Delivered);
    check(State::Failed, true, State::Failed);
    check(State::Delivered, false, State::Failed);
    check(State::Displayed, true, State::Displayed);
    assert!(!index.apply(state("<1@a>", "eve@e.test", State::Failed)), "not a recipient");
    assert!(!index.apply(state("<9@a>", "bob@b.test", State::Failed)), "not ours");
}

#[test]
fn unread_and_read() {
    let mut index = Index::default();
    for (at, id) in [(10, "<1@b>"), (20, "<2@b>"), (30, "<3@b>")] {
        index.apply(Record::Received(received("bob@b.test", id, at, "x")));
    }
    assert_eq!(index.contacts()[0].unread, 3);
    assert!(index.apply(Record::Read { with: mailbox("bob@b.test"), at: Timestamp::from_secs(20) }));
    assert_eq!(index.contacts()[0].unread, 1);
    assert!(!index.apply(Record::Read { with: mailbox("bob@b.test"), at: Timestamp::from_secs(10) }));
}

#[test]
fn what_nobody_took_over_is_told_again() {
    let mut index = Index::default();
    for id in ["<1@b>", "<2@b>", "<3@b>"] {
        index.apply(Record::Received(received("bob@b.test", id, 10, "x")));
    }
    let (from, id) = (mailbox("bob@b.test"), "<2@b>".to_owned());
    let untaken = |index: &Index| index.untaken().map(|message| message.id.clone()).collect::<Vec<_>>();
    assert!(index.apply(Record::Taken { from: from.clone(), id: id.clone() }));
    assert!(!index.apply(Record::Taken { from: from.clone(), id: id.clone() }));
    assert_eq!(untaken(&index), ["<1@b>", "<3@b>"]);
    assert!(index.apply(Record::Untaken { from: from.clone(), id }));
    assert_eq!(untaken(&index), ["<1@b>", "<2@b>", "<3@b>"]);
    assert!(!index.apply(Record::Taken { from, id: "<9@b>".to_owned() }), "never received");
}

#[test]
fn an_answer_comes_behind_what_it_answers() {
    let mut index = Index::default();
    let mut answer = received("bob@b.test", "<2@b>", 10, "answer");
    answer.references = vec!["<1@a>".to_owned()];
    index.apply(Record::Received(answer));
    index.apply(Record::Written(draft("<1@a>", &["bob@b.test"], 11)));
    index.apply(Record::Received(received("bob@b.test", "<0@b>", 5, "first")));
    let conversation = index.conversation(&mailbox("bob@b.test"));
    let ids: Vec<&str> = conversation.into_iter().map(record::Message::id).collect();
    assert_eq!(ids, ["<0@b>", "<1@a>", "<2@b>"]);
}

#[test]
fn attachments_are_copied_and_saved_beside_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(&directory.path().join("h")).unwrap();
    let original = directory.path().join("a.txt");
    std::fs::write(&original, "one").unwrap();
    let enclosure = history.enclose(&original, "").unwrap();
    std::fs::write(&original, "two").unwrap();
    let draft = Draft { attachments: vec![enclosure], ..draft("<1@a>", &["bob@b.test"], 1) };
    assert_eq!(history.contents(&draft).unwrap(), ["one"]);
    let message = record::Message::Out { draft, fates: vec![] };
    let saved = history.save(&message, 0, directory.path()).unwrap();
    assert_eq!(saved.file_name().unwrap(), "a-1.txt");
    assert_eq!(std::fs::read_to_string(saved).unwrap(), "one");
    assert!(history.save(&message, 1, directory.path()).is_err());
    assert!(history.enclose(&directory.path().join("none"), "").is_err());
}

#[test]
fn what_is_too_large_or_no_file_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(&directory.path().join("h")).unwrap();
    let large = directory.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(history.enclose(&large, ""), Err(HistoryError::TooLarge { size, .. }) if size == 1 << 40));
    assert!(matches!(history.enclose(std::path::Path::new("/dev/zero"), ""), Err(HistoryError::System { .. })));
}

#[test]
fn names_are_never_completed_into_another_domain() {
    let known = [mailbox("bob@b.test.example"), mailbox("bert@b.test"), mailbox("Eve@e.test")];
    for (name, expected) in [
        ("bob@b.test", Some("bob@b.test")),
        ("bob", Some("bob@b.test.example")),
        ("b", None),
        ("EVE", Some("Eve@e.test")),
        ("nobody", None),
        ("", None),
        ("@", None),
    ] {
        assert_eq!(named(name, known.iter()), expected.map(mailbox), "{name}");
    }
}
