//! Which lines the person wrote. Pure.
//!
//! In: the lines of a text. Out: a text. In this order: what follows the repeated header of the mail that is answered
//! goes; signatures go; the lines that say who wrote go; of quotations those stay that are answered one by one.

use super::words::{self, Label};
use super::{Line, Mark};

/// Lines of a repeated header, with its empty lines.
const HEADER_LINES: usize = 12;
/// Lines of a signature below `--` without its space, which may be a rule too.
const SIGNATURE_LINES: usize = 15;
/// Lines that may say together who wrote.
const ATTRIBUTION_LINES: usize = 4;
/// Lines that stay of a quotation that is answered.
const KEPT_LINES: usize = 10;

/// Marks before a line that is quoted more often than anybody counts.
const SHOWN_DEPTH: u8 = 8;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Own,
    Quoted,
    Attribution,
    Blank,
    Gone,
}

/// The text that the person wrote; the whole text where nothing would be left.
pub(super) fn reduce(lines: &[Line]) -> String {
    let reduced = reduced(lines);
    if reduced.is_empty() { whole(lines) } else { reduced }
}

/// All lines, quoted ones with their marks.
pub(super) fn whole(lines: &[Line]) -> String {
    text(lines.iter().map(shown))
}

fn shown(line: &Line) -> String {
    match line.quote {
        0 => line.text.clone(),
        quote => format!("{} {}", ">".repeat(usize::from(quote.min(SHOWN_DEPTH))), line.text.trim_start()),
    }
}

/// Lines as a text: at most one empty line after another, none around.
fn text(lines: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    let mut gap = false;
    for line in lines {
        let line = if text.is_empty() { line.trim() } else { line.trim_end() };
        if line.is_empty() {
            gap = !text.is_empty();
            continue;
        }
        if !text.is_empty() {
            text.push_str(if gap { "\n\n" } else { "\n" });
        }
        gap = false;
        text.push_str(line);
    }
    text
}

fn reduced(lines: &[Line]) -> String {
    let end = cut(lines).unwrap_or(lines.len());
    let forwarded = lines[..end]
        .iter()
        .position(|line| line.quote == 0 && (line.mark == Mark::Forward || words::is_forward(&line.text)));
    let (own, passed_on) = lines[..end].split_at(forwarded.unwrap_or(end));
    let mut kinds: Vec<Kind> = own.iter().map(kind).collect();
    attributions(own, &mut kinds);
    let end = certain(own, &kinds);
    let (own, kinds) = (&own[..end], &mut kinds[..end]);
    signatures(own, kinds);
    rules(own, kinds);
    let kept = kept(own, kinds);
    let own = own.iter().zip(kinds).zip(kept).filter_map(|((line, kind), kept)| match kind {
        Kind::Own => Some(shown(line)),
        Kind::Quoted if kept => Some(shown(line)),
        Kind::Blank => Some(String::new()),
        _ => None,
    });
    text(own.chain(passed_on.iter().map(shown)))
}

fn kind(line: &Line) -> Kind {
    match line {
        Line { quote: 1.., .. } => Kind::Quoted,
        Line { mark: Mark::Attribution, .. } => Kind::Attribution,
        Line { mark: Mark::Signature, .. } => Kind::Gone,
        line if line.is_blank() => Kind::Blank,
        _ => Kind::Own,
    }
}

/// Where the mail that is answered begins without being quoted; `None` where the person has written nothing above it.
fn cut(lines: &[Line]) -> Option<usize> {
    let begins = |at: usize| {
        let line = &lines[at];
        line.quote == 0 && (line.mark == Mark::Cut || is_original(&line.text) || is_header(lines, at))
    };
    let at = (0..lines.len()).find(|at| begins(*at))?;
    lines[..at].iter().any(|line| line.quote == 0 && !line.is_blank() && !is_rule(line)).then_some(at)
}

/// `-----Original Message-----`.
fn is_original(text: &str) -> bool {
    let text = text.trim();
    let ruled = ["--", "__", "**", "=="].iter().any(|rule| text.starts_with(rule) && text.ends_with(rule));
    if !ruled || text.chars().count() > 100 {
        return false;
    }
    let folded = words::fold(text);
    let inner = folded.trim_matches(['-', '_', '*', '=', ' ']);
    inner == "original" || words::ORIGINAL.split('|').any(|words| inner.contains(words))
}

/// Whether the header of the mail that is answered is repeated here: three of its fields one below the other, the author
/// among them.
fn is_header(lines: &[Line], at: usize) -> bool {
    if words::label(&lines[at].text).is_none() {
        return is_unknown_header(lines, at);
    }
    let mut seen: Vec<Label> = Vec::new();
    let mut others = 0;
    for line in lines[at..].iter().take(HEADER_LINES).filter(|line| !line.is_blank()) {
        match words::label(&line.text) {
            Some(label) if line.quote == 0 => {
                if !seen.contains(&label) {
                    seen.push(label);
                }
            }
            // A field may go on in a second line.
            _ => others += 1,
        }
        if others > 2 {
            break;
        }
    }
    seen.len() >= 3 && seen.contains(&Label::From) && matches!(seen[0], Label::From | Label::Sent)
}

/// Below a rule, three lines with a colon of which one has an address, in whatever language.
fn is_unknown_header(lines: &[Line], at: usize) -> bool {
    if !is_rule(&lines[at]) {
        return false;
    }
    let below: Vec<&Line> = lines[at + 1..].iter().filter(|line| !line.is_blank()).take(3).collect();
    let field = |line: &&Line| {
        let split = line.text.split_once([':', '：']);
        line.quote == 0 && split.is_some_and(|(name, value)| name.chars().count() <= 25 && !value.trim().is_empty())
    };
    let addressed = |line: &&Line| line.text.contains('@') && line.text.contains('.');
    below.len() == 3 && below.iter().all(|line| field(&line)) && below.iter().any(|line| addressed(&line))
}

fn is_rule(line: &Line) -> bool {
    let text = line.text.trim();
    line.mark == Mark::Divider || (text.len() >= 5 && text.chars().all(|c| matches!(c, '_' | '-' | '—' | '*' | '=')))
}

/// The lines above a quotation that say who wrote it.
fn attributions(lines: &[Line], kinds: &mut [Kind]) {
    for at in 0..lines.len() {
        if kinds[at] != Kind::Quoted || at == 0 || kinds[at - 1] == Kind::Quoted {
            continue;
        }
        let above = kinds[..at].iter().rposition(|kind| *kind != Kind::Blank);
        if let Some(last) = above.filter(|last| kinds[*last] == Kind::Own)
            && let Some(first) = attribution(lines, kinds, last, false)
        {
            kinds[first..=last].fill(Kind::Attribution);
        }
    }
}

/// Where the lines begin that end at `last` and say who wrote.
fn attribution(lines: &[Line], kinds: &[Kind], last: usize, certain: bool) -> Option<usize> {
    let mut joined = String::new();
    let mut found = None;
    for first in (0..=last).rev().take(ATTRIBUTION_LINES).take_while(|first| kinds[*first] == Kind::Own) {
        let line = lines[first].text.trim();
        joined = if joined.is_empty() { line.to_owned() } else { format!("{line} {joined}") };
        if words::is_attribution(&joined, certain) {
            if words::opens_attribution(line) {
                return Some(first);
            }
            found = found.or(Some(first));
        }
    }
    found
}

/// Where a mail begins that is neither quoted nor has its header repeated, but for a line that says who wrote it, and below
/// which nothing is quoted.
fn certain(lines: &[Line], kinds: &[Kind]) -> usize {
    if kinds.contains(&Kind::Quoted) {
        return lines.len();
    }
    let marked = kinds.iter().position(|kind| *kind == Kind::Attribution);
    let told = || {
        let colons =
            (1..lines.len()).filter(|at| kinds[*at] == Kind::Own && lines[*at].text.trim_end().ends_with([':', '：']));
        colons.into_iter().find_map(|last| attribution(lines, kinds, last, true))
    };
    let at = marked.or_else(told).unwrap_or(lines.len());
    if kinds[..at].contains(&Kind::Own) { at } else { lines.len() }
}

/// What stands below the text by itself: a signature, an advertisement.
fn signatures(lines: &[Line], kinds: &mut [Kind]) {
    let mut start = 0;
    while start < lines.len() {
        let ends = |kind: &Kind| matches!(kind, Kind::Quoted | Kind::Attribution);
        let end = kinds[start..].iter().position(ends).map_or(lines.len(), |length| start + length);
        signature(&lines[start..end], &mut kinds[start..end]);
        start = end + 1;
    }
}

/// The signature in a run of lines of which none is quoted.
fn signature(lines: &[Line], kinds: &mut [Kind]) {
    let filled = |from: usize, kinds: &[Kind]| kinds[from..].iter().filter(|kind| **kind == Kind::Own).count();
    let dashes = lines.iter().enumerate().position(|(at, line)| match line.text.as_str() {
        "-- " => true,
        text => matches!(text.trim(), "--" | "—") && filled(at + 1, kinds) <= SIGNATURE_LINES,
    });
    if let Some(at) = dashes {
        kinds[at..].fill(Kind::Gone);
    }
    while let Some(last) = kinds.iter().rposition(|kind| *kind == Kind::Own) {
        if !words::is_advert(&lines[last].text) && !is_rule(&lines[last]) {
            return;
        }
        kinds[last..].fill(Kind::Gone);
    }
}

/// Rules at the end separate from nothing any more.
fn rules(lines: &[Line], kinds: &mut [Kind]) {
    while let Some(last) = kinds.iter().rposition(|kind| *kind == Kind::Own) {
        if !is_rule(&lines[last]) {
            return;
        }
        kinds[last] = Kind::Gone;
    }
}

/// Which quoted lines stay: where quotations and answers take turns, the last paragraph above each answer.
fn kept(lines: &[Line], kinds: &[Kind]) -> Vec<bool> {
    let mut kept = vec![false; lines.len()];
    let answered = answered(kinds);
    for end in answered {
        let start = kinds[..=end].iter().rposition(|kind| *kind != Kind::Quoted).map_or(0, |before| before + 1);
        let written = |at: &usize| !lines[*at].is_blank() && lines[*at].quote == 1;
        let Some(last) = (start..=end).rev().find(written) else { continue };
        let paragraph = (start..=last).rev().take_while(written).take(KEPT_LINES);
        let first = paragraph.last().unwrap_or(last);
        kept[first..=last].fill(true);
    }
    kept
}

/// The last lines of the quotations that are answered below them; empty where one quotation as a whole is answered.
fn answered(kinds: &[Kind]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut quoted = None;
    let mut goes_on = false;
    let mut own = false;
    let mut attributed = false;
    for (at, kind) in kinds.iter().enumerate() {
        match kind {
            Kind::Quoted => {
                // A quotation that goes on after an answer was cut in pieces by the person.
                goes_on |= own && !ends.is_empty() && !attributed;
                quoted = Some(at);
                (own, attributed) = (false, false);
            }
            Kind::Own => {
                ends.extend(quoted.take());
                own = true;
            }
            Kind::Attribution => attributed = true,
            Kind::Blank | Kind::Gone => {}
        }
    }
    if goes_on || ends.len() > 1 { ends } else { Vec::new() }
}
