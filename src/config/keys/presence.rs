//! Keys about presence.

use std::time::Duration;

use toml::Spanned;

use super::super::value::{self, Choice, choice};
use super::{Default, Key, Section, key, standard};
use crate::rules::Handling;

impl Choice for Handling {
    const EXPECTED: &'static str = "\"block\", \"confirm\", \"polite-block\" or \"allow\"";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("block", Handling::Block),
        ("confirm", Handling::Confirm),
        ("polite-block", Handling::PoliteBlock),
        ("allow", Handling::Allow),
    ];
}

pub(in crate::config) static DOMAIN_PRESENCE: Key<bool> = standard(
    "presence",
    value::BOOLEAN,
    "true",
    "Whether the domain has presentities; without, everything of the class PRES that is sent to it is refused. \
     Publish an SRV record for _pres._impp when it has.",
);
pub(in crate::config) static DOMAIN_PRESENTITIES: Key<Vec<Spanned<String>>> = key(
    "presentities",
    value::LOCAL_PARTS,
    Default::Derived("whoever has an inbox or an account, without aliases"),
    "[\"alice\", \"bob\"]",
    "The local parts that have presence, where these are not those that have an inbox.",
);

pub(in crate::config) static PRESENCE_DEFAULT: Key<Handling> = standard(
    "default",
    choice::<Handling>(),
    "\"confirm\"",
    "What becomes of a subscription to somebody who has no rules at all: block refuses it, confirm asks, polite-block \
     shows somebody who is never there, allow shows everything.",
);
pub(in crate::config) static PRESENCE_LONGEST: Key<Duration> = standard(
    "longest",
    value::DURATION,
    "\"1h\"",
    "How long a subscription of another domain lasts without being refreshed, at most; ours there are made for as long.",
);
pub(in crate::config) static PRESENCE_SHORTEST: Key<Duration> =
    standard("shortest", value::DURATION, "\"60s\"", "The least time that a subscription of another domain lasts.");
pub(in crate::config) static PRESENCE_INTERVAL: Key<Duration> = standard(
    "interval",
    value::DURATION,
    "\"10ms\"",
    "The least time between two changes that the watchers of one presentity are told of; after it the latest is told.",
);
pub(in crate::config) static PRESENCE_MAIL_PAUSE: Key<Duration> = standard(
    "mail_pause",
    value::DURATION,
    "\"10m\"",
    "How long changes wait for others before somebody who watches by mail gets a mail about them; what was asked for does \
     not wait.",
);
pub(in crate::config) static PRESENCE_WATCHERS: Key<usize> = standard(
    "watchers",
    value::COUNT,
    "20000",
    "Subscriptions that one presentity may have, 50 of them not authenticated.",
);
pub(in crate::config) static PRESENCE_UNDECIDED: Key<usize> = standard(
    "undecided",
    value::COUNT,
    "1000",
    "Of them those that wait for the presentity's word, now or since they came and went.",
);
pub(in crate::config) static PRESENCE_CONTACTS: Key<usize> =
    standard("contacts", value::COUNT, "2000", "Presentities that one account may watch.");

pub(in crate::config) const PRESENCE: Section = Section {
    name: "presence",
    repeated: false,
    commented: false,
    text: "Who watches whom.",
    keys: &[
        &PRESENCE_DEFAULT.info,
        &PRESENCE_LONGEST.info,
        &PRESENCE_SHORTEST.info,
        &PRESENCE_INTERVAL.info,
        &PRESENCE_MAIL_PAUSE.info,
        &PRESENCE_WATCHERS.info,
        &PRESENCE_UNDECIDED.info,
        &PRESENCE_CONTACTS.info,
    ],
};
