//! Lines of the person that command something: they begin with a stroke. Pure.

use std::time::Duration;

use crate::client::cli::{Said, duration, said};
use crate::client::presence::{Status, Treatment};

/// A line of the person that begins with a stroke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Show the keys.
    Help,
    /// Talk with somebody.
    To(String),
    /// Send a file, with a text.
    Attach(String, String),
    /// Save the attachments of the latest message that has some.
    Save,
    /// Tell the authors that ask.
    Displayed,
    /// Say how one is, for so long.
    Status(Status, Option<Duration>),
    /// Ask to see how somebody is.
    Watch(String),
    /// See it no more.
    Unwatch(String),
    /// Decide about somebody.
    Treat(Treatment, String),
    /// List those whom one watches.
    Contacts,
    /// List those who watch, or ask to.
    Watchers,
    /// End.
    Quit,
    /// None of them; what is to be said.
    Unknown(String),
}

impl Order {
    /// Reads a line; `None` for one that is a message. Two strokes begin a message with one.
    pub fn parse(line: &str) -> Option<Order> {
        let rest = line.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let argument = argument.trim();
        let text = argument.to_owned();
        Some(match name {
            "help" | "h" | "?" => Order::Help,
            "to" | "t" => Order::To(text),
            "attach" | "a" => {
                let (file, text) = argument.split_once(' ').unwrap_or((argument, ""));
                Order::Attach(file.to_owned(), text.trim().to_owned())
            }
            "save" | "s" => Order::Save,
            "displayed" | "d" => Order::Displayed,
            "status" => status(argument),
            "watch" => Order::Watch(text),
            "unwatch" => Order::Unwatch(text),
            "allow" => Order::Treat(Treatment::Allow, text),
            "confirm" => Order::Treat(Treatment::Confirm, text),
            "block" => Order::Treat(Treatment::Block, text),
            "polite-block" => Order::Treat(Treatment::PoliteBlock, text),
            "contacts" => Order::Contacts,
            "watchers" => Order::Watchers,
            "quit" | "q" | "exit" => Order::Quit,
            _ => Order::Unknown(format!("there is no /{name}; /help shows what there is")),
        })
    }
}

/// `away 2h lunch`: the state, a time if it is one, the note.
fn status(argument: &str) -> Order {
    let (state, rest) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let Ok(state) = <Said as clap::ValueEnum>::from_str(state, true) else {
        return Order::Unknown("how are you? /status open, closed, away, busy or auto".to_owned());
    };
    let rest = rest.trim();
    let (first, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (time, note) = match duration(first) {
        Ok(time) => (Some(time), after.trim()),
        Err(_) => (None, rest),
    };
    Order::Status(said(state, Some(note.to_owned())), time)
}

/// The keys and orders, a line each.
pub const HELP: &str = "\
Enter           send                      Alt-Enter  a new line
Tab, Shift-Tab  next, previous contact    Up, Down   what was sent before
PgUp, PgDn      scroll                    Ctrl-C     leave
Ctrl-A/E/U/W    begin, end, delete to the begin, delete a word

/to ADDRESS           talk with somebody; the start of a known name will do
/attach FILE [TEXT]   send a file
/save                 save the attachments of the latest message with some
/displayed            tell authors who ask that you have seen their words
/status STATE [TIME] [NOTE]  open, closed, away, busy, auto
/watch, /unwatch ADDRESS     see how somebody is, or no more
/allow, /confirm, /polite-block, /block WHO   what WHO sees of you
/contacts, /watchers         whom you watch; who watches you, or asks to
/quit                 leave

Marks: … waits   ✓ our server has it   ✓✓ delivered   seen   ✗ failed
People: + open  - closed  ~ away, busy  ? unknown  x not shown  ! asks you";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        assert_eq!(Order::parse("hello"), None);
        assert_eq!(Order::parse("//away"), None);
        assert_eq!(Order::parse("/watch  bob@b.test "), Some(Order::Watch("bob@b.test".to_owned())));
        let treat = Order::Treat(Treatment::PoliteBlock, "b.test".to_owned());
        assert_eq!(Order::parse("/polite-block b.test"), Some(treat));
        let Some(Order::Status(status, time)) = Order::parse("/status away 2h lunch time") else { panic!("no status") };
        assert_eq!((status.activity, status.note.as_deref()), (Some("away"), Some("lunch time")));
        assert_eq!(time, Some(Duration::from_secs(7200)));
        let Some(Order::Status(status, None)) = Order::parse("/status Closed 2 weeks") else { panic!("no status") };
        assert_eq!((status.open, status.note.as_deref()), (Some(false), Some("2 weeks")));
        let Some(Order::Status(status, None)) = Order::parse("/status auto") else { panic!("no status") };
        assert!(status.is_empty());
        assert!(matches!(Order::parse("/status gone"), Some(Order::Unknown(text)) if text.contains("busy or auto")));
        assert!(matches!(Order::parse("/fly"), Some(Order::Unknown(text)) if text.contains("no /fly")));
        assert!(HELP.lines().all(|line| line.chars().count() <= 76));
    }
}
