//! The full screen: keys and news go to the model, its effects to the client, its view to the terminal.

use std::io::stdout;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyEventKind};
use ratatui::crossterm::execute;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::model::{Effect, Input, Model};
use super::view;
use crate::address::Mailbox;
use crate::client::cli::{Failure, exit, show_time, told, treated};
use crate::client::{Client, ClientError, Listener, Message, Protect};
use crate::clock::{Clock as _, System};

/// How often what other processes have added is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// The terminal; as it was before when this goes.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn open() -> std::io::Result<Screen> {
        let terminal = ratatui::try_init()?;
        let screen = Screen(terminal);
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

/// Runs until the person leaves.
pub async fn run(client: &Client, mut listener: Listener, with: Option<Mailbox>) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Failure::new(exit::SOFTWARE, format!("the terminal: {error}; try --line"));
    let mut screen = Screen::open().map_err(fault)?;
    let mut keys = keys();
    let (say, mut said) = mpsc::channel(64);
    let mut driver = Driver { client: client.clone(), say, model: model(client, with), shown: 0, quit: false };
    let clock = System::new();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = signal(SignalKind::terminate()).map_err(fault)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(fault)?;
    let mut listening = true;
    driver.refresh();
    while !driver.quit {
        screen.0.draw(|frame| view::draw(&driver.model, frame)).map_err(fault)?;
        let input = tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => Input::Key(key),
                Some(Event::Paste(text)) => Input::Paste(text),
                Some(_) => continue,
                None => return Ok(()),
            },
            incoming = listener.next(), if listening => match incoming {
                Some(incoming) => Input::News(incoming),
                None => {
                    listening = false;
                    continue;
                }
            },
            Some(input) = said.recv() => {
                driver.refresh_if_changed();
                input
            }
            _ = tick.tick() => {
                driver.refresh_if_changed();
                Input::Tick
            }
            _ = ended.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
        };
        let effects = driver.model.update(input, clock.now());
        driver.perform(effects);
    }
    Ok(())
}

/// The model of an account.
pub(super) fn model(client: &Client, with: Option<Mailbox>) -> Model {
    let account = client.account();
    let mut model = Model::new(account.address.clone(), account.displayed, account.typing);
    model.now = System::new().now();
    model.current = with;
    model
}

/// Keys come from a thread of their own, which ends when nobody wants them.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(1024);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(Duration::from_millis(100)) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(event) = event::read() else { return };
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    receiver
}

struct Driver {
    client: Client,
    say: mpsc::Sender<Input>,
    model: Model,
    /// The revision of the history that the model shows.
    shown: u64,
    quit: bool,
}

impl Driver {
    fn refresh(&mut self) {
        let effects = {
            let mut history = self.client.history();
            let refreshed = history.refresh();
            if let Err(error) = refreshed {
                self.model.status = error.to_string();
            }
            self.shown = history.index().revision();
            self.model.show(history.index())
        };
        self.perform(effects);
    }

    fn refresh_if_changed(&mut self) {
        let changed = {
            let mut history = self.client.history();
            history.refresh().is_ok() && history.index().revision() != self.shown
        };
        if changed {
            self.refresh();
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Quit => self.quit = true,
                Effect::Refresh => self.refresh(),
                Effect::Read(with) => {
                    if let Err(error) = self.client.read(&with) {
                        self.model.status = error.to_string();
                    }
                    // The answer is there before the message is typed, if there is one.
                    let client = self.client.clone();
                    tokio::spawn(async move { client.look_up(&[with], Protect::Possible).await });
                }
                Effect::Send { to, answers, text, file } => self.send(to, answers, text, file),
                Effect::Typing { to, active } => {
                    let client = self.client.clone();
                    // A notice that does not get through is nothing to be told of.
                    tokio::spawn(async move { client.typing(&to, active).await });
                }
                Effect::Displayed(ids, asked) => self.displayed(ids, asked),
                Effect::Status(status, time) => {
                    let until = time.map(|time| show_time(self.model.now.after(time)));
                    let told = told(&status, until);
                    self.ask(move |client: Client| async move {
                        client.say_status(&status, time).await.map(|()| vec![told])
                    });
                }
                Effect::Watch(who) => {
                    let told = format!("asked {who}; the answer comes by itself");
                    self.ask(move |client: Client| async move { client.ask_to_watch(&who).await.map(|()| vec![told]) });
                }
                Effect::Unwatch(who) => {
                    let told = format!("{who} is watched no more");
                    self.ask(move |client: Client| async move { client.unwatch(&who).await.map(|_| vec![told]) });
                }
                Effect::Treat(who, how) => {
                    let told = treated(&who, how);
                    self.ask(move |client: Client| async move {
                        let mut said = vec![told];
                        said.extend(client.treat(&who, how).await?);
                        Ok(said)
                    });
                }
                Effect::Save(id) => self.model.status = save(&self.client, &id, Path::new(".")),
            }
        }
    }

    /// Has the client do something of presence; what comes of it is said.
    fn ask<F>(&self, work: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Result<Vec<String>, ClientError>> + Send + 'static,
    {
        let (work, say) = (work(self.client.clone()), self.say.clone());
        tokio::spawn(async move {
            let text = match work.await {
                Ok(said) => said.join("; "),
                Err(error) => error.to_string(),
            };
            let _ = say.send(Input::Say(text)).await;
        });
    }

    fn send(&mut self, to: Vec<Mailbox>, answers: Option<String>, text: String, file: Option<String>) {
        let attachments: Vec<PathBuf> = file.into_iter().map(PathBuf::from).collect();
        let kept = text.clone();
        let (reply_to, protect) = (answers, Protect::Possible);
        let message = Message { to, text, attachments, reply_to, receipt: true, protect, ..Message::default() };
        if let Err(error) = self.client.queue(message) {
            self.model.status = error.to_string();
            self.model.editor.set(&kept);
            return;
        }
        self.refresh();
        let (client, say) = (self.client.clone(), self.say.clone());
        tokio::spawn(async move {
            let input = match client.flush().await {
                Ok(_) => Input::Say(String::new()),
                Err(error) => Input::Say(format!("it waits in the outbox: {error}")),
            };
            let _ = say.send(input).await;
        });
    }

    fn displayed(&mut self, ids: Vec<String>, asked: bool) {
        let (client, say) = (self.client.clone(), self.say.clone());
        tokio::spawn(async move {
            if let Err(error) = tell_displayed(&client, &ids, asked).await {
                let _ = say.send(Input::Say(error)).await;
            }
        });
    }
}

/// Tells the authors of these messages.
pub(super) async fn tell_displayed(client: &Client, ids: &[String], asked: bool) -> Result<(), String> {
    for id in ids {
        let message = match client.history().index().find(id) {
            Some(crate::client::history::Message::In(received)) => received.clone(),
            _ => continue,
        };
        client.displayed(&message, asked).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Saves the attachments of a message; what to say of it.
pub(super) fn save(client: &Client, id: &str, into: &Path) -> String {
    let history = client.history();
    let Some(message) = history.index().find(id) else { return "the message is gone".to_owned() };
    let mut saved = Vec::new();
    for index in 0..message.attachments().len() {
        match history.save(message, index, into) {
            Ok(path) => saved.push(path.display().to_string()),
            Err(error) => return error.to_string(),
        }
    }
    format!("saved {}", saved.join(", "))
}
