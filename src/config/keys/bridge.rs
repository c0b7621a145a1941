//! Keys about mail: the ways into the mail system, the addresses at which it answers, and what is believed of it.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::value::{self, choice};
use super::super::{MailRoute, Via};
use super::{Default, Key, Section, key, standard};
use crate::address::{Domain, Mailbox};
use crate::bridge::intake::SpamField;
use crate::policy::identity::mail::Examination;
use crate::route::TlsPolicy;

pub(in crate::config) static DOMAIN_BRIDGE: Key<Domain> = key(
    "bridge",
    value::DOMAIN,
    Default::Derived("the domain itself"),
    "\"im.a.example\"",
    "The mail domain whose addresses are those of this domain for whoever has only mail: what is handed to the mail \
     system asks for answers and reports there. \
     The mail system has to pass it to a mail listener.",
);

pub(in crate::config) static DOMAIN_FALLBACK: Key<Duration> = key(
    "fallback",
    value::DURATION,
    Default::Derived("never"),
    "\"15m\"",
    "How long a message waits for the clients of somebody here before it goes to their mailbox as a mail; the section \
     bridge says where that is. \
     An account can have a time of its own, or never (impartctl account fallback). \
     Where the mail store does not take it, it waits on.",
);

pub(in crate::config) static BRIDGE_VIA: Key<Via> = key(
    "via",
    value::VIA,
    Default::Derived("no mail; then messages for domains without instant messages fail"),
    "\"smtp:127.0.0.1:25\"",
    "Where the mail system takes mail. \
     Messages for domains that do not offer instant messages become mails and go there. \
     What is accepted by lmtp is delivered; what is accepted by smtp is relayed. \
     With \"mx\" there is no mail system between: mail goes straight to the mail exchangers of each domain, which \
     prove themselves by DANE or MTA-STS where the domain says that they can.",
);
pub(in crate::config) static BRIDGE_TLS: Key<TlsPolicy> = key(
    "tls",
    choice::<TlsPolicy>(),
    Default::Derived("none on this host, starttls elsewhere"),
    "\"starttls\"",
    "How the servers of `via` and `store` prove themselves, if they are not on this host: as for a route.",
);

pub(in crate::config) static BRIDGE_STORE: Key<MailRoute> = key(
    "store",
    value::MAIL_ROUTE,
    Default::Derived("the server of `via`"),
    "\"lmtp:unix:/run/dovecot/lmtp\"",
    "Where mail for the people of the domains here goes, when their clients stay away for longer than `fallback` of the \
     domain.",
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
    value::HOPS,
    "1",
    "How many fields Received stand above the fields Authentication-Results that the mail system writes; with Exim 0, with \
     the milters of Postfix 1, and one more for a content filter that takes mail and gives it back. \
     What stands below the next one came with the mail and proves nothing. \
     The mail system has to remove fields with its own name from mail that comes in.",
);
pub(in crate::config) static BRIDGE_EXAMINATION: Key<Examination> = standard(
    "examination",
    choice::<Examination>(),
    "\"upstream\"",
    "Who examines whether a mail is its author's: upstream, the mail system; either, impartd itself where the mail system has \
     written nothing that tells; own, impartd alone. \
     impartd looks at DKIM, SPF, DMARC and, for `sealers`, ARC. \
     It asks DNS; where that does not answer, the mail has to come again. \
     What fails DMARC where its domain has the policy quarantine or reject is refused, and so stays with the mail system. \
     SPF needs the client's address, which is taken from the field Received of the mail system, see `hops`.",
);
pub(in crate::config) static BRIDGE_SEALERS: Key<Vec<Domain>> = standard(
    "sealers",
    value::DOMAINS,
    "[]",
    "Domains that pass mail on, such as forwarders, and whose seals (ARC) are believed when they say that a mail passed DMARC \
     before.",
);
pub(in crate::config) static BRIDGE_SPAM: Key<Vec<SpamField>> = standard(
    "spam",
    value::SPAM_FIELDS,
    "[\"X-Spam-Flag: YES\", \"X-Spam-Status: Yes\", \"X-Spam: Yes\", \"X-Rspamd-Action: reject\", \
     \"X-Rspamd-Action: add header\", \"X-Rspamd-Action: rewrite subject\", \"X-Spamd-Result: default: True\", \
     \"X-Bogosity: Spam\", \"X-DSPAM-Result: Spam\"]",
    "Fields by which the mail system says that a mail is spam: the name, a colon, and how the value begins, in any letter \
     case. \
     Such mail is refused, and so stays with the mail system.",
);

pub(in crate::config) static BRIDGE_TLS_REPORTS: Key<Mailbox> = key(
    "tls_reports",
    value::MAILBOX,
    Default::Derived("no reports"),
    "\"postmaster@a.example\"",
    "Whom domains can ask about the reports that they get each day, where they ask for them in DNS (RFC 8460): what became of TLS \
     at their mail exchangers, with via = \"mx\". \
     The reports come from this address; they are not signed by DKIM, which some domains want.",
);

pub(in crate::config) static BRIDGE_UNSUBSCRIBE_URL: Key<String> = key(
    "unsubscribe_url",
    value::UNSUBSCRIBE_URL,
    Default::Derived("none; it is ended by mail"),
    "\"https://im.a.example/unsubscribe\"",
    "The URL at which those who are told of presence by mail can end that with one click of their mail program (RFC 8058). \
     Providers obey it where the mail system signs these mails by DKIM.",
);
pub(in crate::config) static BRIDGE_UNSUBSCRIBE_LISTEN: Key<SocketAddr> = key(
    "unsubscribe_listen",
    value::SOCKET,
    Default::Derived("nowhere"),
    "\"127.0.0.1:8058\"",
    "Where `unsubscribe_url` is answered: in the clear on a loopback address, for a web server before it, and by HTTPS with the \
     certificates of the section tls on others.",
);

pub(in crate::config) const BRIDGE: Section = Section {
    name: "bridge",
    repeated: false,
    commented: false,
    text: "People who have only mail.",
    keys: &[
        &BRIDGE_VIA.info,
        &BRIDGE_TLS.info,
        &BRIDGE_STORE.info,
        &BRIDGE_AUTHSERV_IDS.info,
        &BRIDGE_HOPS.info,
        &BRIDGE_EXAMINATION.info,
        &BRIDGE_SEALERS.info,
        &BRIDGE_SPAM.info,
        &BRIDGE_TLS_REPORTS.info,
        &BRIDGE_UNSUBSCRIBE_URL.info,
        &BRIDGE_UNSUBSCRIBE_LISTEN.info,
    ],
};
