//! Keys about mail: the way into the mail system, the addresses at which it answers, and what is believed of it.

use super::super::value;
use super::{Default, Key, Section, key, standard};
use crate::address::Domain;
use crate::bridge::intake::SpamField;

pub(in crate::config) static DOMAIN_BRIDGE: Key<Domain> = key(
    "bridge",
    value::DOMAIN,
    Default::Derived("the domain itself"),
    "\"im.a.example\"",
    "The mail domain whose addresses are those of this domain for whoever has only mail: what is handed to the mail \
     system asks for answers and reports there. \
     The mail system has to pass it to a mail listener.",
);

pub(in crate::config) static BRIDGE_AUTHSERV_IDS: Key<Vec<String>> = key(
    "authserv_ids",
    value::AUTHSERV_IDS,
    Default::Value("[]"),
    "[\"mx.a.example\"]",
    "The names that the mail system bears in the fields Authentication-Results that it writes. \
     Who has a pass of DMARC there, or has logged in at it, is the author of a mail; everybody else is anonymous to the \
     rules, and mail in the name of a domain served here is refused without.",
);
pub(in crate::config) static BRIDGE_HOPS: Key<usize> = standard(
    "hops",
    value::COUNT,
    "1",
    "How many fields Received the mail system adds to a mail before it hands it over. \
     Authentication-Results that stand below them came with the mail and prove nothing; a content filter that takes \
     mail and gives it back adds one more.",
);
pub(in crate::config) static BRIDGE_SPAM: Key<Vec<SpamField>> = standard(
    "spam",
    value::SPAM_FIELDS,
    "[\"X-Spam-Flag: YES\", \"X-Spam-Status: Yes\", \"X-Spam: Yes\", \"X-Rspamd-Action: reject\", \
     \"X-Rspamd-Action: add header\", \"X-Rspamd-Action: rewrite subject\"]",
    "Fields by which the mail system says that a mail is spam: the name, a colon, and how the value begins, in any letter \
     case. \
     Such mail is refused, and so stays with the mail system.",
);

pub(in crate::config) const BRIDGE: Section = Section {
    name: "bridge",
    repeated: false,
    commented: false,
    text: "People who have only mail.",
    keys: &[&BRIDGE_AUTHSERV_IDS.info, &BRIDGE_HOPS.info, &BRIDGE_SPAM.info],
};
