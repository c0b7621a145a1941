//! Impart: instant messaging and presence for mail installations, by store and forward in the style of SMTP and MIME.
//!
//! # The path of one message
//!
//! ```text
//!  peer domain ─┐                                                               ┌─> peer domain (SRV, TLS, DANE)
//!  clients ─────┤                                                               ├─> attached clients
//!  mail system ─┴─> receive ─> policy ─> spool ═════> queue ─> route ─> deliver ┼─> configured route
//!                   smtp,mime   pure    one commit,     pure    pure,         │ └─> mail system (SMTP, LMTP, or by MX)
//!                                       then 250      schedule  DNS first  outcome
//!                                          ^               receipt (pure) <───┘
//!                                          └──────────────────────┘
//! ```
//!
//! 1. [`receive`] takes a connection; [`smtp::server`] turns its octets into commands and entities.
//! 2. [`policy`] says who may send what to whom, by the [`rules`] of the inbox too; [`mime`] says what an entity is;
//!    [`policy::identity`] who the peer is; of what is signed for an inbox here, [`smime`] says who signed it.
//! 3. [`spool`] writes the entity, its envelope and its dedup keys in one commit; then the peer has its `250`.
//! 4. [`queue`] hears of it and decides when to try: [`queue::schedule`].
//! 5. [`route`] decides where to, from configuration and [`dns`].
//!    A recipient who lives here has an inbox: [`attached`] knows which clients are attached to it, and what each of their
//!    devices has not had.
//! 6. [`deliver`] speaks [`smtp::client`] over [`net`] and [`tls`] with the next hop, and reports an outcome. For a mail
//!    system [`bridge`] makes a mail of the message first.
//! 7. [`queue`] writes the outcome down with the [`receipt`] that it causes, in one commit: back to 3.
//!
//! What is of the class PRES takes another way from 2: it changes [`presence`], whose rows are in the spool's commits, and
//! from which [`queue::notices`] derives what is due elsewhere, and devices what they are shown.
//!
//! A stage returns a value and never calls the next. `receive` and `deliver` do not know each other; the queue is the only
//! place that sees both ends.
//!
//! # Layers
//!
//! A module imports only from layers below its own; `tests/tidy.rs` checks it. Layers 0 to 2 and 5 do no I/O and ask no clock.
//!
//! # What always holds
//!
//! - `250` comes after stable storage. After a crash at any point nothing acknowledged is lost, no recipient that was
//!   completed is sent again, no receipt is missing or doubled; what was in flight may be offered again, and the next
//!   server's dedup drops it.
//! - A signed entity is never changed: trace fields are put before it, nothing else is touched.
//! - Everything a peer can make grow has a bound: [`limits`].
//! - No address of a client leaves the host; no body, password or key is logged.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// 0: words
pub mod address;
pub mod envelope;
pub mod limits;
pub mod meter;
pub mod printable;
pub mod random;
pub mod reply;
pub mod timestamp;
pub mod xml;

// 1: formats
pub mod mime;
pub mod pidf;
pub mod rules;

// 2: protocols without I/O
pub mod sasl;
pub mod smime;
pub mod smtp;

// 3: platform
pub mod clock;
pub mod completion;
pub mod disk;
pub mod dns;
pub mod net;
pub mod tls;
pub mod token;

// 4: what owns data
pub mod accounts;
pub mod attached;
pub mod presence;
pub mod spool;

// 5: decisions
pub mod bridge;
pub mod policy;
pub mod receipt;
pub mod route;

// 6: thin drivers
pub mod deliver;
pub mod receive;

// 7: the queue
pub mod queue;

// 8: configuration and administration, the person's client
pub mod client;
pub mod config;
pub mod control;

// 9: the daemon
pub mod daemon;
pub mod demo;
