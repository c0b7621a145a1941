//! Line by line: what comes is a line, what is written is a line; for screen readers, dumb terminals and pipes. States are
//! words here, not marks.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::order::{HELP, Order};
use super::screen;
use crate::address::Mailbox;
use crate::client::account::Displayed;
use crate::client::clean;
use crate::client::cli::{Failure, exit, party, print, show_change, show_incoming, show_time, told, treated};
use crate::client::history;
use crate::client::presence::Roster;
use crate::client::{Client, ClientError, Incoming, Link, Listener, Message, Protect};
use crate::clock::{Clock as _, System};

/// Messages of the conversation that are shown at its beginning.
const SHOWN: usize = 5;

/// Runs until the input ends.
pub async fn run(client: &Client, mut listener: Listener, with: Option<Mailbox>) -> Result<(), Failure> {
    let mut talk = Talk { client, with: None, roster: Roster::default() };
    print("/help shows what can be written; /quit leaves.\n");
    if let Some(with) = with {
        talk.turn_to(with)?;
    }
    let mut lines = lines();
    loop {
        tokio::select! {
            incoming = listener.next() => match incoming {
                Some(Incoming::State(Link::Refused(text))) => return Err(Failure::new(exit::PERMISSION, text)),
                Some(incoming) => talk.tell(incoming).await,
                None => return Ok(()),
            },
            line = lines.recv() => match line {
                Some(line) if !talk.obey(&line).await? => {}
                _ => return Ok(()),
            },
        }
    }
}

/// Lines of standard input, read by a thread of their own.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn goes_to(with: &Mailbox) -> String {
    format!("* what you write now goes to {}\n", clean::address(with))
}

struct Talk<'a> {
    client: &'a Client,
    with: Option<Mailbox>,
    /// How others are, and who asks.
    roster: Roster,
}

impl Talk<'_> {
    async fn tell(&mut self, incoming: Incoming) {
        if let Incoming::Presence(news) = &incoming {
            let changes = self.roster.take(news);
            return changes.iter().for_each(|change| print(&format!("* {}\n", show_change(change, "/"))));
        }
        print(&show_incoming(&incoming));
        let Incoming::Message(message) = incoming else { return };
        if message.wants_displayed {
            match self.client.account().displayed {
                Displayed::Yes => {
                    if let Err(error) = self.client.displayed(&message, false).await {
                        print(&format!("* the displayed notice was not sent: {error}\n"));
                    }
                }
                Displayed::Ask => print("* the author asks to be told that you have seen this; /displayed tells\n"),
                Displayed::No => {}
            }
        }
        match &self.with {
            None => {
                print(&goes_to(&message.from));
                self.with = Some(message.from);
            }
            Some(with) if with.key() != message.from.key() => return,
            Some(_) => {}
        }
        self.read();
    }

    fn read(&self) {
        if let Some(with) = &self.with
            && let Err(error) = self.client.read(with)
        {
            print(&format!("* {error}\n"));
        }
    }

    fn turn_to(&mut self, with: Mailbox) -> Result<(), Failure> {
        let mut lines = Vec::new();
        {
            let history = self.client.history();
            let conversation = history.index().conversation(&with);
            let skip = conversation.len().saturating_sub(SHOWN);
            lines.extend(conversation[skip..].iter().map(|message| crate::client::cli::show_message(message)));
        }
        lines.iter().for_each(|line| print(line));
        print(&goes_to(&with));
        self.with = Some(with);
        self.read();
        Ok(())
    }

    /// True to leave.
    async fn obey(&mut self, line: &str) -> Result<bool, Failure> {
        if line.trim().is_empty() {
            return Ok(false);
        }
        let Some(order) = Order::parse(line) else {
            let text = if line.starts_with("//") { &line[1..] } else { line };
            self.send(text, None).await;
            return Ok(false);
        };
        match order {
            Order::Quit => return Ok(true),
            Order::Help => print(&format!("{HELP}\n")),
            Order::To(name) => {
                let found = self.client.history().partner(&name);
                match found {
                    Some(with) => self.turn_to(with)?,
                    None => print(&format!("* {name:?} is no address, and no name that is only one\n")),
                }
            }
            Order::Attach(file, text) => self.send(&text, Some(file)).await,
            Order::Save => self.save(),
            Order::Displayed => {
                let ids = self.with.as_ref().map(|with| self.asking(with)).unwrap_or_default();
                match screen::tell_displayed(self.client, &ids, true).await {
                    Ok(()) => print(&format!("* told of {} messages\n", ids.len())),
                    Err(error) => print(&format!("* {error}\n")),
                }
            }
            Order::Unknown(text) => print(&format!("* {text}\n")),
            presence => match self.presence(presence).await {
                Ok(lines) => lines.iter().for_each(|line| print(&format!("* {line}\n"))),
                Err(error) => print(&format!("* {error}\n")),
            },
        }
        Ok(false)
    }

    /// What is about presence; what is to be said of it.
    async fn presence(&mut self, order: Order) -> Result<Vec<String>, ClientError> {
        let lines = |list: Vec<String>, nobody: &str| if list.is_empty() { vec![nobody.to_owned()] } else { list };
        match order {
            Order::Status(status, time) => {
                self.client.say_status(&status, time).await?;
                let until = time.map(|time| show_time(System::new().now().after(time)));
                Ok(vec![told(&status, until)])
            }
            Order::Watch(name) => {
                let who = self.about(&name)?;
                self.client.ask_to_watch(&who).await?;
                Ok(vec![format!("asked {}; the answer comes by itself", clean::line(&who.to_string()))])
            }
            Order::Unwatch(name) => {
                let who = self.about(&name)?;
                self.client.unwatch(&who).await?;
                self.roster.forget(&who);
                Ok(vec![format!("{} is watched no more", clean::line(&who.to_string()))])
            }
            Order::Treat(how, name) => {
                let name = if name.is_empty() { self.about(&name)?.to_string() } else { name };
                let who = party(self.client, &name).map_err(ClientError::Message)?;
                let mut said = vec![treated(&who, how)];
                said.extend(self.client.treat(&who, how).await?);
                Ok(said)
            }
            Order::Contacts => {
                let list = self.roster.views().map(ToString::to_string).collect();
                Ok(lines(list, "you watch nobody; /watch ADDRESS asks to"))
            }
            Order::Watchers => {
                let list = self.roster.watchers().iter().map(ToString::to_string).collect();
                Ok(lines(list, "nobody watches you"))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Somebody that is named; without a name, the person with whom one talks.
    fn about(&self, name: &str) -> Result<Mailbox, ClientError> {
        let found = if name.is_empty() { self.with.clone() } else { self.client.history().partner(name) };
        found.ok_or_else(|| ClientError::Message(format!("{name:?} is no address, and no name that is only one")))
    }

    fn asking(&self, with: &Mailbox) -> Vec<String> {
        let history = self.client.history();
        let index = history.index();
        let asks = |message: &&history::Message| match message {
            history::Message::In(it) => it.wants_displayed && !index.has_told(&it.from, &it.id),
            history::Message::Out { .. } => false,
        };
        index.conversation(with).into_iter().filter(asks).map(|message| message.id().to_owned()).collect()
    }

    fn save(&self) {
        let id = self.with.as_ref().and_then(|with| {
            let history = self.client.history();
            let conversation = history.index().conversation(with);
            let found = conversation.iter().rev().find(|message| !message.attachments().is_empty());
            found.map(|message| message.id().to_owned())
        });
        match id {
            Some(id) => print(&format!("* {}\n", screen::save(self.client, &id, Path::new(".")))),
            None => print("* no message here has attachments\n"),
        }
    }

    async fn send(&self, text: &str, file: Option<String>) {
        let Some(with) = &self.with else { return print("* with whom? /to ADDRESS\n") };
        let attachments: Vec<PathBuf> = file.into_iter().map(PathBuf::from).collect();
        let elsewhere = {
            let history = self.client.history();
            history.index().answers_elsewhere(with).map(|(id, to)| (id.to_owned(), to.to_vec()))
        };
        let (reply_to, to) = elsewhere.map_or_else(|| (None, vec![with.clone()]), |(id, to)| (Some(id), to));
        let names: Vec<String> = to.iter().map(clean::address).collect();
        let (text, protect) = (text.to_owned(), Protect::Possible);
        let message = Message { to, text, attachments, reply_to, receipt: true, protect, ..Message::default() };
        match self.client.send(message).await {
            Ok(sent) => {
                let fates = crate::client::cli::show_fates(&sent.fates);
                print(&format!("* to {}: {fates}\n", names.join(", ")));
                if let Some(reason) = sent.waits {
                    print(&format!("* it waits in the outbox: {reason}\n"));
                }
            }
            Err(error) => print(&format!("* not sent: {error}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_command_nothing() {
        let with = Mailbox::parse("a\u{202e}b@a.test").unwrap();
        assert_eq!(goes_to(&with), "* what you write now goes to a\u{fffd}b@a.test\n");
    }
}
