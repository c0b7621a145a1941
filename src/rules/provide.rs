//! What of a presence document a watcher sees.
//!
//! In: the transformations of the rules that match. Out: their sum, a value that [`crate::pidf::view()`] applies. Invariant:
//! adding permits more, never less; nothing at all is what there is without transformations. RFC 5025 §3.3, RFC 4745 §10.2.

use std::collections::BTreeSet;

/// Which of the tuples, persons or devices are seen (RFC 5025 §3.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Whatever they are.
    pub all: bool,
    /// Of these classes (RFC 4480 §3.3).
    pub classes: BTreeSet<String>,
    /// With these occurrence identifiers: the attribute `id`.
    pub occurrences: BTreeSet<String>,
    /// Tuples with these contacts, devices with these identifiers: URIs.
    pub uris: BTreeSet<String>,
    /// Tuples whose contact's URI has one of these schemes.
    pub schemes: BTreeSet<String>,
}

impl Selection {
    /// All of them.
    pub fn everything() -> Selection {
        Selection { all: true, ..Selection::default() }
    }

    /// Whether it is none, whatever there is.
    pub fn is_empty(&self) -> bool {
        *self == Selection::default()
    }

    fn add(&mut self, other: &Selection) {
        self.all |= other.all;
        let both = [
            (&mut self.classes, &other.classes),
            (&mut self.occurrences, &other.occurrences),
            (&mut self.uris, &other.uris),
            (&mut self.schemes, &other.schemes),
        ];
        for (mine, others) in both {
            mine.extend(others.iter().cloned());
        }
    }
}

/// How much of `<user-input>` is seen, in the order of what it tells (RFC 5025 §3.3.2.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserInput {
    /// Nothing.
    #[default]
    False,
    /// Active or idle.
    Bare,
    /// And after how long it counts as idle.
    Thresholds,
    /// And when the last input was, and whatever else is there.
    Full,
}

/// What is seen (RFC 5025 §3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provide {
    /// Of the tuples.
    pub services: Selection,
    /// Of the persons.
    pub persons: Selection,
    /// Of the devices.
    pub devices: Selection,
    /// `<activities>` of a person.
    pub activities: bool,
    /// `<class>`.
    pub class: bool,
    /// `<deviceID>` of a tuple.
    pub device_id: bool,
    /// `<mood>` of a person.
    pub mood: bool,
    /// `<place-is>` of a person.
    pub place_is: bool,
    /// `<place-type>` of a person.
    pub place_type: bool,
    /// `<privacy>` of a person or a tuple.
    pub privacy: bool,
    /// `<relationship>` of a tuple.
    pub relationship: bool,
    /// `<sphere>` of a person.
    pub sphere: bool,
    /// `<status-icon>` of a person or a tuple.
    pub status_icon: bool,
    /// `<time-offset>` of a person.
    pub time_offset: bool,
    /// `<user-input>`.
    pub user_input: UserInput,
    /// `<note>`, but for those inside of other elements.
    pub note: bool,
    /// What no RFC that is known here names: namespace and local name.
    pub unknown: BTreeSet<(String, String)>,
    /// All of these, and what is yet to be defined.
    pub all_attributes: bool,
}

impl Provide {
    /// Everything.
    pub fn everything() -> Provide {
        Provide {
            services: Selection::everything(),
            persons: Selection::everything(),
            devices: Selection::everything(),
            all_attributes: true,
            ..Provide::default()
        }
    }

    /// Whether a document is seen as it is.
    pub fn is_everything(&self) -> bool {
        self.services.all && self.persons.all && self.devices.all && self.all_attributes
    }

    /// With what another rule permits (RFC 4745 §10.2).
    pub fn add(&mut self, other: &Provide) {
        self.services.add(&other.services);
        self.persons.add(&other.persons);
        self.devices.add(&other.devices);
        let mut mine = self.flags();
        for ((_, mine), (_, others)) in mine.iter_mut().zip(other.clone().flags()) {
            **mine |= *others;
        }
        self.user_input = self.user_input.max(other.user_input);
        self.unknown.extend(other.unknown.iter().cloned());
    }

    /// The booleans and the elements that permit them.
    pub(super) fn flags(&mut self) -> [(&'static str, &mut bool); 13] {
        [
            ("provide-activities", &mut self.activities),
            ("provide-class", &mut self.class),
            ("provide-deviceID", &mut self.device_id),
            ("provide-mood", &mut self.mood),
            ("provide-place-is", &mut self.place_is),
            ("provide-place-type", &mut self.place_type),
            ("provide-privacy", &mut self.privacy),
            ("provide-relationship", &mut self.relationship),
            ("provide-sphere", &mut self.sphere),
            ("provide-status-icon", &mut self.status_icon),
            ("provide-time-offset", &mut self.time_offset),
            ("provide-note", &mut self.note),
            ("provide-all-attributes", &mut self.all_attributes),
        ]
    }
}
