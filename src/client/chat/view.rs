//! The screen: contacts, the conversation, what is said to the person, and the line in which it writes. Pure: a model in, a
//! frame of cells out. It works from 20×6 cells up; the list of contacts needs 60 columns.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::editor::whole;
use super::model::{Entry, Model};
use super::order::HELP;
use crate::client::clean;
use crate::client::history::State;

/// Columns of the list of contacts, with its border.
const CONTACTS: u16 = 24;
/// Below this there is no list.
const WIDE: u16 = 60;

/// Draws.
pub fn draw(model: &Model, frame: &mut Frame<'_>) {
    let rows =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)]);
    let [title, middle, status, line] = rows.areas(frame.area());
    let bar = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(self::title(model, title.width)).style(bar), title);
    let talk = match middle.width >= WIDE {
        true => {
            let [list, talk] = Layout::horizontal([Constraint::Length(CONTACTS), Constraint::Min(1)]).areas(middle);
            contacts(model, frame, list);
            talk
        }
        false => middle,
    };
    conversation(model, frame, talk);
    frame.render_widget(Paragraph::new(self::status(model)).style(bar), status);
    let (text, column) = model.editor.window(usize::from(line.width).saturating_sub(2));
    frame.render_widget(Paragraph::new(format!("> {text}")), line);
    let x = line.x + 2 + u16::try_from(column).unwrap_or(u16::MAX).min(line.width.saturating_sub(3));
    frame.set_cursor_position(Position::new(x, line.y));
    if model.help {
        help(frame);
    }
}

fn title(model: &Model, width: u16) -> String {
    let who = model.current.as_ref().map_or_else(|| "nobody; /to ADDRESS".to_owned(), ToString::to_string);
    let view = model.current.as_ref().and_then(|who| model.roster.of(who));
    let how = view.map(|view| format!(", {}", view.words())).unwrap_or_default();
    let unread: usize = model.contacts.iter().map(|contact| contact.unread).sum();
    let unread = if unread > 0 { format!(" ({unread} unread)") } else { String::new() };
    let elsewhere =
        model.elsewhere.as_ref().map(|(_, to)| to.iter().map(clean::address).collect::<Vec<_>>().join(", "));
    let elsewhere = elsewhere.map(|to| format!(", answers go to {to}")).unwrap_or_default();
    let text = format!(" impart {} — {}{elsewhere}{unread}{how}", clean::address(&model.me), clean::line(&who));
    cut(&text, usize::from(width))
}

fn status(model: &Model) -> String {
    let typing = model.current.as_ref().filter(|who| model.is_typing(who));
    match typing {
        Some(who) => format!(" {} is typing", clean::address(who)),
        None if model.status.is_empty() => match model.request() {
            Some(request) => format!(" {request}"),
            None => format!(" {}", model.link_words()),
        },
        None => format!(" {} · {}", model.link_words(), model.status),
    }
}

fn contacts(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let current = model.current.as_ref().map(crate::address::Mailbox::key);
    let height = usize::from(area.height);
    let at = model.contacts.iter().position(|contact| Some(contact.address.key()) == current).unwrap_or(0);
    let skip = (at + 1).saturating_sub(height);
    let line = |contact: &super::model::Contact| {
        let unread = if contact.unread > 0 { format!(" {}", contact.unread) } else { String::new() };
        let typing = if model.is_typing(&contact.address) { "…" } else { "" };
        let presence = presence(model, &contact.address);
        let room = usize::from(CONTACTS) - 3 - unread.width() - typing.width() - presence.width();
        let name = cut(&clean::address(&contact.address), room);
        let mark = if Some(contact.address.key()) == current { ">" } else { " " };
        let text = format!("{mark}{name}{presence}{typing}{unread}");
        let style = if contact.unread > 0 { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        Line::styled(text, style)
    };
    let lines: Vec<Line<'_>> = model.contacts.iter().skip(skip).take(height).map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::RIGHT)), area);
}

/// ` +` as [`crate::client::presence::View::mark`] says, ` !` for somebody who asks; nothing for whom one does not watch.
fn presence(model: &Model, who: &crate::address::Mailbox) -> String {
    let key = who.key();
    let asks = |watcher: &crate::client::presence::Watcher| watcher.who.as_ref().is_some_and(|who| who.key() == key);
    match model.roster.of(who) {
        _ if model.roster.requests().any(asks) => " !".to_owned(),
        Some(view) => format!(" {}", view.mark()),
        None => String::new(),
    }
}

/// From the bottom up: no more is laid out than is scrolled to.
fn conversation(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut rows: Vec<Line<'_>> = Vec::new();
    for (at, entry) in model.entries.iter().enumerate().rev() {
        if rows.len() >= model.scroll + height {
            break;
        }
        rows.extend(self::entry(entry, width).into_iter().rev());
        // In a row of its own, where no text ever begins, and where it changes: nothing is signed unless a row says so.
        let before = model.entries[..at].iter().rev().find(|other| other.own == entry.own);
        if before.map_or("unsigned", |other| &other.mark) != entry.mark {
            let who = if entry.own { "me: " } else { "" };
            let style = Style::new().add_modifier(Modifier::ITALIC);
            let words = format!("[{who}{}]", entry.mark);
            rows.extend(wrap(&words, width.max(4)).into_iter().rev().map(|row| Line::styled(row, style)));
        }
    }
    let skip = model.scroll.min(rows.len().saturating_sub(1));
    let mut shown: Vec<Line<'_>> = rows.into_iter().skip(skip).take(height).collect();
    let empty = height - shown.len();
    shown.reverse();
    let place = Rect {
        y: area.y + u16::try_from(empty).unwrap_or(0),
        height: area.height - u16::try_from(empty).unwrap_or(0),
        ..area
    };
    frame.render_widget(Paragraph::new(shown), place);
}

/// `12:00 me: text ✓✓`, further rows indented.
fn entry(entry: &Entry, width: usize) -> Vec<Line<'static>> {
    let time = entry.date.rfc3339_local().get(11..16).unwrap_or_default().to_owned();
    let who = if entry.own { "me" } else { "  " };
    let marks = marks(entry);
    let text = if marks.is_empty() { entry.text.clone() } else { format!("{} {marks}", entry.text.trim_end()) };
    let head = format!("{time} {who} ");
    let indent = " ".repeat(head.width());
    let style = if entry.own { Style::new().add_modifier(Modifier::DIM) } else { Style::new() };
    let rows = wrap(&text, width.saturating_sub(head.width()).max(4));
    let line = |(at, row): (usize, String)| {
        let lead = if at == 0 { head.clone() } else { indent.clone() };
        Line::from(vec![Span::styled(lead, Style::new().add_modifier(Modifier::DIM)), Span::styled(row, style)])
    };
    rows.into_iter().enumerate().map(line).collect()
}

fn marks(entry: &Entry) -> String {
    let Some(first) = entry.fates.first() else { return String::new() };
    let least = entry.fates.iter().map(|fate| fate.state).min().unwrap_or(first.state);
    let failed = entry.fates.iter().find(|fate| fate.state == State::Failed);
    match failed {
        Some(fate) => {
            let reason = fate.reason.as_deref().map(clean::line).unwrap_or_default();
            format!("{} {reason}", State::Failed.mark())
        }
        None => least.mark().to_owned(),
    }
}

/// Breaks a text into rows of so many columns, at spaces where there are some.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let mut row = String::new();
        let mut columns = 0;
        for word in line.split_inclusive(' ') {
            let wide = word.trim_end().width();
            if columns > 0 && columns + wide > width {
                rows.push(std::mem::take(&mut row));
                columns = 0;
            }
            for c in word.chars() {
                let wide = c.width().unwrap_or(0);
                if columns + wide > width && c != ' ' {
                    rows.push(std::mem::take(&mut row));
                    columns = 0;
                }
                row.push(c);
                columns += wide;
            }
        }
        rows.push(row);
    }
    rows.iter_mut().for_each(|row| row.truncate(whole(row.trim_end()).len()));
    rows
}

/// The beginning of a text that fits, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut columns = 1;
    for c in text.chars() {
        columns += c.width().unwrap_or(0);
        if columns > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let height = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let width = 78.min(area.width);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::new().borders(Borders::ALL).title(" any key goes back ");
    frame.render_widget(Paragraph::new(HELP).block(block), place);
}
