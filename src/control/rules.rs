//! `impartctl rules`: the rules of an inbox, looked at and changed without the daemon.
//!
//! In: what is wanted, the directory, who lives here. Out: what to print, what to say, and whether a document was changed, so
//! that the daemon is to be told. It fails like [`accounts::rules`]; nothing is changed then.

use std::path::Path;

use serde_json::json;

use super::cli::{Reading, Rules as Wanted, Watching, Whether};
use super::protocol::Finding;
use crate::accounts::file::FileError;
use crate::accounts::{Entries, Rules, rules};
use crate::address::{Domain, Mailbox};
use crate::limits;
use crate::rules::edit::{self, Edited};
use crate::rules::{self as format, Handling, Read, RulesError};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// What to print.
    pub text: String,
    /// What is to be known.
    pub remarks: Vec<String>,
    /// Whether a document is another now.
    pub changed: bool,
}

/// Who lives here.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The domains.
    pub served: &'a [Domain],
    /// Aliases and their members.
    pub aliases: &'a [(Mailbox, Vec<Mailbox>)],
    /// The accounts.
    pub entries: &'a Entries,
}

impl Here<'_> {
    /// Rules are an inbox's: those of an address that stands for others would never be looked at.
    fn check(&self, inbox: &Mailbox) -> Result<(), FileError> {
        let fault = |text: String| Err(FileError::Change(text));
        if !self.served.contains(inbox.domain()) {
            return fault(format!("{} is not served here", inbox.domain()));
        }
        let key = inbox.key();
        if let Some((_, members)) = self.aliases.iter().find(|(alias, _)| alias.key() == key) {
            let members: Vec<String> = members.iter().map(Mailbox::to_string).collect();
            return fault(format!("{inbox} is an alias; its members have rules of their own: {}", members.join(", ")));
        }
        let owner = self.entries.iter().find(|account| account.addresses.iter().any(|one| one.key() == key));
        match owner {
            Some(owner) => fault(format!("{inbox} is an address of {}; name that inbox", owner.name)),
            None => Ok(()),
        }
    }
}

/// Does what is wanted. `open` gives the content of a file that was named.
pub fn run(
    wanted: &Wanted,
    directory: &Path,
    here: Here<'_>,
    json: bool,
    open: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<Done, FileError> {
    let inbox = wanted.inbox();
    here.check(inbox)?;
    let edited = |change: &dyn Fn(Option<&str>) -> Result<Edited, RulesError>| {
        let mut remarks = Vec::new();
        let changed = rules::change(directory, inbox, |old| {
            let edited = change(old).map_err(|fault| fault.to_string())?;
            remarks = edited.remarks;
            Ok(edited.text)
        })?;
        Ok(Done { text: String::new(), remarks, changed })
    };
    match wanted {
        Wanted::Show { .. } => {
            let document = rules::document(directory, inbox)?;
            let nothing = "there are no rules: messages are taken from everybody, and only the owner reads them";
            let remarks = if document.is_none() { vec![format!("{inbox}: {nothing}")] } else { Vec::new() };
            let text = match json {
                true => json!({ "inbox": inbox.to_string(), "rules": document }).to_string() + "\n",
                false => document.unwrap_or_default(),
            };
            Ok(Done { text, remarks, changed: false })
        }
        Wanted::Set { file, .. } => {
            let text = open(file).map_err(|fault| FileError::Change(format!("{}: {fault}", file.display())))?;
            let (_, remarks) = format::read(&text).map_err(|fault| FileError::Change(fault.to_string()))?;
            let changed = rules::put(directory, inbox, Some(&text))?;
            Ok(Done { text: String::new(), remarks, changed })
        }
        Wanted::Allow { who, .. } => edited(&|old| edit::allow(old, who)),
        Wanted::Block { who, .. } => edited(&|old| edit::block(old, who)),
        Wanted::Signed { who, whether: Whether::Yes, .. } => edited(&|old| edit::let_write_signed(old, who)),
        Wanted::Signed { who, whether: Whether::No, .. } => edited(&|old| edit::allow(old, who)),
        Wanted::Watch { who, how, .. } => {
            let how = match how {
                Watching::Allow => Handling::Allow,
                Watching::Confirm => Handling::Confirm,
                Watching::PoliteBlock => Handling::PoliteBlock,
                Watching::Block => Handling::Block,
            };
            edited(&|old| edit::let_watch(old, who, how))
        }
        Wanted::Publish { who, whether, .. } => edited(&|old| edit::let_publish(old, who, *whether == Whether::Yes)),
        Wanted::Read { who, how, .. } => {
            let how = match how {
                Reading::No => Read::No,
                Reading::Copy => Read::Copy,
                Reading::Take => Read::Take,
            };
            edited(&|old| edit::let_read(old, who, how))
        }
        Wanted::Remove { .. } => rules::put(directory, inbox, None).map(|changed| Done { changed, ..Done::default() }),
    }
}

/// A file of rules as a person names it, `-` for standard input; not endless.
pub fn open(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let most = limits::RULES_OCTETS as u64 + 1;
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(most).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    read.map(|_| text).map_err(|error| error.to_string())
}

/// The rules of all inboxes, for [`super::check`].
pub fn findings(directory: &Path) -> Vec<Finding> {
    let remedy = "mend it with impartctl rules set, or take it away with impartctl rules remove";
    match Rules::load(directory, &Rules::default()) {
        Ok((rules, faults)) if faults.is_empty() => {
            vec![Finding::ok("rules", format!("of {} inboxes in {}", rules.len(), directory.display()))]
        }
        Ok((_, faults)) => faults.into_iter().map(|fault| Finding::error("rules", fault, remedy)).collect(),
        Err(fault) => vec![Finding::error("rules", fault.to_string(), "examine it as the user of impartd, or as root")],
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::cli::{Arguments, Command};
    use super::*;

    #[track_caller]
    fn check(directory: &Path, line: &str, expected: Result<(&str, bool), &str>) {
        let words = ["impartctl", "rules"].into_iter().chain(line.split(' '));
        let Command::Rules(wanted) = Arguments::try_parse_from(words).unwrap().command else { panic!("{line}") };
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        let entries = Entries::parse("[account.\"bob@a.example\"]\naddresses = [\"b@a.example\"]\n").unwrap();
        let here = Here {
            served: &[Domain::parse("a.example").unwrap()],
            aliases: &[(mailbox("all@a.example"), vec![mailbox("alice@a.example"), mailbox("bob@a.example")])],
            entries: &entries,
        };
        let done = run(&wanted, directory, here, false, open);
        let shown = done.map(|done| (done.text + &done.remarks.join("\n"), done.changed));
        match (&shown, expected) {
            (Ok((shown, changed)), Ok((part, expected))) if shown.contains(part) && *changed == expected => {}
            (Err(fault), Err(part)) if fault.to_string().contains(part) => {}
            _ => panic!("{line}: {shown:?}, not {expected:?}"),
        }
    }

    #[test]
    fn rules_are_set_changed_shown_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, file) = (folder.path().join("rules"), folder.path().join("mine.xml"));
        let check = |line: &str, expected| check(&directory, line, expected);
        check("show alice@a.example", Ok(("alice@a.example: there are no rules", false)));
        check("allow alice@a.example bob@b.example", Ok(("messages are taken from bob@b.example as from", false)));
        check("remove alice@a.example", Ok(("", false)));
        check("block alice@a.example Mallory@b.example", Ok(("", true)));
        check("block alice@a.example mallory@b.example", Ok(("", false)));
        check("block alice@a.example c.example", Ok(("", true)));
        check("read alice@a.example bob@a.example take", Ok(("", true)));
        check("show alice@a.example", Ok(("<except id=\"im:Mallory@b.example\"/>", false)));
        check("signed alice@a.example d.example yes", Ok(("", true)));
        check("signed alice@a.example d.example yes", Ok(("", false)));
        check("show alice@a.example", Ok(("<i:signed/>", false)));
        check("signed alice@a.example d.example no", Ok(("", true)));
        check("show alice@a.example", Ok(("<except domain=\"c.example\"/>", false)));
        check("show alice@a.example", Ok(("<i:read>take</i:read>", false)));
        check("block carol@c.example bob@a.example", Err("c.example is not served here"));
        check("block all@a.example x@b.example", Err("is an alias; its members have rules of their own: alice@"));
        check("block b@a.example x@b.example", Err("b@a.example is an address of bob@a.example"));
        let set = format!("set alice@a.example {}", file.display());
        check(&set, Err("mine.xml: No such file"));
        std::fs::write(&file, "<ruleset/>").unwrap();
        check(&set, Err("line 1, <ruleset>: a document of rules begins with"));
        let text = format!("<ruleset xmlns=\"{}\"><!-- as it is --></ruleset>\r\n", format::COMMON);
        std::fs::write(&file, &text).unwrap();
        check(&set, Ok(("", true)));
        check("show alice@a.example", Ok((&text, false)));
        assert_eq!(findings(&directory).len(), 1);
        check("remove alice@a.example", Ok(("", true)));
        std::fs::write(rules::path(&directory, &Mailbox::parse("alice@a.example").unwrap()), "<").unwrap();
        assert!(findings(&directory)[0].text.contains("alice@a.example.xml: line 1"));
        check("block alice@a.example x@b.example", Err("line 1"));
        check("remove alice@a.example", Ok(("", true)));
    }
}
