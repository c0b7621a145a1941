//! What became of recipients, counted: by class, by the group of the destination, by outcome.
//!
//! In: outcomes. Out: numbers since the start. Invariant: few groups, so that neither an address nor a domain that somebody
//! invents makes another number. Never fails.

use crate::deliver::Outcome;
use crate::envelope::Class;
use crate::meter::Tally;
use crate::queue::look_up::{MAILBOXES, is_route};
use crate::route::Hop;

/// A group of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Other domains, found by DNS.
    Peer,
    /// Configured routes.
    Route,
    /// The mail system.
    Mail,
    /// The mail store of people here.
    Store,
    /// Clients of people here.
    Device,
    /// None: it failed without an attempt.
    Nowhere,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 6] = [Group::Peer, Group::Route, Group::Mail, Group::Store, Group::Device, Group::Nowhere];

    /// That of a destination whose hop is not known.
    pub fn of(destination: &str) -> Group {
        match destination {
            MAILBOXES => Group::Store,
            route if is_route(route) => Group::Route,
            _ => Group::Peer,
        }
    }

    /// That of a destination.
    pub fn through(destination: &str, hop: &Hop) -> Group {
        match (Group::of(destination), hop) {
            (Group::Peer, Hop::Mail(_)) => Group::Mail,
            (group, _) => group,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Group::Peer => "peer",
            Group::Route => "route",
            Group::Mail => "mail",
            Group::Store => "store",
            Group::Device => "device",
            Group::Nowhere => "none",
        }
    }
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handed to the next hop.
    Delivered,
    /// An attempt was deferred.
    Deferred,
    /// Failed.
    Failed,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 3] = [Fate::Delivered, Fate::Deferred, Fate::Failed];

    /// Of an outcome.
    pub fn of(outcome: &Outcome) -> Fate {
        match outcome {
            Outcome::Delivered { .. } | Outcome::Relayed { .. } | Outcome::Stored { .. } => Fate::Delivered,
            Outcome::Failed { .. } => Fate::Failed,
            Outcome::Deferred { .. } => Fate::Deferred,
        }
    }
}

/// The classes.
pub const CLASSES: [Class; 2] = [Class::Im, Class::Pres];

const CELLS: usize = CLASSES.len() * Group::ALL.len() * Fate::ALL.len();

/// What has happened since the start, counted by recipients.
#[derive(Debug, Default)]
pub struct Counters(Tally<CELLS>);

impl Counters {
    /// One recipient more.
    pub fn count(&self, class: Class, group: Group, fate: Fate) {
        self.0.add(cell(class, group, fate));
    }

    /// The outcomes of a report.
    pub(super) fn report(&self, class: Class, group: Group, outcomes: &[(usize, Outcome)]) {
        outcomes.iter().for_each(|(_, outcome)| self.count(class, group, Fate::of(outcome)));
    }

    /// How many.
    pub fn get(&self, class: Class, group: Group, fate: Fate) -> u64 {
        self.0.get(cell(class, group, fate))
    }

    /// How many of all groups.
    pub fn sum(&self, class: Class, fate: Fate) -> u64 {
        Group::ALL.into_iter().map(|group| self.get(class, group, fate)).sum()
    }
}

fn cell(class: Class, group: Group, fate: Fate) -> usize {
    (class as usize * Group::ALL.len() + group as usize) * Fate::ALL.len() + fate as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_for_itself() {
        let counters = Counters::default();
        for class in CLASSES {
            for group in Group::ALL {
                for fate in Fate::ALL {
                    (0..=cell(class, group, fate)).for_each(|_| counters.count(class, group, fate));
                }
            }
        }
        let cells = CLASSES.into_iter().flat_map(|class| Group::ALL.map(|group| Fate::ALL.map(|f| (class, group, f))));
        for (place, (class, group, fate)) in cells.flatten().enumerate() {
            assert_eq!(counters.get(class, group, fate), place as u64 + 1, "{class:?} {group:?} {fate:?}");
        }
    }

    #[test]
    fn destinations_have_a_group_whoever_names_them() {
        let check = |destination: &str, expected| assert_eq!(Group::of(destination), expected, "{destination}");
        check("IM b.example", Group::Peer);
        check("PRES route.example", Group::Peer);
        check("route b.example", Group::Route);
        check("mailboxes", Group::Store);
    }
}
