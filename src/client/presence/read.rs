//! What the server tells of presence, read. Pure.
//!
//! In: an entity of class PRES, and how signatures are taken off. Out: [`Told`]. Invariants: the server is one's own and has
//! checked it; what makes no sense is no news; what is shown as signed by a person is what that person has signed, not what
//! its domain has made of it. Bounded by the entity. RFC 3863 §4.1, RFC 3858 §4, RFC 4662 §5.

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

use super::roster::News;
use super::view::{Shown, Standing, View, Watcher};
use crate::address::{Mailbox, uri};
use crate::client::mark::{Mark, Proof};
use crate::mime::presence::{Directive, Event, State, SubscriptionId};
use crate::pidf::rlmi::{Instance, List};
use crate::pidf::watcherinfo::WatcherInfo;
use crate::pidf::{Basic, Document};
use crate::smime::Certificate;
use crate::timestamp::Timestamp;

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The question that it answers.
    pub id: Option<SubscriptionId>,
    /// What it tells.
    pub news: News,
}

/// Takes the signature of an entity off: what it says, and what is proven of it. True: it was published, and holds for
/// longer than it is under way.
pub type Open<'a> = &'a dyn Fn(&[u8], bool) -> (Vec<u8>, Mark);

/// Reads an entity; `None`: nothing for the person.
pub fn read(entity: &[u8], now: Timestamp, open: Open<'_>) -> Option<Told> {
    let (entity, signature) = open(entity, false);
    let Ok(Directive::Notify { id, seq, state, expires, event }) = Directive::of(&entity) else { return None };
    let message = MessageParser::default().parse(&entity)?;
    let from = message.from()?.first()?.address().and_then(|from| Mailbox::parse(from).ok())?;
    let news = match event {
        Event::Presence => {
            let document = part(&message, "pidf+xml");
            let (standing, reason) = match (state, expires) {
                // The request is on its way.
                (State::Pending, Some(0)) => (Standing::Unknown, None),
                _ => standing(state),
            };
            let shown = document.and_then(|text| shown(&text, now)).filter(|_| standing == Standing::Active);
            let signature = proven(&message, &from, shown.as_ref(), signature, now, open);
            News::View(Box::new(View { who: from, standing, reason, seq, shown, signature }))
        }
        Event::Watchers => {
            let (full, list) = watchers(&part(&message, "watcherinfo+xml")?)?;
            News::Watchers { full, list }
        }
        Event::Contacts => News::Contacts(contacts(&message, (&from, &signature), seq, now, open)?),
        // Without rules there is nothing in it.
        Event::Policy => {
            let text = part(&message, "auth-policy+xml").filter(|text| !text.trim().is_empty());
            News::Policy { text, version: seq }
        }
        Event::Certificate => News::Certificate { certificate: certificate(&message), who: from },
        Event::Other(_) => return None,
    };
    Some(Told { id, news })
}

fn standing(state: State) -> (Standing, Option<String>) {
    match state {
        State::Active => (Standing::Active, None),
        State::Pending => (Standing::Pending, None),
        State::Terminated(reason) => (Standing::Terminated, reason.map(|reason| reason.word().to_owned())),
    }
}

/// The first part `application/SUBTYPE` as text.
fn part(message: &Message<'_>, subtype: &str) -> Option<String> {
    message.parts.iter().find(|part| is_of(part, subtype)).and_then(text)
}

/// Whether a part is `application/SUBTYPE`.
fn is_of(part: &mail_parser::MessagePart<'_>, subtype: &str) -> bool {
    part.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("application")
            && kind.subtype().is_some_and(|found| found.eq_ignore_ascii_case(subtype))
    })
}

fn text(part: &mail_parser::MessagePart<'_>) -> Option<String> {
    match &part.body {
        PartType::Text(text) | PartType::Html(text) => Some(text.clone().into_owned()),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => String::from_utf8(octets.to_vec()).ok(),
        PartType::Message(_) | PartType::Multipart(_) => None,
    }
}

/// The first part that is a certificate (RFC 2585 §4.1).
fn certificate(message: &Message<'_>) -> Option<Certificate> {
    let part = message.parts.iter().find(|part| is_of(part, "pkix-cert"))?;
    Certificate::from_der(part.contents()).ok()
}

/// What is proven of a view: that the person has signed just this, or what is proven of the domain that has made it. What was
/// signed and is not what it was is said too.
fn proven(
    message: &Message<'_>,
    who: &Mailbox,
    shown_here: Option<&Shown>,
    domain: Mark,
    now: Timestamp,
    open: Open<'_>,
) -> Mark {
    let published: Vec<&[u8]> = message.parts.iter().filter_map(|part| whole(message, part)).collect();
    for entity in published {
        let (content, mark) = open(entity, true);
        if mark.is_broken() {
            return mark;
        }
        let said = MessageParser::default().parse(&content).and_then(|inner| part(&inner, "pidf+xml"));
        let same = said.and_then(|text| shown(&text, now)).as_ref() == shown_here && shown_here.is_some();
        let own = mark.proof == Proof::User
            && mark.signer.as_deref().and_then(|it| Mailbox::parse(it).ok()).is_some_and(|it| it.key() == who.key());
        if domain.is_valid() && own && same {
            // What it was told in hid it.
            return Mark { encrypted: domain.encrypted, ..mark };
        }
    }
    domain
}

/// The octets of an entity within another.
fn whole<'a>(message: &'a Message<'_>, part: &mail_parser::MessagePart<'_>) -> Option<&'a [u8]> {
    let PartType::Message(_) = &part.body else { return None };
    let range = usize::try_from(part.offset_body).ok()?..usize::try_from(part.offset_end).ok()?;
    message.raw_message.get(range)
}

/// What a document says, as far as it is shown.
fn shown(text: &str, now: Timestamp) -> Option<Shown> {
    let document = Document::parse(text).ok()?;
    let tuples = document.tuples.iter();
    let notes = document.person_notes().iter().chain(tuples.flat_map(|tuple| &tuple.notes));
    let is_im = |contact: &String| contact.get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case("im:"));
    // Of the ways to reach somebody the one for instant messages counts.
    let im = document.tuples.iter().filter(|tuple| tuple.contact.as_ref().is_none_or(is_im));
    let others = document.tuples.iter().filter(|tuple| !tuple.contact.as_ref().is_none_or(is_im));
    let contact = |tuple: &crate::pidf::Tuple| Some((tuple.contact.clone()?, tuple.basic.map(is_open)));
    Some(Shown {
        open: im.filter_map(|tuple| tuple.basic).max().map(is_open),
        activities: document.activities(now).map(str::to_owned).collect(),
        note: notes.map(|note| note.text.trim()).find(|text| !text.is_empty()).map(str::to_owned),
        contacts: others.filter_map(contact).collect(),
    })
}

fn is_open(basic: Basic) -> bool {
    basic == Basic::Open
}

/// Whether the list is whole, and the list.
fn watchers(text: &str) -> Option<(bool, Vec<Watcher>)> {
    let info = WatcherInfo::parse(text).ok()?;
    let watcher = |one: &crate::pidf::watcherinfo::Watcher| Watcher {
        id: one.id.clone(),
        who: one.mailbox(),
        status: one.status.word().to_owned(),
        event: one.cause.word().to_owned(),
        proof: one.proof.word().to_owned(),
    };
    Some((info.full, info.lists.iter().flat_map(|list| &list.watchers).map(watcher).collect()))
}

/// One's own subscriptions, with the views that are known.
fn contacts(
    message: &Message<'_>,
    (me, list_signature): (&Mailbox, &Mark),
    seq: u64,
    now: Timestamp,
    open: Open<'_>,
) -> Option<Vec<View>> {
    let list = List::parse(&part(message, "rlmi+xml")?).ok()?;
    let resource = |resource: &crate::pidf::rlmi::Resource| {
        let who = uri::read(&resource.uri, &["pres", "im"])?;
        let Some(Instance { state, cid, .. }) = resource.instances.first() else {
            let (standing, signature) = (Standing::Unknown, Mark::default());
            return Some(View { who, standing, reason: None, seq, shown: None, signature });
        };
        let (standing, reason) = standing(*state);
        let part = cid.as_deref().and_then(|cid| named(message, cid));
        if let Some(Told { news: News::View(view), .. }) =
            part.and_then(|part| whole(message, part)).and_then(|entity| read(entity, now, open))
            && view.who.key() == who.key()
        {
            let mut view = View { standing, reason, seq, ..*view };
            if view.signature.proof == Proof::Unsigned && who.domain() == me.domain() {
                // Whoever has signed the list speaks for its own domain.
                view.signature = Mark { encrypted: view.signature.encrypted, ..list_signature.clone() };
            }
            return Some(view);
        }
        let view = part.and_then(text).and_then(|text| shown(&text, now));
        let own = who.domain() == me.domain() && view.is_some();
        let signature = if own { list_signature.clone() } else { Mark::default() };
        Some(View { who, standing, reason, seq, shown: view, signature })
    };
    Some(list.resources.iter().filter_map(resource).collect())
}

/// The part with this Content-ID (RFC 2392).
fn named<'a>(message: &'a Message<'a>, cid: &str) -> Option<&'a mail_parser::MessagePart<'a>> {
    let is =
        |part: &&mail_parser::MessagePart<'_>| part.content_id().is_some_and(|id| id.trim_matches(['<', '>']) == cid);
    message.parts.iter().find(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn read(entity: &[u8], now: Timestamp) -> Option<Told> {
        super::read(entity, now, &|entity, _| (entity.to_vec(), Mark::default()))
    }

    fn entity(directive: &str, rest: &str) -> Vec<u8> {
        let head = "From: <bob@b.test>\r\nTo: <alice@a.test>\r\nMIME-Version: 1.0\r\n";
        format!("{head}Presence: {directive}\r\n{rest}").into_bytes()
    }

    fn pidf(inner: &str) -> String {
        format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:d=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"pres:bob@b.test\">{inner}</presence>"
        )
    }

    #[test]
    fn a_view() {
        let text = pidf(
            "<tuple id=\"a\"><status><basic>closed</basic></status><contact>mailto:bob@b.test</contact></tuple>\
             <tuple id=\"b\"><status><basic>open</basic></status><contact>im:bob@b.test</contact></tuple>\
             <d:person id=\"p\"><r:activities><r:away/></r:activities><d:note>grüße</d:note></d:person>",
        );
        let body = format!("Content-Type: application/pidf+xml\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n");
        let told = read(&entity("notify; seq=7; state=active; event=presence", &body), NOW).unwrap();
        let News::View(view) = told.news else { panic!("no view") };
        assert_eq!((view.to_string().as_str(), view.seq), ("bob@b.test: away, open: grüße", 7));
        assert_eq!(view.json()["contacts"][0]["contact"], "mailto:bob@b.test");
        assert_eq!(told.id, None);
    }

    #[test]
    fn a_state_without_a_view() {
        let id = "0123456789abcdef0123456789abcdef";
        let ended = entity(&format!("notify; id={id}; seq=1; state=terminated; reason=rejected"), "\r\n");
        let told = read(&ended, NOW).unwrap();
        assert_eq!(told.id, SubscriptionId::parse(id));
        let News::View(view) = told.news else { panic!("no view") };
        assert_eq!((view.standing, view.reason.as_deref()), (Standing::Terminated, Some("rejected")));
        let News::View(view) = read(&entity("notify; seq=1; state=pending", "\r\n"), NOW).unwrap().news else {
            panic!()
        };
        assert_eq!(view.words(), "waits to be confirmed");
        let told = read(&entity("notify; seq=1; state=pending; expires=0", "\r\n"), NOW).unwrap();
        let News::View(view) = told.news else { panic!() };
        assert_eq!(view.words(), "asked; no answer yet");
    }

    #[test]
    fn lists() {
        let info = "Content-Type: application/watcherinfo+xml\r\n\r\n<watcherinfo \
                    xmlns=\"urn:ietf:params:xml:ns:watcherinfo\" version=\"0\" state=\"full\"><watcher-list \
                    resource=\"pres:alice@a.test\" package=\"presence\"><watcher id=\"x\" status=\"pending\" \
                    event=\"subscribe\">pres:carol@c.test</watcher></watcher-list></watcherinfo>\r\n";
        let told = read(&entity("notify; seq=1; event=watchers", info), NOW).unwrap();
        let News::Watchers { full: true, list } = told.news else { panic!("no list") };
        let expected = "carol@c.test asks to see your presence (nobody has proven who that is)";
        assert_eq!(list[0].to_string(), expected);
        let list = format!(
            "Content-Type: multipart/related; boundary=x; type=\"application/rlmi+xml\"\r\n\r\n--x\r\nContent-Type: \
             application/rlmi+xml\r\n\r\n<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"pres:alice@a.test\" version=\"0\" \
             fullState=\"true\"><resource uri=\"pres:bob@b.test\"><instance id=\"1\" state=\"active\" cid=\"v1@a.test\"/>\
             </resource><resource uri=\"pres:carol@c.test\"><instance id=\"2\" state=\"pending\"/></resource>\
             <resource uri=\"pres:dave@d.test\"/></list>\r\n--x\r\nContent-Type: application/pidf+xml\r\nContent-ID: \
             <v1@a.test>\r\n\r\n{}\r\n--x--\r\n",
            pidf("<tuple id=\"b\"><status><basic>open</basic></status></tuple>")
        );
        let told = read(&entity("notify; seq=1; event=contacts", &list), NOW).unwrap();
        let News::Contacts(views) = told.news else { panic!("no list") };
        let words: Vec<String> = views.iter().map(ToString::to_string).collect();
        let expected = ["bob@b.test: open", "carol@c.test: waits to be confirmed", "dave@d.test: asked; no answer yet"];
        assert_eq!(words, expected);
    }

    #[test]
    fn rules_and_what_makes_no_sense() {
        let rules = "Content-Type: application/auth-policy+xml\r\n\r\n<ruleset/>\r\n";
        let told = read(&entity("notify; seq=1; event=policy", rules), NOW).unwrap();
        assert!(matches!(told.news, News::Policy { text: Some(text), version: 1 } if text.trim() == "<ruleset/>"));
        let told = read(&entity("notify; seq=1; event=policy", "\r\n"), NOW).unwrap();
        assert_eq!(told.news, News::Policy { text: None, version: 1 });
        for odd in ["subscribe; id=0123456789abcdef0123456789abcdef", "notify", "notify; seq=1; event=odd", ""] {
            assert_eq!(read(&entity(odd, "\r\n"), NOW), None, "{odd}");
        }
        assert_eq!(read(&entity("notify; seq=1; event=watchers", "\r\n<x"), NOW), None);
        assert_eq!(read(b"", NOW), None);
    }
}
