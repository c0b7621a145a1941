//! The rules of the inboxes: a directory with a document for each inbox that has any.
//!
//! In: the directory, and what was read of it before. Out: the documents, in memory. Invariants: a document that cannot be read
//! permits nothing, the one before it holds on as long as the daemon runs; all documents together have a bound; who reads
//! sees the old one or the new one whole, and of two changes at one time none is lost. The name of a file is made from the
//! key of the inbox, and no address is outside the directory.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use xxhash_rust::xxh3::xxh3_64;

use super::file::{Exclusive, FileError, Stamp, make, stamp, stamp_of};
use crate::address::Mailbox;
use crate::limits;
use crate::rules::Ruleset;

/// Octets of the name of a file before its end; what is longer is named by its digest.
const NAME_OCTETS: usize = 200;

const END: &str = ".xml";

/// The documents of all inboxes.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// By the name of the file.
    documents: HashMap<String, Stored>,
}

#[derive(Clone, Debug)]
struct Stored {
    stamp: Option<Stamp>,
    octets: u64,
    /// Put out by the bound of all: read again when there is room.
    put_out: bool,
    /// `None`: it cannot be read.
    ruleset: Option<Arc<Ruleset>>,
}

/// What is known of the rules of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// There are none.
    None,
    /// There are these.
    Rules(&'a Ruleset),
    /// There are some, which cannot be read.
    Damaged,
}

impl Rules {
    /// From the directory, which may be missing. What was read before and has not changed is not read again. Out too:
    /// what is wrong, of each document once.
    pub fn load(directory: &Path, before: &Rules) -> Result<(Rules, Vec<String>), FileError> {
        Rules::load_within(directory, before, limits::RULES_IN_ALL)
    }

    fn load_within(directory: &Path, before: &Rules, most: u64) -> Result<(Rules, Vec<String>), FileError> {
        let system = |error| FileError::System { path: directory.to_owned(), error };
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Rules::default(), Vec::new())),
            other => other.map_err(system)?,
        };
        let (mut rules, mut faults, mut octets) = (Rules::default(), Vec::new(), 0);
        for entry in entries {
            let entry = entry.map_err(system)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.ends_with(END) {
                continue;
            }
            let mut stored = match before.documents.get(&name) {
                Some(old)
                    if old.stamp.is_some()
                        && old.stamp == stamp(&entry.path())
                        && !(old.put_out && octets + old.octets <= most) =>
                {
                    old.clone()
                }
                old => {
                    let (stored, fault) = Stored::read(&entry.path(), old);
                    faults.extend(fault);
                    stored
                }
            };
            octets += stored.octets;
            if octets > most && stored.ruleset.take().is_some() {
                stored.put_out = true;
                let most = most >> 20;
                faults.push(format!("{}: all rules have more than {most} MiB", entry.path().display()));
            }
            rules.documents.insert(name, stored);
        }
        Ok((rules, faults))
    }

    /// Those of an inbox.
    pub fn of(&self, inbox: &Mailbox) -> Known<'_> {
        if self.documents.is_empty() {
            return Known::None;
        }
        match self.documents.get(&file_name(inbox, END)) {
            None => Known::None,
            Some(stored) => stored.ruleset.as_deref().map_or(Known::Damaged, Known::Rules),
        }
    }

    /// Whether an inbox has the same rules as before.
    pub fn is_same(&self, before: &Rules, inbox: &Mailbox) -> bool {
        if self.documents.is_empty() && before.documents.is_empty() {
            return true;
        }
        let name = file_name(inbox, END);
        match (self.documents.get(&name), before.documents.get(&name)) {
            (None, None) => true,
            (Some(new), Some(old)) => match (&new.ruleset, &old.ruleset) {
                (Some(new), Some(old)) => Arc::ptr_eq(new, old),
                (None, None) => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// How many inboxes have rules.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether no inbox has rules.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}

impl Stored {
    fn read(path: &Path, old: Option<&Stored>) -> (Stored, Option<String>) {
        // Before the content: what changes meanwhile is read once more.
        let stamp = stamp(path);
        let octets = stamp.map_or(0, |stamp| stamp.3.min(limits::RULES_OCTETS as u64));
        let parsed = read(path).and_then(|text| Ruleset::parse(&text).map_err(|fault| fault.to_string()));
        match parsed {
            Ok(ruleset) => (Stored { stamp, octets, put_out: false, ruleset: Some(Arc::new(ruleset)) }, None),
            Err(fault) => {
                let ruleset = old.and_then(|old| old.ruleset.clone());
                let so = match ruleset {
                    Some(_) => "the rules before it hold on",
                    None => "until it is mended, no messages are taken for this inbox",
                };
                (Stored { stamp, octets, put_out: false, ruleset }, Some(format!("{}: {fault}; {so}", path.display())))
            }
        }
    }
}

/// At most one octet more than a document may have.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let most = limits::RULES_OCTETS as u64 + 1;
    file.take(most).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// The name of the file of an inbox, with that end. Octets that are not of a plain name are percent-encoded.
pub fn file_name(inbox: &Mailbox, end: &str) -> String {
    let key = inbox.key();
    let mut name = String::with_capacity(key.len() + end.len());
    for (at, octet) in key.bytes().enumerate() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'@' | b'-' | b'_' | b'+' => name.push(char::from(octet)),
            b'.' if at > 0 => name.push('.'),
            // Writing into a string does not fail.
            other => _ = write!(name, "%{other:02x}"),
        }
    }
    if name.len() > NAME_OCTETS {
        name.clear();
        for octet in digest::digest(&digest::SHA256, key.as_bytes()).as_ref() {
            _ = write!(name, "{octet:02x}");
        }
    }
    name + end
}

/// Where the document of an inbox is.
pub fn path(directory: &Path, inbox: &Mailbox) -> PathBuf {
    directory.join(file_name(inbox, END))
}

/// The document of an inbox as it is stored.
pub fn document(directory: &Path, inbox: &Mailbox) -> Result<Option<String>, FileError> {
    let path = path(directory, inbox);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::System { path, error }),
        Ok(_) => {}
    }
    read(&path).map(Some).map_err(|fault| FileError::Change(format!("{}: {fault}", path.display())))
}

/// The version of a document, by its octets; 0: there is none.
pub fn version(document: Option<&str>) -> u64 {
    document.map_or(0, |text| xxh3_64(text.as_bytes()).max(1))
}

/// Changes the document of an inbox under a lock: what `change` makes of it takes its place, and nothing takes it away.
/// It tells whether it is another now.
pub fn change(
    directory: &Path,
    inbox: &Mailbox,
    change: impl FnOnce(Option<&str>) -> Result<Option<String>, String>,
) -> Result<bool, FileError> {
    let exclusive = exclusive(directory)?;
    let old = document(directory, inbox)?;
    let new = change(old.as_deref()).map_err(FileError::Change)?;
    if old != new {
        put_in(&exclusive, &path(directory, inbox), new.as_deref())?;
    }
    Ok(old != new)
}

/// Puts a document in the place of that of an inbox, or nothing, whatever it was. It tells whether there was anything to
/// do.
pub fn put(directory: &Path, inbox: &Mailbox, new: Option<&str>) -> Result<bool, FileError> {
    let (path, exclusive) = (path(directory, inbox), exclusive(directory)?);
    let needed = new.is_some() || path.exists();
    if needed {
        put_in(&exclusive, &path, new)?;
    }
    Ok(needed)
}

fn exclusive(directory: &Path) -> Result<Exclusive, FileError> {
    // Before the first start there is no spool.
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent).map_err(|error| FileError::System { path: parent.to_owned(), error })?;
    }
    Exclusive::new(directory, &directory.join("lock"), directory)
}

fn put_in(exclusive: &Exclusive, path: &Path, new: Option<&str>) -> Result<(), FileError> {
    let Some(text) = new else { return exclusive.remove(path) };
    Ruleset::parse(text).map_err(|fault| FileError::Change(fault.to_string()))?;
    exclusive.replace(path, &[text.as_bytes()])
}

/// The state of the directory, which changes with each document that is put into it.
pub fn state(directory: &Path) -> Option<Stamp> {
    fs::metadata(directory).ok().map(|data| stamp_of(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn names_of_files_stay_in_the_directory() {
        let check = |inbox: &str, expected: &str| assert_eq!(file_name(&mailbox(inbox), END), expected);
        check("Alice.Smith+x@A.example", "alice.smith+x@a.example.xml");
        check("\"../../etc\"@a.example", "%2e.%2f..%2fetc@a.example.xml");
        check("\".x\"@a.example", "%2ex@a.example.xml");
        check("é@a.example", "%c3%a9@a.example.xml");
        let long = format!("{}@{}.example", "a".repeat(60), vec!["b".repeat(60); 3].join("."));
        assert_eq!(file_name(&mailbox(&long), END).len(), 68);
    }

    fn rules(message: &str) -> String {
        format!(
            "<ruleset xmlns=\"{}\"><rule id=\"a\"><actions><message xmlns=\"{}\">{message}</message></actions></rule></ruleset>",
            crate::rules::COMMON,
            crate::rules::IMPART
        )
    }

    #[test]
    fn documents_are_kept_as_they_are_and_replaced_at_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (directory, alice) = (folder.path().join("spool/rules"), mailbox("alice@a.example"));
        assert_eq!(document(&directory, &alice).unwrap(), None);
        assert!(Rules::load(&directory, &Rules::default()).unwrap().0.is_empty());
        let text = rules("allow");
        assert!(change(&directory, &alice, |_| Ok(Some(text.clone()))).unwrap());
        assert!(!change(&directory, &alice, |old| Ok(old.map(str::to_owned))).unwrap());
        assert!(change(&directory, &alice, |_| Ok(Some("<x/>".to_owned()))).is_err());
        assert_eq!(document(&directory, &mailbox("ALICE@a.example")).unwrap(), Some(text));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&path(&directory, &alice))), (0o700, 0o600));
        let (loaded, faults) = Rules::load(&directory, &Rules::default()).unwrap();
        assert!(matches!(loaded.of(&alice), Known::Rules(_)) && faults.is_empty());
        assert_eq!((loaded.len(), loaded.of(&mailbox("bob@a.example"))), (1, Known::None));
        assert!(change(&directory, &alice, |_| Ok(None)).unwrap());
        assert_eq!(document(&directory, &alice).unwrap(), None);
        assert!(Rules::load(&directory, &loaded).unwrap().0.is_empty());
    }

    #[test]
    fn what_had_no_room_is_read_when_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let inboxes = [mailbox("alice@a.example"), mailbox("bob@a.example")];
        for inbox in &inboxes {
            fs::write(path(folder.path(), inbox), rules("allow")).unwrap();
        }
        let most = rules("allow").len() as u64;
        let load = |before: &Rules| Rules::load_within(folder.path(), before, most).unwrap();
        let (full, faults) = load(&Rules::default());
        let (out, within): (Vec<_>, Vec<_>) = inboxes.iter().partition(|inbox| full.of(inbox) == Known::Damaged);
        assert_eq!((out.len(), faults.len()), (1, 1));
        let (still, faults) = load(&full);
        assert_eq!((still.of(out[0]), faults), (Known::Damaged, Vec::new()), "said once");
        fs::remove_file(path(folder.path(), within[0])).unwrap();
        let (room, faults) = load(&still);
        assert!(matches!(room.of(out[0]), Known::Rules(_)) && faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn what_cannot_be_read_permits_nothing_or_leaves_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let (alice, file) = (mailbox("alice@a.example"), folder.path().join("alice@a.example.xml"));
        fs::write(&file, rules("allow")).unwrap();
        let load = |before: &Rules| Rules::load(folder.path(), before).unwrap();
        let (good, _) = load(&Rules::default());
        fs::write(&file, "<ruleset").unwrap();
        let (still, faults) = load(&good);
        assert!(matches!(still.of(&alice), Known::Rules(_)));
        assert!(faults[0].contains("alice@a.example.xml: line 1") && faults[0].ends_with("hold on"), "{faults:?}");
        let (again, faults) = load(&still);
        assert!(matches!(again.of(&alice), Known::Rules(_)) && faults.is_empty(), "said once");
        let (damaged, faults) = load(&Rules::default());
        assert_eq!((damaged.of(&alice), faults.len()), (Known::Damaged, 1));
        fs::write(&file, [b'<', 0xff]).unwrap();
        assert_eq!(load(&damaged).0.of(&alice), Known::Damaged);
        assert!(document(folder.path(), &alice).is_err() && put(folder.path(), &alice, None).unwrap());
        assert!(!put(folder.path(), &alice, None).unwrap());
        fs::write(&file, rules("block")).unwrap();
        assert!(matches!(load(&damaged).0.of(&alice), Known::Rules(_)));
    }
}
