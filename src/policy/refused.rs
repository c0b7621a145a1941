//! Whom the administrator keeps out, and the exceptions from it. Pure.
//!
//! In: lists of networks, domains with all below them, and addresses. Out: whether a connection or a sender is refused. An
//! exception counts before all that is refused, however exact either is.

use std::net::IpAddr;
use std::str::FromStr;

use super::refuse;
use crate::address::{AddressError, Domain, Mailbox};
use crate::net::{Network, NetworkError};
use crate::reply::Reply;

/// One that is kept out, or let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Connections from there.
    Network(Network),
    /// Senders of this domain, and of those below it.
    Domain(Domain),
    /// One sender.
    Mailbox(Mailbox),
}

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartyError {
    /// It looks like a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It is no domain and no address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl FromStr for Party {
    type Err = PartyError;

    fn from_str(text: &str) -> Result<Party, PartyError> {
        if text.contains('@') {
            return Ok(Party::Mailbox(Mailbox::parse(text)?));
        }
        match text.parse() {
            Ok(network) => Ok(Party::Network(network)),
            Err(fault @ NetworkError::Bits) => Err(fault.into()),
            Err(NetworkError::Address) => Ok(Party::Domain(Domain::parse(text)?)),
        }
    }
}

impl Party {
    fn is_of(&self, sender: &Mailbox) -> bool {
        match self {
            Party::Network(_) => false,
            Party::Domain(domain) => {
                let below = sender.domain().as_str().strip_suffix(domain.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Party::Mailbox(mailbox) => mailbox.key() == sender.key(),
        }
    }

    fn is_at(&self, address: IpAddr) -> bool {
        matches!(self, Party::Network(network) if network.contains(address))
    }
}

/// The lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Those who are kept out.
    pub parties: Vec<Party>,
    /// Those who are let in nevertheless.
    pub except: Vec<Party>,
}

impl Refused {
    fn has(&self, is: impl Fn(&Party) -> bool) -> bool {
        self.parties.iter().any(&is) && !self.except.iter().any(is)
    }

    /// A connection from there.
    pub fn connection(&self, address: IpAddr) -> Result<(), Reply> {
        match self.has(|party| party.is_at(address)) {
            true => {
                Err(refuse(554, (5, 7, 1), "connections from your network are not taken here; ask the administrator"))
            }
            false => Ok(()),
        }
    }

    /// A message of this sender.
    pub fn sender(&self, sender: &Mailbox) -> Result<(), Reply> {
        match self.has(|party| party.is_of(sender)) {
            true => Err(refuse(550, (5, 7, 1), "messages from you are not taken here; ask the administrator")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(parties: &[&str], except: &[&str]) -> Refused {
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Refused { parties: read(parties), except: read(except) }
    }

    #[test]
    fn senders_and_connections() {
        let refused = lists(
            &["spam.example", "eve@b.example", "192.0.2.0/24", "2001:db8::/32"],
            &["good.spam.example", "alice@spam.example", "192.0.2.7"],
        );
        let sender = |text: &str, expected| {
            let got = refused.sender(&Mailbox::parse(text).unwrap());
            assert_eq!(got.is_ok(), expected, "{text}");
        };
        sender("x@spam.example", false);
        sender("x@a.SPAM.example", false);
        sender("x@nospam.example", true);
        sender("x@good.spam.example", true);
        sender("Alice@spam.example", true);
        sender("eve@b.example", false);
        sender("EVE@b.example", false);
        sender("bob@b.example", true);
        let from = |text: &str, expected| {
            assert_eq!(refused.connection(text.parse().unwrap()).is_ok(), expected, "{text}");
        };
        from("192.0.2.1", false);
        from("::ffff:192.0.2.1", false);
        from("192.0.2.7", true);
        from("192.0.3.1", true);
        from("2001:db8::1", false);
        assert!(Refused::default().connection("192.0.2.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn mistakes() {
        for text in ["192.0.2.0/64", "a@@b", "", "a b"] {
            assert!(text.parse::<Party>().is_err(), "{text}");
        }
    }
}
