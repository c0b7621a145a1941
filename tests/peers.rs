//! Other people's programs as peers: Postfix's smtp-source and smtp-sink, a Postfix in the middle and one as mail exchanger, swaks, msmtp,
//! OpenSSL's s_client and cms, fetchmail, a Dovecot that knows the accounts, an OpenLDAP that does, and a Dovecot that has mailboxes, a zone signed and
//! served by Knot, an Exim, Delta Chat, xmllint, pflogsumm, SoftHSM; and NIST's suite of paths of certificates.
//!
//! A test whose program is not installed is left out, and says so by name; `tests/run` installs them where it can.

#[path = "peers/accounts.rs"]
mod accounts;
#[path = "peers/authority.rs"]
mod authority;
#[path = "peers/bridged.rs"]
mod bridged;
#[path = "peers/clients.rs"]
mod clients;
mod common;
#[path = "peers/deltachat.rs"]
mod deltachat;
#[path = "peers/dovecot.rs"]
mod dovecot;
#[path = "peers/exchanger.rs"]
mod exchanger;
#[path = "peers/exim.rs"]
mod exim;
#[path = "peers/fetchmail.rs"]
mod fetchmail;
#[path = "peers/inward.rs"]
mod inward;
#[path = "peers/knot.rs"]
mod knot;
#[path = "peers/mailbox.rs"]
mod mailbox;
#[path = "peers/names.rs"]
mod names;
#[path = "peers/pflogsumm.rs"]
mod pflogsumm;
#[path = "peers/pkits.rs"]
mod pkits;
#[path = "peers/postfix.rs"]
mod postfix;
#[path = "peers/schemas.rs"]
mod schemas;
#[path = "peers/senders.rs"]
mod senders;
#[path = "peers/sinks.rs"]
mod sinks;
#[path = "peers/smime.rs"]
mod smime;
#[path = "peers/tls.rs"]
mod tls;
#[path = "peers/token.rs"]
mod token;
