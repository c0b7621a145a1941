//! What passes through the daemon, live: the queue by destination, rates, sessions.
//!
//! In: what `status` says, twice. Out: lines of text, the same on a screen and in a pipe. Pure but for [`watch`], which
//! asks and draws.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use super::client::{Client, ClientError};
use super::protocol::{Call, Destination, Row, Status};
use super::show::{local, plain, size};

/// What was said at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How the daemon fares.
    pub status: Status,
    /// Destinations with work.
    pub destinations: Vec<Destination>,
    /// When it was asked.
    pub at: Instant,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The daemon.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The terminal.
    #[error("the terminal: {0}; try --once")]
    Terminal(#[from] std::io::Error),
}

/// The screen: so many lines at most.
pub fn lines(now: &Sample, before: &Sample, most: usize) -> Vec<String> {
    let Status { host, messages, octets, owed, in_delivery, .. } = &now.status;
    let passed = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
    let rate = |count: fn(&Status) -> u64| {
        // A daemon that was started in between counts from the beginning.
        let (now, before) = (count(&now.status), count(&before.status));
        now.saturating_sub(if now < before { 0 } else { before }) as f64 / passed
    };
    let status = &now.status;
    let state = match (&status.read_only, status.draining) {
        (_, true) => "ending".to_owned(),
        (Some(why), _) => format!("takes nothing: {}", plain(why)),
        (None, false) => format!("since {}", local(&status.started)),
    };
    let mut lines = vec![
        format!("impartd {} on {}: {state}", plain(&status.version), plain(host)),
        format!("queue     {messages} messages, {}; {in_delivery} in delivery; {owed} kept for devices", size(*octets)),
        format!(
            "sessions  {} in, {} out; {} clients attached to {} inboxes",
            status.connections_in, status.connections_out, status.attached, status.attached_inboxes
        ),
        format!(
            "a second  {:.1} accepted, {:.1} delivered, {:.1} deferred, {:.1} failed, {:.1} notifications",
            rate(|s| s.accepted),
            rate(|s| s.delivered),
            rate(|s| s.deferred),
            rate(|s| s.failed),
            rate(|s| s.notified)
        ),
        format!(
            "in all    {} accepted, {} delivered, {} deferred, {} failed, {} notifications; {} due",
            status.accepted,
            status.delivered,
            status.deferred,
            status.failed,
            status.notified,
            status.notifications_due
        ),
        String::new(),
        "WAITING  FLYING  NEXT                       DESTINATION".to_owned(),
    ];
    let mut destinations: Vec<&Destination> = now.destinations.iter().collect();
    destinations.sort_by_key(|it| (std::cmp::Reverse(it.waiting + it.in_delivery), it.name.clone()));
    let room = most.saturating_sub(lines.len());
    let shown = if destinations.len() > room { room.saturating_sub(1) } else { destinations.len() };
    for it in &destinations[..shown] {
        let next = it.next.as_deref().map(local).unwrap_or_default();
        let reason = it.reason.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
        lines.push(format!("{:>7}  {:>6}  {next:<25}  {}{reason}", it.waiting, it.in_delivery, plain(&it.name)));
    }
    if shown < destinations.len() && room > 0 {
        lines.push(format!("and {} more", destinations.len() - shown));
    }
    lines.truncate(most);
    lines
}

async fn ask(client: &mut Client) -> Result<Sample, ClientError> {
    let (mut status, mut destinations) = (Status::default(), Vec::new());
    let at = Instant::now();
    client
        .call(Call::Status, |row| match row {
            Row::Status(row) => status = *row,
            Row::Destination(row) => destinations.push(row),
            _ => {}
        })
        .await?;
    Ok(Sample { status, destinations, at })
}

/// Asks every so often, and draws. Once, or where there is no terminal: what was asked twice goes to `print`.
///
/// # Errors
/// Where the daemon does not answer any more, or the terminal cannot be drawn on.
pub async fn watch(control: &Path, interval: Duration, once: bool, print: impl FnOnce(&str)) -> Result<(), TopError> {
    let mut client = Client::connect(control).await?;
    let mut before = ask(&mut client).await?;
    if once || !std::io::stdout().is_terminal() {
        tokio::time::sleep(interval).await;
        let now = ask(&mut client).await?;
        print(&(lines(&now, &before, usize::MAX).join("\n") + "\n"));
        return Ok(());
    }
    let _restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let mut now = before.clone();
    loop {
        terminal.draw(|frame| {
            let lines = lines(&now, &before, usize::from(frame.area().height));
            let text = Text::from(lines.into_iter().map(Line::from).collect::<Vec<_>>());
            frame.render_widget(Paragraph::new(text), frame.area());
        })?;
        if tokio::task::spawn_blocking(move || leaves(interval)).await.map_err(std::io::Error::other)?? {
            return Ok(());
        }
        let next = ask(&mut client).await?;
        before = std::mem::replace(&mut now, next);
    }
}

/// The terminal is as it was when this goes.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Whether somebody wants to leave before the time is over.
fn leaves(within: Duration) -> std::io::Result<bool> {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let control = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if control || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            // It is drawn anew for the new size.
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, seconds: u64, accepted: u64, destinations: usize) -> Sample {
        let destination = |number: usize| Destination {
            name: format!("IM b{number}.example"),
            waiting: number as u64,
            reason: (number == 2).then(|| "refused\u{1b}[2J".to_owned()),
            ..Destination::default()
        };
        Sample {
            status: Status { host: "mx.a.example".to_owned(), accepted, ..Status::default() },
            destinations: (1..=destinations).map(destination).collect(),
            at: at + Duration::from_secs(seconds),
        }
    }

    #[test]
    fn rates_are_those_between_two_samples() {
        let start = Instant::now();
        let check = |before: u64, now: u64, expected: &str| {
            let lines = lines(&sample(start, 2, now, 0), &sample(start, 0, before, 0), 99);
            assert!(lines[3].starts_with(expected), "{lines:?}");
        };
        check(10, 20, "a second  5.0 accepted, 0.0 delivered");
        check(10, 10, "a second  0.0 accepted");
        check(10, 4, "a second  2.0 accepted");
    }

    #[test]
    fn the_longest_lines_of_the_queue_come_first_and_the_screen_is_not_left() {
        let start = Instant::now();
        let (now, before) = (sample(start, 1, 0, 9), sample(start, 0, 0, 9));
        let all = lines(&now, &before, usize::MAX);
        assert_eq!(all.len(), 7 + 9);
        assert!(all[7].ends_with("IM b9.example") && all[7].starts_with("      9       0  "), "{all:?}");
        assert!(all[14].ends_with("IM b2.example: refused?[2J"), "{all:?}");
        let some = lines(&now, &before, 10);
        assert_eq!((some.len(), some[9].as_str()), (10, "and 7 more"));
        assert_eq!(lines(&now, &before, 3).len(), 3);
        assert_eq!(lines(&now, &before, 7).len(), 7);
    }
}
