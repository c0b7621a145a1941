//! Why messages wait, for people: what the spool keeps of them, and what the queue knows of their destinations.
//!
//! In: who lives here, the routes, how the destinations stand; all as of one moment. Out: rows of messages. Pure; one of
//! these serves a whole list.

use std::collections::HashMap;
use std::sync::Arc;

use crate::accounts::{Accounts, Found};
use crate::control::protocol::Message;
use crate::deliver::Destination;
use crate::queue::look_up::place_of;
use crate::queue::schedule::Standing;
use crate::route::Table;
use crate::spool::Record;

/// What is known at one moment.
pub struct Waiting {
    accounts: Arc<Accounts>,
    table: Arc<Table>,
    /// Destinations that failed the last time.
    failing: HashMap<Destination, Standing>,
}

impl Waiting {
    /// From what the queue says of its destinations.
    pub fn new(accounts: Arc<Accounts>, table: Arc<Table>, standings: Vec<Standing>) -> Self {
        let failing = standings.into_iter().filter(|standing| standing.failures > 0);
        Waiting { accounts, table, failing: failing.map(|standing| (standing.destination.clone(), standing)).collect() }
    }

    /// The row of a message. An open recipient without a reason of its own gets that of its destination; the message is
    /// tried when the first of its destinations is. A held message waits for the administrator alone.
    pub fn message(&self, record: &Record) -> Message {
        let mut message = Message::of(record);
        if record.held {
            return message;
        }
        let mut next = None;
        for index in record.open() {
            let (address, class) = (&record.envelope.recipients[index].address, record.envelope.class);
            let reason = match self.accounts.find(address, class) {
                Found::Inbox | Found::Elsewhere => Some("in the inbox, waiting for its client".to_owned()),
                Found::NoInbox | Found::NotOffered => None,
                Found::Foreign => {
                    let standing = self.failing.get(&place_of(&self.table, address.domain(), &record.envelope));
                    next = next.into_iter().chain(standing.and_then(|standing| standing.until)).min();
                    standing.and_then(|standing| standing.reason.clone())
                }
            };
            let recipient = &mut message.recipients[index];
            recipient.reason = recipient.reason.take().or(reason);
        }
        message.next = next.map(|next| next.rfc3339());
        message
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::accounts::LocalDomain;
    use crate::address::Domain;
    use crate::control::select::tests::record;
    use crate::timestamp::Timestamp;

    fn standing(destination: &str, failures: u16, until: Option<i64>, reason: &str) -> Standing {
        Standing {
            destination: Arc::from(destination),
            waiting: 1,
            in_flight: 0,
            failures,
            until: until.map(Timestamp::from_secs),
            reason: Some(reason.to_owned()),
        }
    }

    fn check(local: &[&str], standings: Vec<Standing>, held: bool, expected: [Option<&str>; 3], next: Option<i64>) {
        let domain = |name: &&str| {
            let inboxes = HashSet::from([format!("carol@{name}")]);
            (Domain::parse(name).unwrap(), LocalDomain { im: true, inboxes, ..LocalDomain::default() })
        };
        let accounts = Arc::new(Accounts::new(local.iter().map(domain).collect()));
        let waiting = Waiting::new(accounts, Arc::default(), standings);
        let message = waiting.message(&crate::spool::Record { held, ..record(7) });
        let reasons: Vec<_> = message.recipients.iter().map(|recipient| recipient.reason.as_deref()).collect();
        assert_eq!(reasons, expected);
        assert_eq!(message.next, next.map(|next| Timestamp::from_secs(next).rfc3339()));
    }

    // Of the record, bob@b.example was refused, carol@c.example is open, dave@b.example is completed.
    const OWN: Option<&str> = Some("Connection Refused");

    #[test]
    fn a_destination_that_waits() {
        let down = || {
            vec![standing("IM b.example", 3, Some(3000), "no route"), standing("IM c.example", 1, Some(2000), "down")]
        };
        check(&[], down(), false, [OWN, Some("down"), None], Some(2000));
        check(&[], down(), true, [OWN, None, None], None);
        check(&[], vec![standing("IM c.example", 1, None, "down")], false, [OWN, Some("down"), None], None);
        check(&[], vec![standing("IM c.example", 0, None, "was down")], false, [OWN, None, None], None);
        check(&[], vec![standing("PRES c.example", 1, Some(2000), "down")], false, [OWN, None, None], None);
    }

    #[test]
    fn messages_are_selected_by_what_is_shown() {
        let standings = vec![standing("IM c.example", 1, Some(2000), "Connection timed out")];
        let waiting = Waiting::new(Arc::default(), Arc::default(), standings);
        let check = |words: &str, expected: Option<&[usize]>| {
            let select = crate::control::Selector { reason: Some(words.to_owned()), ..Default::default() };
            let matcher = select.matcher(Timestamp::from_secs(2000));
            let found = matcher.recipients(&record(7), |record| waiting.message(record));
            assert_eq!(found.as_deref(), expected, "{words}");
        };
        check("TIMED OUT", Some(&[1]));
        check("refused", Some(&[0]));
        check("connection", Some(&[0, 1]));
        check("no route", None);
    }

    #[test]
    fn an_inbox() {
        let inbox = Some("in the inbox, waiting for its client");
        check(&["c.example"], Vec::new(), false, [OWN, inbox, None], None);
        check(&["b.example"], Vec::new(), false, [OWN, None, None], None);
    }
}
