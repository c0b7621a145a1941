use super::*;
use crate::mime::presence::{Reason, State};
use crate::pidf::rlmi::{Instance, Resource};
use crate::pidf::watcherinfo::{ANONYMOUS, Applied, Cause, List, Proof, Status, Table, Watcher, WatcherInfo};

fn watcher(id: &str, status: Status) -> Watcher {
    Watcher {
        id: id.to_owned(),
        uri: Watcher::uri_of(Some(&mailbox("bob@b.example"))),
        status,
        cause: Cause::Subscribe,
        name: Some("Bob \"B\" <é>".to_owned()),
        expires: Some(3600),
        lasted: Some(12),
        proof: Proof::Domain,
    }
}

fn info(version: u64, full: bool, watchers: Vec<Watcher>) -> WatcherInfo {
    let list = List { resource: "pres:alice@a.example".into(), package: "presence".into(), watchers };
    WatcherInfo { version, full, lists: vec![list] }
}

#[test]
fn lists_of_watchers_are_read_as_written() {
    let mut anonymous = watcher("2", Status::Terminated);
    anonymous.uri = Watcher::uri_of(None);
    anonymous.cause = Cause::Ended(Reason::Rejected);
    (anonymous.name, anonymous.expires, anonymous.lasted, anonymous.proof) = (None, None, None, Proof::None);
    assert_eq!((anonymous.uri.as_str(), anonymous.mailbox()), (ANONYMOUS, None));
    let written = info(7, true, vec![watcher("1", Status::Pending), anonymous]);
    let text = written.write();
    assert_eq!(WatcherInfo::parse(&text), Ok(written), "{text}");
    let expected = "    <watcher id=\"1\" status=\"pending\" event=\"subscribe\" \
        display-name=\"Bob &quot;B&quot; &lt;&#xE9;&gt;\" expiration=\"3600\" duration-subscribed=\"12\">\
        pres:bob@b.example</watcher>\r\n";
    assert!(text.contains(expected) && text.is_ascii(), "{text}");
    assert!(text.contains("<authenticated xmlns=\"urn:impart:watcherinfo\" id=\"1\" by=\"domain\"/>"), "{text}");
    assert_eq!(watcher("1", Status::Active).mailbox(), Some(mailbox("bob@b.example")));
}

/// RFC 3858 §4.
#[test]
fn a_table_follows_the_documents() {
    let mut table = Table::default();
    let shown = |table: &Table| {
        table.watchers().map(|(_, one)| format!("{} {}", one.id, one.status.word())).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(table.apply(&info(0, true, vec![watcher("1", Status::Pending)])), Applied::Taken);
    assert_eq!(table.apply(&info(1, false, vec![watcher("2", Status::Active)])), Applied::Taken);
    assert_eq!(shown(&table), "1 pending, 2 active");
    assert_eq!(table.apply(&info(1, false, vec![watcher("1", Status::Terminated)])), Applied::Old);
    assert_eq!(table.apply(&info(0, true, vec![])), Applied::Old);
    assert_eq!(table.apply(&info(3, false, vec![watcher("1", Status::Terminated)])), Applied::Gap);
    assert_eq!(shown(&table), "2 active");
    assert_eq!(table.apply(&info(9, true, vec![watcher("3", Status::Waiting)])), Applied::Taken);
    assert_eq!(shown(&table), "3 waiting");
    let mut fresh = Table::default();
    assert_eq!(fresh.apply(&info(4, false, vec![watcher("1", Status::Active)])), Applied::Gap);
}

#[test]
fn mistakes_in_lists() {
    let check = |text: &str, expected: &str| {
        let shown = WatcherInfo::parse(text).expect_err(text).to_string();
        assert!(shown.contains(expected), "{shown}, not {expected}");
    };
    let list = |inner: &str| {
        format!(
            "<watcherinfo xmlns=\"{}\" version=\"0\" state=\"full\"><watcher-list resource=\"pres:a@b.c\" \
             package=\"presence\">{inner}</watcher-list></watcherinfo>",
            watcherinfo::NAMESPACE
        )
    };
    check("<watcherinfo/>", "begins with <watcherinfo xmlns=");
    check(&list("").replace("full", "half"), "neither full nor partial");
    check(&list("").replace("version=\"0\"", ""), "its version is no number");
    check(&list("").replace("resource", "source"), "needs the attributes resource and package");
    check(&list("<watcher/>"), "it has no id");
    check(&list("<watcher id=\"1\" status=\"new\" event=\"subscribe\"/>"), "its status is none of RFC 3858");
    check(&list("<watcher id=\"1\" status=\"active\" event=\"new\"/>"), "its event is none of RFC 3858");
    let one = "<watcher id=\"1\" status=\"active\" event=\"approved\">pres:a@b.c</watcher>";
    assert_eq!(WatcherInfo::parse(&list(one)).unwrap().lists[0].watchers.len(), 1);
    check(&list(&[one, one].concat()), "the id 1 stands twice");
    check(&format!("<!DOCTYPE a>{}", list("")), "has no DTD");
    let bad = |text: &str| rlmi::List::parse(text).expect_err(text).to_string();
    assert!(bad("<list/>").contains("begins with <list xmlns="));
    let list = format!("<list xmlns=\"{}\" uri=\"a:b\" version=\"0\" fullState=\"1\">", rlmi::NAMESPACE);
    assert!(bad(&format!("{list}<resource/></list>")).contains("it has no uri"));
    let instance = format!("{list}<resource uri=\"a:c\"><instance id=\"1\" state=\"new\"/></resource></list>");
    assert!(bad(&instance).contains("its state is none of RFC 4662"));
    assert!(bad(&format!("{list}</list>").replace("\"1\"", "\"maybe\"")).contains("neither true nor false"));
}

#[test]
fn lists_of_subscriptions_are_read_as_written() {
    let instance = |id: &str, state, cid: Option<&str>| Instance { id: id.into(), state, cid: cid.map(str::to_owned) };
    let list = rlmi::List {
        uri: "pres:alice@a.example".into(),
        version: 4_294_967_295,
        full: false,
        names: vec![Note { text: "Freunde".into(), language: Some("de".into()) }],
        cid: None,
        resources: vec![
            Resource {
                uri: "pres:bob@b.example".into(),
                names: vec!["Bob".into()],
                instances: vec![instance("1", State::Active, Some("1@a.example"))],
            },
            Resource {
                uri: "pres:carol@b.example".into(),
                names: Vec::new(),
                instances: vec![
                    instance("2", State::Pending, None),
                    instance("3", State::Terminated(Some(Reason::Rejected)), None),
                ],
            },
        ],
    };
    let text = list.write();
    assert_eq!(rlmi::List::parse(&text), Ok(list), "{text}");
    assert!(text.contains("<instance id=\"3\" state=\"terminated\" reason=\"rejected\"/>"), "{text}");
}
