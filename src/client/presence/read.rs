//! What the server tells of presence, read. Pure.
//!
//! In: an entity of class PRES. Out: [`Told`]. Invariants: the server is one's own and has checked it; what makes no sense is
//! no news. Bounded by the entity. RFC 3863 §4.1, RFC 3858 §4, RFC 4662 §5.

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

use super::roster::News;
use super::view::{Shown, Standing, View, Watcher};
use crate::address::Mailbox;
use crate::mime::presence::{Directive, Event, State, SubscriptionId};

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The question that it answers.
    pub id: Option<SubscriptionId>,
    /// What it tells.
    pub news: News,
}

/// Reads an entity; `None`: nothing for the person.
pub fn read(entity: &[u8]) -> Option<Told> {
    let Ok(Directive::Notify { id, seq, state, event, .. }) = Directive::of(entity) else { return None };
    let message = MessageParser::default().parse(entity)?;
    let from = message.from()?.first()?.address().and_then(|from| Mailbox::parse(from).ok())?;
    let news = match event {
        Event::Presence => {
            let document = part(&message, "pidf+xml");
            let (standing, reason) = standing(state);
            let shown = document.as_deref().and_then(shown).filter(|_| standing == Standing::Active);
            News::View(Box::new(View { who: from, standing, reason, seq, shown }))
        }
        Event::Watchers => {
            let (full, list) = watchers(&part(&message, "watcherinfo+xml")?)?;
            News::Watchers { full, list }
        }
        Event::Contacts => News::Contacts(contacts(&message, seq)?),
        Event::Policy => News::Policy(part(&message, "auth-policy+xml")),
        Event::Certificate | Event::Other(_) => return None,
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
    let is = |part: &&mail_parser::MessagePart<'_>| {
        let kind = part.content_type();
        kind.is_some_and(|kind| {
            kind.ctype().eq_ignore_ascii_case("application")
                && kind.subtype().is_some_and(|found| found.eq_ignore_ascii_case(subtype))
        })
    };
    message.parts.iter().find(is).and_then(text)
}

fn text(part: &mail_parser::MessagePart<'_>) -> Option<String> {
    match &part.body {
        PartType::Text(text) | PartType::Html(text) => Some(text.clone().into_owned()),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => String::from_utf8(octets.to_vec()).ok(),
        PartType::Message(_) | PartType::Multipart(_) => None,
    }
}
