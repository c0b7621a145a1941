//! Rows as lines of text: padded columns, no colour, the same in a pipe.

use super::protocol::{Changed, Destination, Entity, Finding, Level, Message, MessageState, Row, Status};
use crate::printable;

/// Heading of the queue's list.
pub const QUEUE_HEADING: &str =
    "ID          SIZE     ARRIVED                    SENDER                    RECIPIENT                 REASON";

/// Text that a terminal cannot take for a command.
fn plain(text: &str) -> String {
    printable::plain(text, '?')
}

/// An RFC 3339 time in the host's zone.
fn local(time: &str) -> String {
    let Ok(time) = time.parse::<jiff::Timestamp>() else { return plain(time) };
    crate::timestamp::Timestamp::from_millis(time.as_millisecond()).rfc3339_local()
}

/// A row as text, its last line ended.
pub fn row(row: &Row) -> String {
    match row {
        Row::Status(row) => status(row),
        Row::Destination(row) => destination(row),
        Row::Message(row) => message(row),
        Row::Entity(row) => entity(row),
        Row::Changed(row) => changed(row),
        Row::Finding(row) => finding(row),
    }
}

/// Octets with a unit.
pub fn size(octets: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if octets < 1024 {
        return format!("{octets} B");
    }
    let mut value = octets as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn status(row: &Status) -> String {
    let state = match (&row.read_only, row.draining) {
        (_, true) => "ending".to_owned(),
        (Some(reason), _) => format!("takes nothing: {}", plain(reason)),
        (None, false) => "running".to_owned(),
    };
    let lines = [
        ("impartd", format!("{} on {}, process {}, since {}", row.version, row.host, row.pid, local(&row.started))),
        ("state", state),
        ("queue", format!("{} messages, {}; {} in delivery", row.messages, size(row.octets), row.in_delivery)),
        ("connections", format!("{} from outside, {} to other servers", row.connections_in, row.connections_out)),
        (
            "clients",
            format!(
                "{} attached, to {} inboxes; {} devices known, {} messages kept for them",
                row.attached, row.attached_inboxes, row.devices, row.owed
            ),
        ),
        ("accepted", format!("{} messages, {} second copies dropped", row.accepted, row.duplicates)),
        (
            "recipients",
            format!("{} delivered, {} failed, {} attempts deferred", row.delivered, row.failed, row.deferred),
        ),
    ];
    lines.iter().map(|(name, text)| format!("{name:<12} {}\n", plain(text))).collect()
}

fn destination(row: &Destination) -> String {
    let next = row.next.as_deref().map(|next| format!(", next attempt {}", local(next))).unwrap_or_default();
    let reason = row.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
    let (name, waiting) = (plain(&row.name), row.waiting);
    format!("{name:<28} {waiting:>8} waiting, {:>5} in delivery{next}{reason}\n", row.in_delivery)
}

/// One line for each recipient that is open or kept for further devices; the first has what is the message's own. A held message's id is followed by `!`.
fn message(row: &Message) -> String {
    let mark = if row.state == MessageState::Held { "!" } else { "" };
    let sender = if row.sender.is_empty() { "<>".to_owned() } else { plain(&row.sender) };
    let own = format!("{:<11} {:<8} {:<26} {sender:<25}", format!("{}{mark}", row.id), row.size, local(&row.arrived));
    let mut out = String::new();
    for recipient in row.recipients.iter().filter(|recipient| matches!(recipient.state.as_str(), "open" | "owed")) {
        let first = if out.is_empty() { own.clone() } else { " ".repeat(own.chars().count()) };
        let reason = recipient.reason.as_deref().map(|reason| format!("({})", plain(reason))).unwrap_or_default();
        let line = format!("{first} {:<25} {reason}", plain(&recipient.address));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if out.is_empty() { format!("{}\n", own.trim_end()) } else { out }
}

/// A message alone, all of it.
pub fn detail(row: &Message) -> String {
    let mut lines = vec![
        ("id", row.id.clone()),
        ("state", format!("{:?}", row.state).to_lowercase()),
        ("class", row.class.clone()),
        ("size", row.size.to_string()),
        ("arrived", local(&row.arrived)),
        ("expires", local(&row.expires)),
        ("sender", if row.sender.is_empty() { "<>".to_owned() } else { row.sender.clone() }),
    ];
    lines.extend(row.next.iter().map(|next| ("next", local(next))));
    lines.extend(row.envid.iter().map(|envid| ("envid", envid.clone())));
    for recipient in &row.recipients {
        let attempts =
            if recipient.attempts == 0 { String::new() } else { format!(", {} attempts", recipient.attempts) };
        let reason = recipient.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(("recipient", format!("{} {}{attempts}{reason}", recipient.address, recipient.state)));
    }
    lines.iter().map(|(name, text)| format!("{name:<12} {}\n", plain(text))).collect()
}

fn entity(row: &Entity) -> String {
    let stays = |c: char| matches!(c, '\n' | '\t') || printable::obeyed(c).is_none();
    let text: String = row.text.chars().map(|c| if stays(c) { c } else { '?' }).collect();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let cut = if row.cut { "[cut here]\n" } else { "" };
    format!("\n{text}{end}{cut}")
}

fn changed(row: &Changed) -> String {
    let recipients = row.recipients.iter().map(|address| format!(" {}", plain(address))).collect::<String>();
    format!("{:<11} {:<9}{recipients}", plain(&row.id), plain(&row.what)).trim_end().to_owned() + "\n"
}

fn finding(row: &Finding) -> String {
    let level = match row.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let mut out = String::new();
    for (index, line) in row.text.lines().enumerate() {
        let (level, subject) = if index == 0 { (level, row.subject.as_str()) } else { ("", "") };
        out.push_str(format!("{level:<8} {:<32} {}", plain(subject), plain(line)).trim_end());
        out.push('\n');
    }
    for line in row.remedy.iter().flat_map(|remedy| remedy.lines()) {
        out.push_str(&format!("{:<8} {:<32} -> {}\n", "", "", plain(line)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::select::tests::record;
    use super::*;

    #[test]
    fn messages_have_a_line_for_each_open_recipient() {
        let mut message = Message::of(&record(7));
        let text = row(&Row::Message(message.clone()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("0000000007  1024     "), "{}", lines[0]);
        assert!(lines[0].ends_with("bob@b.example             (Connection Refused)"), "{}", lines[0]);
        assert_eq!(lines[1].trim_start(), "carol@c.example");
        assert_eq!(lines[1].find("carol"), QUEUE_HEADING.find("RECIPIENT"));
        assert_eq!(lines[0].find("alice"), QUEUE_HEADING.find("SENDER"));
        message.state = MessageState::Held;
        assert!(row(&Row::Message(message)).starts_with("0000000007! "));
    }

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let mut message = Message::of(&record(7));
        message.recipients[0].reason = Some("\u{1b}[2J\r\nx".to_owned());
        for text in [row(&Row::Message(message.clone())), detail(&message)] {
            assert!(text.contains("?[2J??x"), "{text}");
        }
        let entity = Entity { id: "1".into(), text: "a\u{1b}b\n".into(), cut: true };
        assert_eq!(row(&Row::Entity(entity)), "\na?b\n[cut here]\n");
    }

    #[test]
    fn findings() {
        let found = Finding::error("dns a.example", "no record\nreally", "publish it");
        let indent = " ".repeat(42);
        let expected = format!("error    {:<33}no record\n{indent}really\n{indent}-> publish it\n", "dns a.example");
        assert_eq!(row(&Row::Finding(found)), expected);
    }

    #[test]
    fn sizes() {
        assert_eq!([size(1023), size(1536), size(3 << 30)], ["1023 B", "1.5 KiB", "3.0 GiB"]);
    }
}
