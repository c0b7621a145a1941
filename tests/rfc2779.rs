//! RFC 2779, requirement by requirement: real daemons, real sockets, DNS and certificates made for each test.
//!
//! The name of a test starts with the row of the table of requirements that it shows: `r5_4_1_unknown_inbox`.

#[path = "rfc2779/administration.rs"]
mod administration;
#[path = "rfc2779/adversity.rs"]
mod adversity;
#[path = "rfc2779/answers.rs"]
mod answers;
#[path = "rfc2779/attached.rs"]
mod attached;
#[path = "rfc2779/clients.rs"]
mod clients;
mod common;
#[path = "rfc2779/confirmation.rs"]
mod confirmation;
#[path = "rfc2779/content.rs"]
mod content;
#[path = "rfc2779/enrolment.rs"]
mod enrolment;
#[path = "rfc2779/exchangers.rs"]
mod exchangers;
#[path = "rfc2779/failures.rs"]
mod failures;
#[path = "rfc2779/formats.rs"]
mod formats;
#[path = "rfc2779/hops.rs"]
mod hops;
#[path = "rfc2779/logins.rs"]
mod logins;
#[path = "rfc2779/mail.rs"]
mod mail;
#[path = "rfc2779/mailed.rs"]
mod mailed;
#[path = "rfc2779/notified.rs"]
mod notified;
#[path = "rfc2779/once.rs"]
mod once;
#[path = "rfc2779/people.rs"]
mod people;
#[path = "rfc2779/presence.rs"]
mod presence;
#[path = "rfc2779/reversed.rs"]
mod reversed;
#[path = "rfc2779/rules.rs"]
mod rules;
#[path = "rfc2779/seen.rs"]
mod seen;
#[path = "rfc2779/signed.rs"]
mod signed;
#[path = "rfc2779/subscribed.rs"]
mod subscribed;
#[path = "terminal/people.rs"]
mod two;
#[path = "rfc2779/watching.rs"]
mod watching;
#[path = "rfc2779/world.rs"]
mod world;
