//! Mails with signatures, and DNS on loopback.
