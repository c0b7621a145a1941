//! What was exchanged, kept on this host: the person's own store, seen-set and outbox.
//!
//! In: what came and what was written. Out: the same, searchable, after any crash. Invariants: what [`History::add`]
//! has taken is on stable storage; a message is in it once; several processes may have it open, one of which may
//! receive ([`History::receive`]). Fails with [`HistoryError`]; then nothing was taken.
//!
//! | in the account's directory | |
//! | --- | --- |
//! | `history.jsonl` | [`Record`]s, one a line, behind a line with the version |
//! | `entities/` | what came with attachments, whole |
//! | `attachments/` | what goes out, as it was when the message was written |
//! | `sealed/` | what goes out signed or encrypted, whole |
//! | `receiver.lock`, `outbox.lock` | held by the process that receives, or empties the outbox |

mod index;
mod log;
mod record;
#[cfg(test)]
pub(super) mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::FlockOperation;

use super::clean;
use super::compose::{self, Draft, Enclosure};
use super::read::{self, DESCRIPTION_CHARACTERS, Received};
use crate::address::Mailbox;
use crate::random;
pub use index::{Contact, Index};
pub use log::{HistoryError, Storage, VERSION};
pub use record::{Fate, Message, Record, State, named};

use log::Log;

/// Octets of an attachment that is sent: more does not fit into an entity of the usual bound, encoded.
pub const ATTACHMENT_OCTETS: u64 = 7 * 1024 * 1024;

/// A history.
#[derive(Debug)]
pub struct History {
    directory: PathBuf,
    log: Log,
    index: Index,
}

/// Which messages of the whole history are meant: those that agree with all that is said.
#[derive(Clone, Debug, Default)]
pub struct Choice<'a> {
    /// Exchanged with them.
    pub with: Option<Mailbox>,
    /// Words of the text, the partners or the attachments, in any letter case.
    pub words: &'a str,
    /// The Message-ID.
    pub id: Option<&'a str>,
}

/// Held while this process receives for the account, or empties its outbox.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl History {
    /// Opens the history in a directory, or begins one.
    pub fn open(directory: &Path) -> Result<History, HistoryError> {
        for part in ["", "entities", "attachments", "sealed"] {
            let path = directory.join(part);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| log::fault(&path, error))?;
        }
        let path = directory.join("history.jsonl");
        History::with(directory, Box::new(log::open(&path)?))
    }

    /// On a storage of its own; for tests of what disks do.
    pub fn with(directory: &Path, storage: Box<dyn Storage>) -> Result<History, HistoryError> {
        let mut index = Index::default();
        let log = Log::new(&directory.join("history.jsonl"), storage, &mut |line| take(&mut index, line))?;
        Ok(History { directory: directory.to_owned(), log, index })
    }

    /// What the records add up to.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lines of the file that are no records.
    pub fn unreadable(&self) -> usize {
        self.log.unreadable
    }

    /// The latest messages, of all that the file has, that somebody and some words choose; as many as are asked for, and
    /// those that wait. The index has the latest of all without reading the file.
    pub fn past(&mut self, choice: &Choice, number: usize) -> Result<Index, HistoryError> {
        let words: Vec<String> = choice.words.split_whitespace().map(str::to_lowercase).collect();
        let with = choice.with.as_ref().map(Mailbox::key);
        let mut past = Index::bounded(number, usize::MAX, number.saturating_mul(2));
        self.log.again(&mut |line| {
            let Ok(record) = serde_json::from_str::<Record>(line) else { return };
            let fits = match &record {
                Record::Received(received) => fits(&Message::In(received.clone()), with.as_deref(), &words, choice.id),
                Record::Written(draft) => {
                    let message = Message::Out { draft: draft.clone(), fates: Vec::new() };
                    let answers = message.answers().is_some_and(|id| past.find(id).is_some());
                    fits(&message, with.as_deref().filter(|_| !answers), &words, choice.id)
                }
                _ => true,
            };
            if fits {
                past.apply(record);
            }
        })?;
        Ok(past)
    }

    /// A message by its Message-ID, whoever wrote it, however old it is.
    pub fn find(&mut self, id: &str) -> Result<Option<Message>, HistoryError> {
        if let Some(message) = self.index.find(id) {
            return Ok(Some(message.clone()));
        }
        let past = self.past(&Choice { id: Some(id), ..Choice::default() }, 1)?;
        Ok(past.find(id).cloned())
    }

    /// Takes in what other processes have added.
    pub fn refresh(&mut self) -> Result<(), HistoryError> {
        let index = &mut self.index;
        self.log.catch_up(&mut |line| take(index, line))
    }

    /// Adds records, on stable storage when it returns; those that say something new come back.
    pub fn add(&mut self, records: Vec<Record>) -> Result<Vec<Record>, HistoryError> {
        if records.is_empty() {
            return Ok(records);
        }
        // What cannot be written as JSON does not exist among records.
        let lines: Vec<String> = records.iter().filter_map(|record| serde_json::to_string(record).ok()).collect();
        let index = &mut self.index;
        self.log.append(&lines, &mut |line| take(index, line))?;
        Ok(records.into_iter().filter(|record| self.index.apply(record.clone())).collect())
    }

    /// Whether that message has been received, here or by another process that has it open.
    pub fn has_seen(&self, received: &Received) -> bool {
        self.index.has_seen(&received.from, &received.id) || self.index.has_seal(received.mark.seen.as_deref())
    }

    /// Becomes the one process that receives for the account.
    pub fn receive(&self) -> Result<Hold, HistoryError> {
        self.hold("receiver.lock")
    }

    /// Becomes the one process that empties the outbox.
    pub fn outbox(&self) -> Result<Hold, HistoryError> {
        self.hold("outbox.lock")
    }

    fn hold(&self, name: &str) -> Result<Hold, HistoryError> {
        let path = self.directory.join(name);
        let fault = |error| log::fault(&path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(fault)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut process = String::new();
                let _ = (&file).take(20).read_to_string(&mut process);
                let process = process.trim();
                let process = if process.is_empty() { "unknown" } else { process }.to_owned();
                return Err(HistoryError::Busy { process });
            }
            Err(errno) => return Err(fault(errno.into())),
        }
        // The id is for people; the lock is what counts, also on a full disk.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Hold { _file: file })
    }

    /// Keeps an entity that has come, for its attachments.
    pub fn keep_entity(&self, received: &mut Received, entity: &[u8]) -> Result<(), HistoryError> {
        if received.attachments.is_empty() {
            return Ok(());
        }
        let name = format!("entities/{}.eml", self.token()?);
        self.write_file(&name, entity)?;
        received.attachments.iter_mut().for_each(|enclosure| enclosure.file.clone_from(&name));
        Ok(())
    }

    /// Removes entities that were kept for records that are not in the history.
    pub fn drop_entities<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(self.directory.join(name));
        }
    }

    /// Copies a file that is to be sent, with what it is in words: what is sent later is what was written.
    pub fn enclose(&self, path: &Path, description: &str) -> Result<Enclosure, HistoryError> {
        let fault = |error| log::fault(path, error);
        // Looked at before it is opened: a pipe would wait for its writer, and a device has no end.
        let metadata = fs::metadata(path).map_err(fault)?;
        if !metadata.is_file() {
            return Err(fault(std::io::Error::other("not a regular file")));
        }
        let too_large = |size| HistoryError::TooLarge { path: path.to_owned(), size };
        if metadata.len() > ATTACHMENT_OCTETS {
            return Err(too_large(metadata.len()));
        }
        let mut octets = Vec::new();
        // It may grow meanwhile.
        File::open(path).and_then(|file| file.take(ATTACHMENT_OCTETS + 1).read_to_end(&mut octets)).map_err(fault)?;
        let size = octets.len() as u64;
        if size > ATTACHMENT_OCTETS {
            return Err(too_large(size));
        }
        let name = clean::file_name(&path.file_name().unwrap_or_default().to_string_lossy());
        let file = format!("attachments/{}", self.token()?);
        self.write_file(&file, &octets)?;
        let description = clean::line(description).trim().chars().take(DESCRIPTION_CHARACTERS).collect();
        Ok(Enclosure { media: compose::media_of(&name).to_owned(), name, description, size, file })
    }

    /// Keeps an entity that is to be sent as it is; the name of its file.
    pub fn seal(&self, entity: &[u8]) -> Result<String, HistoryError> {
        let name = format!("sealed/{}.eml", self.token()?);
        self.write_file(&name, entity)?;
        Ok(name)
    }

    /// The entity of a draft that was signed or encrypted when it was written.
    pub fn sealed(&self, draft: &Draft) -> Result<Option<Bytes>, HistoryError> {
        let Some(name) = &draft.sealed else { return Ok(None) };
        let path = self.directory.join(name);
        fs::read(&path).map(|octets| Some(octets.into())).map_err(|error| log::fault(&path, error))
    }

    fn token(&self) -> Result<String, HistoryError> {
        random::token().map_err(|error| log::fault(&self.directory, std::io::Error::other(error)))
    }

    fn write_file(&self, name: &str, octets: &[u8]) -> Result<(), HistoryError> {
        let path = self.directory.join(name);
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(octets)?;
            file.sync_all()?;
            path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&path);
            log::fault(&path, error)
        })
    }

    /// The octets of the attachments of a draft, in order.
    pub fn contents(&self, draft: &Draft) -> Result<Vec<Bytes>, HistoryError> {
        let content = |enclosure: &Enclosure| {
            let path = self.directory.join(&enclosure.file);
            fs::read(&path).map(Bytes::from).map_err(|error| log::fault(&path, error))
        };
        draft.attachments.iter().map(content).collect()
    }

    /// Writes the attachment `index` of a message into a directory, under its name or that with a number; never over
    /// another file.
    pub fn save(&self, message: &Message, index: usize, into: &Path) -> Result<PathBuf, HistoryError> {
        let missing = |path: &Path, text: &str| log::fault(path, std::io::Error::other(text));
        let Some(enclosure) = message.attachments().get(index) else {
            return Err(missing(into, "the message has no such attachment"));
        };
        let kept = self.directory.join(&enclosure.file);
        let octets = fs::read(&kept).map_err(|error| log::fault(&kept, error))?;
        let octets = match message {
            Message::Out { .. } => octets,
            Message::In(_) => {
                read::attachment(&octets, index).ok_or_else(|| missing(&kept, "it cannot be read any more"))?
            }
        };
        for number in 0..1000 {
            let name = match (number, enclosure.name.rsplit_once('.')) {
                (0, _) => enclosure.name.clone(),
                (_, Some((stem, extension))) => format!("{stem}-{number}.{extension}"),
                (_, None) => format!("{}-{number}", enclosure.name),
            };
            let path = into.join(clean::file_name(&name));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(&octets).map_err(|error| log::fault(&path, error))?;
                    return Ok(path);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(log::fault(&path, error)),
            }
        }
        Err(missing(into, "there are too many files of that name"))
    }

    /// Whom a name means, see [`named`].
    pub fn partner(&self, name: &str) -> Option<Mailbox> {
        named(name, self.index.contacts().into_iter().map(|contact| &contact.address))
    }
}

fn take(index: &mut Index, line: &str) -> bool {
    match serde_json::from_str(line) {
        Ok(record) => {
            index.apply(record);
            true
        }
        Err(_) => false,
    }
}

fn fits(message: &Message, with: Option<&str>, words: &[String], id: Option<&str>) -> bool {
    let partner = |with: &str| message.partners().iter().any(|who| who.key() == with);
    with.is_none_or(partner) && id.is_none_or(|id| message.id() == id) && message.has(words)
}
