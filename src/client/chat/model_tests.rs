use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::client::compose::{Draft, Enclosure};
use crate::client::history::{Record, State};
use crate::client::mark::{Mark, Proof};
use crate::client::read::{Received, Typing};

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

pub(super) fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

pub(super) fn received(from: &str, id: &str, after: i64, text: &str) -> Record {
    Record::Received(Received {
        id: id.to_owned(),
        from: mailbox(from),
        reply_to: Vec::new(),
        to: vec![],
        date: Timestamp::from_secs(NOW.secs() + after),
        at: Timestamp::from_secs(NOW.secs() + after),
        text: text.to_owned(),
        attachments: vec![],
        in_reply_to: None,
        references: vec![],
        wants_displayed: true,
        automatic: false,
        mark: Mark::default(),
    })
}

fn written(to: &str, id: &str, after: i64, text: &str) -> Record {
    Record::Written(Draft {
        id: id.to_owned(),
        envid: id.to_owned(),
        date: Timestamp::from_secs(NOW.secs() + after),
        from: mailbox("alice@a.test"),
        to: vec![mailbox(to)],
        text: text.to_owned(),
        attachments: vec![],
        in_reply_to: None,
        references: vec![],
        receipt: true,
        displayed: false,
        automatic: false,
        sealed: None,
        signed: false,
        encrypted: false,
    })
}

pub(super) fn index(records: Vec<Record>) -> Index {
    let mut index = Index::default();
    for record in records {
        index.apply(record);
    }
    index
}

pub(super) fn model(displayed: Displayed) -> Model {
    Model::new(mailbox("alice@a.test"), displayed, true)
}

pub(super) fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| super::super::view::draw(model, frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let mut rows = String::new();
    for y in 0..height {
        let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        rows.push_str(row.trim_end());
        rows.push('\n');
    }
    rows
}

pub(super) fn keys(model: &mut Model, text: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in text.chars() {
        let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
        effects.extend(model.update(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)), NOW));
    }
    effects
}

fn key(model: &mut Model, code: KeyCode, modifiers: KeyModifiers) -> Vec<Effect> {
    model.update(Input::Key(KeyEvent::new(code, modifiers)), NOW)
}

#[test]
fn a_screen_of_80_by_24() {
    let mut history = index(vec![
        received("bob@b.test", "<1@b>", 0, "hello 写真"),
        written("bob@b.test", "<2@a>", 1, &"word ".repeat(20)),
        written("bob@b.test", "<3@a>", 2, "fails"),
        received("eve@e.test", "<4@e>", -5, "psst"),
    ]);
    let state = |id: &str, state, reason: Option<&str>| Record::State {
        id: id.to_owned(),
        to: mailbox("bob@b.test"),
        state,
        at: NOW,
        reason: reason.map(str::to_owned),
    };
    history.apply(state("<2@a>", State::Delivered, None));
    history.apply(state("<3@a>", State::Failed, Some("550 5.1.1 no\x1b[2J")));
    let mut model = model(Displayed::No);
    model.update(Input::News(Incoming::State(Link::Connected)), NOW);
    model.update(Input::Say("said\x1b".to_owned()), NOW);
    assert_eq!(model.show(&history), [Effect::Read(mailbox("bob@b.test"))]);
    keys(&mut model, "writing 写");
    let shown = screen(&model, 80, 24);
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], " impart alice@a.test — bob@b.test (1 unread)");
    assert!(rows[1].starts_with(">bob@b.test            │"), "{shown}");
    assert!(rows[2].starts_with(" eve@e.test 1          │"), "{shown}");
    let conversation = shown.replace(|c: char| c.is_ascii_digit(), "0");
    assert!(conversation.contains("00:00    hello 写 真"), "{shown}");
    assert!(conversation.contains("00:00 me word word"), "{shown}");
    assert!(shown.contains("word ✓✓"), "{shown}");
    assert!(shown.contains("fails ✗ 550 5.1.1 no\u{241b}[2J"), "{shown}");
    assert_eq!(rows[22], " connected · said\u{241b}");
    assert_eq!(rows[23], "> writing 写");
}

#[test]
fn it_fits_every_size() {
    let records = (0..50).map(|at| received("bob@b.test", &format!("<{at}@b>"), at, "some 写 words 🚀 here")).collect();
    let mut model = model(Displayed::No);
    model.show(&index(records));
    keys(&mut model, "a long line that does not fit into a narrow window");
    for help in [false, true] {
        model.help = help;
        for scroll in [0, 10, 10_000] {
            model.scroll = scroll;
            for (width, height) in [(1, 1), (5, 3), (20, 6), (60, 10), (200, 60)] {
                screen(&model, width, height);
            }
        }
    }
}

#[test]
fn sending_and_orders() {
    let mut model = model(Displayed::No);
    assert_eq!(keys(&mut model, "hello\n"), []);
    assert_eq!(model.status, "with whom? /to ADDRESS");
    assert_eq!(model.editor.text(), "hello", "nothing written is lost");
    model.editor.take();
    assert_eq!(keys(&mut model, "/to bob@b.test\n"), [Effect::Refresh]);
    let bob = mailbox("bob@b.test");
    let send = |text: &str, file: Option<&str>| {
        let (text, file) = (text.to_owned(), file.map(str::to_owned));
        vec![Effect::Send { to: vec![bob.clone()], answers: None, text, file }]
    };
    assert_eq!(keys(&mut model, "hello\n"), send("hello", None));
    assert_eq!(keys(&mut model, "//x\n"), send("/x", None));
    assert_eq!(keys(&mut model, "/attach a.png see this\n"), send("see this", Some("a.png")));
    assert_eq!(keys(&mut model, "   \n"), []);
    model.editor.take();
    assert_eq!(keys(&mut model, "\n/nonsense\n"), []);
    assert!(model.status.contains("there is no /nonsense"));
    model.editor.take();
    keys(&mut model, "one");
    key(&mut model, KeyCode::Enter, KeyModifiers::ALT);
    model.update(Input::Paste("two\r\nthree\x1b[31m\n".to_owned()), NOW);
    assert_eq!(keys(&mut model, "\n"), send("one\ntwo\nthree\u{241b}[31m\n", None));
    assert_eq!(keys(&mut model, "/help\n"), []);
    assert!(model.help && screen(&model, 80, 24).contains("any key goes back"));
    keys(&mut model, "x");
    assert!(!model.help && model.editor.is_empty());
    assert_eq!(keys(&mut model, "/quit\n"), [Effect::Quit]);
    assert_eq!(key(&mut model, KeyCode::Char('c'), KeyModifiers::CONTROL), [Effect::Quit]);
}

#[test]
fn answers_go_where_the_partner_wants_them_and_the_screen_says_so() {
    let mut model = model(Displayed::No);
    let mut asked = received("bob@b.test", "<1@b>", 0, "to the team, please");
    if let Record::Received(asked) = &mut asked {
        asked.reply_to = vec![mailbox("team@b.test"), mailbox("eve@e.test")];
    }
    let mut index = index(vec![asked]);
    model.show(&index);
    let text = screen(&model, 80, 10);
    assert!(text.lines().next().unwrap().contains("bob@b.test, answers go to team@b.test, eve@e.test"), "{text}");
    let sent = keys(&mut model, "yes\n").pop().unwrap();
    let to = vec![mailbox("team@b.test"), mailbox("eve@e.test")];
    let (answers, text) = (Some("<1@b>".to_owned()), "yes".to_owned());
    assert_eq!(sent, Effect::Send { to, answers, text, file: None });
    // The latest decides.
    index.apply(received("bob@b.test", "<2@b>", 5, "never mind"));
    model.show(&index);
    assert!(!screen(&model, 80, 10).contains("answers go to"));
    let sent = keys(&mut model, "/attach a.txt look\n").pop().unwrap();
    let (to, text, file) = (vec![mailbox("bob@b.test")], "look".to_owned(), Some("a.txt".to_owned()));
    assert_eq!(sent, Effect::Send { to, answers: None, text, file });
}

#[test]
fn contacts_by_keys_and_by_name() {
    let mut model = model(Displayed::No);
    let history = index(vec![received("bob@b.test", "<1@b>", 0, "x"), received("eve@e.test", "<2@e>", 1, "y")]);
    model.show(&history);
    assert_eq!(model.current, Some(mailbox("eve@e.test")));
    assert_eq!(key(&mut model, KeyCode::Tab, KeyModifiers::NONE), [Effect::Refresh]);
    assert_eq!(model.current, Some(mailbox("bob@b.test")));
    keys(&mut model, "/to ev\n");
    assert_eq!(model.current, Some(mailbox("eve@e.test")));
    keys(&mut model, "/to nobody\n");
    assert!(model.status.contains("no address"));
    keys(&mut model, "/to new@n.test\n");
    model.show(&history);
    assert_eq!(model.contacts.len(), 3, "who is talked to is in the list");
}

#[test]
fn typing_is_told_to_those_who_have_written_and_not_too_often() {
    let mut model = model(Displayed::No);
    let bob = mailbox("bob@b.test");
    model.show(&index(vec![written("bob@b.test", "<1@a>", 0, "x")]));
    assert_eq!(keys(&mut model, "a"), [], "bob has not written");
    model.editor.take();
    model.show(&index(vec![received("bob@b.test", "<1@b>", 0, "x")]));
    assert_eq!(keys(&mut model, "/to"), [], "an order is nobody's business");
    model.editor.take();
    assert_eq!(keys(&mut model, "abc"), [Effect::Typing { to: bob.clone(), active: true }]);
    let later = Timestamp::from_secs(NOW.secs() + TYPING_EVERY);
    let key = KeyEvent::new(KeyCode::Char('d'), KeyModifiers::NONE);
    assert_eq!(model.update(Input::Key(key), later), [Effect::Typing { to: bob.clone(), active: true }]);
    let gone = model.update(Input::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)), later);
    assert_eq!(gone, [Effect::Typing { to: bob.clone(), active: false }]);
    model.tells_typing = false;
    assert_eq!(keys(&mut model, "abc"), []);
}

#[test]
fn a_partner_who_types_is_shown_until_the_message_comes() {
    let mut model = model(Displayed::No);
    model.show(&index(vec![received("bob@b.test", "<1@b>", 0, "x")]));
    let typing = |who: &str, seconds| Input::News(Incoming::Typing(Typing { from: mailbox(who), seconds }));
    model.update(typing("bob@b.test", 90), NOW);
    model.update(typing("stranger@s.test", 90), NOW);
    assert!(screen(&model, 80, 24).contains("bob@b.test is typing"));
    assert!(!model.is_typing(&mailbox("stranger@s.test")));
    let Record::Received(message) = received("bob@b.test", "<2@b>", 0, "x") else { panic!() };
    let news = Input::News(Incoming::Message(Box::new(message)));
    assert_eq!(model.update(news, NOW), [Effect::Refresh]);
    assert!(!model.is_typing(&mailbox("bob@b.test")));
    model.update(typing("bob@b.test", 90), NOW);
    model.update(Input::Tick, Timestamp::from_secs(NOW.secs() + 91));
    assert!(!model.is_typing(&mailbox("bob@b.test")));
}

#[test]
fn displayed_notices_go_as_the_reader_allows() {
    let mut history = index(vec![received("bob@b.test", "<1@b>", 0, "x")]);
    let read = Effect::Read(mailbox("bob@b.test"));
    assert_eq!(model(Displayed::No).show(&history), [read.clone()]);
    let of = |asked| Effect::Displayed(vec!["<1@b>".to_owned()], asked);
    assert_eq!(model(Displayed::Yes).show(&history), [read.clone(), of(false)]);
    let mut model = model(Displayed::Ask);
    assert_eq!(model.show(&history), [read]);
    assert!(model.status.contains("/displayed"));
    assert_eq!(keys(&mut model, "/displayed\n"), [of(true)]);
    history.apply(Record::Told { to: mailbox("bob@b.test"), id: "<1@b>".to_owned() });
    model.show(&history);
    assert_eq!(keys(&mut model, "/displayed\n"), []);
}

#[test]
fn attachments_are_listed_and_saved() {
    let Record::Received(mut message) = received("bob@b.test", "<1@b>", 0, "see") else { panic!() };
    message.attachments = vec![Enclosure { name: "a\x1b.png".to_owned(), size: 2048, ..Enclosure::default() }];
    let mut model = model(Displayed::No);
    model.show(&index(vec![Record::Received(message)]));
    assert!(screen(&model, 80, 24).contains("[a\u{241b}.png, 2.0 KiB]"));
    assert_eq!(keys(&mut model, "/save\n"), [Effect::Save("<1@b>".to_owned())]);
}

#[test]
fn the_connection_and_troubles_are_shown() {
    let mut model = model(Displayed::No);
    let lost = Link::Lost { reason: "no\x1b answer".to_owned(), retry: std::time::Duration::from_secs(4) };
    model.update(Input::News(Incoming::State(lost)), NOW);
    model.update(Input::News(Incoming::State(Link::Trouble("the disk is full".to_owned()))), NOW);
    let shown = screen(&model, 100, 24);
    assert!(shown.contains("not connected: no\u{241b} answer; next attempt in 4 s · the disk is full"), "{shown}");
}

#[test]
fn rows_break_at_spaces_and_within_long_words() {
    let check = |text: &str, width: usize, expected: &[&str]| {
        assert_eq!(super::super::view::wrap(text, width), expected, "{text}");
    };
    check("one two three", 7, &["one two", "three"]);
    check("abcdefgh", 3, &["abc", "def", "gh"]);
    check("写写写", 4, &["写写", "写"]);
    check("a\n\nb", 9, &["a", "", "b"]);
    check("", 9, &[""]);
    check("a\u{200d}", 9, &["a"]);
    check("a  b", 9, &["a  b"]);
}

#[test]
fn signed_messages_are_marked_where_no_text_is() {
    let mut model = model(Displayed::No);
    let with = |proof, id: &str, after| {
        let Record::Received(received) = received("bob@b.test", id, after, "[unsigned]") else {
            panic!("not received")
        };
        let mark = Mark { proof, encrypted: proof == Proof::User, ..Mark::default() };
        Record::Received(Received { mark, ..received })
    };
    let all = [(Proof::Unsigned, "<1@b>"), (Proof::User, "<2@b>"), (Proof::User, "<3@b>"), (Proof::Unsigned, "<4@b>")];
    let records = all.iter().zip(1..).map(|((proof, id), after)| with(*proof, id, after)).collect();
    model.show(&index(records));
    let screen = screen(&model, 50, 12);
    let marks: Vec<&str> = screen.lines().filter(|row| row.starts_with('[')).collect();
    assert_eq!(marks, ["[signed, encrypted]", "[unsigned]"], "{screen}");
}
