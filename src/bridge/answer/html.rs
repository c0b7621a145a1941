//! HTML as lines with their depth of quotation, and what mail programs mark in it.
//!
//! In: any text. Out: [`Line`]s, at most [`LINES`]. Invariant: one pass over the tokens, with a stack of at most twice [`DEPTH`]
//! elements of which at most [`SEARCH`] are looked at for an end tag, so the work is linear whatever is nested in what; no
//! reference in it is followed. An element beyond the depth counts as if it were not there.

use html5gum::{EndTag, StartTag, Token, Tokenizer};

use super::{LINES, Line, Mark};

/// Elements in each other that are looked at.
const DEPTH: usize = 256;
/// Elements that an end tag may close at once.
const SEARCH: usize = 64;
/// Characters of a line.
const LINE_CHARS: usize = 16 * 1024;

/// An element that is open.
struct Open {
    name: Vec<u8>,
    /// What held before it.
    quote: u8,
    mark: Mark,
    hidden: bool,
    pre: bool,
    /// Whether an empty line follows.
    apart: bool,
    /// The next number of an ordered list; `None`: another list or none.
    number: Option<u32>,
}

#[derive(Default)]
struct Renderer {
    lines: Vec<Line>,
    current: String,
    stack: Vec<Open>,
    quote: u8,
    mark: Mark,
    hidden: bool,
    pre: bool,
    /// White space that is due before the next word.
    space: bool,
    /// An empty line that is due before the next line.
    gap: bool,
}

/// The lines of `html`.
pub(super) fn lines(html: &str) -> Vec<Line> {
    let mut renderer = Renderer::default();
    for token in Tokenizer::new(html) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => renderer.start(&tag),
            Token::EndTag(tag) => renderer.end(&tag),
            Token::String(text) => renderer.text(&String::from_utf8_lossy(&text.value)),
            _ => {}
        }
        if renderer.lines.len() >= LINES {
            break;
        }
    }
    renderer.break_line();
    renderer.lines
}

fn is_block(name: &[u8]) -> bool {
    matches!(
        name,
        b"p" | b"div"
            | b"blockquote"
            | b"ul"
            | b"ol"
            | b"li"
            | b"table"
            | b"tr"
            | b"pre"
            | b"h1"
            | b"h2"
            | b"h3"
            | b"h4"
            | b"h5"
            | b"h6"
            | b"section"
            | b"article"
            | b"header"
            | b"footer"
            | b"dl"
            | b"dt"
            | b"dd"
            | b"address"
            | b"center"
            | b"fieldset"
            | b"form"
            | b"tbody"
            | b"thead"
            | b"body"
            | b"html"
    )
}

fn is_hidden(name: &[u8]) -> bool {
    matches!(
        name,
        b"head" | b"style" | b"script" | b"title" | b"template" | b"noscript" | b"object" | b"svg" | b"select"
    )
}

/// Elements whose next of the same kind ends them (HTML leaves their end tags out).
fn ends_itself(name: &[u8]) -> bool {
    matches!(name, b"p" | b"li" | b"tr" | b"td" | b"th" | b"dt" | b"dd")
}

/// The value of an attribute in lower case; empty where there is none.
fn attribute(tag: &StartTag<()>, name: &str) -> String {
    let value = tag.attributes.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).to_lowercase());
    value.unwrap_or_default()
}

/// What a mail program says that an element is.
fn marked(tag: &StartTag<()>) -> Option<Mark> {
    let class = attribute(tag, "class");
    let id = attribute(tag, "id");
    let classed = |names: &[&str]| class.split_ascii_whitespace().any(|one| names.contains(&one));
    let id = id.strip_prefix("x_").unwrap_or(&id);
    let cuts = ["divrplyfwdmsg", "appendonsend", "olk_src_body_section", "mail-editor-reference-message-container"];
    let signs = ["signature", "ms-outlook-mobile-signature", "applemailsignature"];
    if classed(&["moz-forward-container"]) {
        Some(Mark::Forward)
    } else if cuts.contains(&id)
        || classed(&["outlookmessageheader", "yahoo_quoted", "ms-outlook-mobile-reference-message", "zmail_extra"])
    {
        Some(Mark::Cut)
    } else if classed(&["moz-cite-prefix", "gmail_attr"]) || id == "reply-intro" {
        Some(Mark::Attribution)
    } else if signs.contains(&id)
        || classed(&["gmail_signature", "moz-signature", "protonmail_signature_block"])
        || attribute(tag, "data-smartmail") == "gmail_signature"
    {
        Some(Mark::Signature)
    } else {
        None
    }
}

/// Whether an element holds what somebody else wrote.
fn quotes(tag: &StartTag<()>) -> bool {
    let style: String = attribute(tag, "style").chars().filter(|c| !c.is_whitespace()).collect();
    match &tag.name[..] {
        // Programs indent by blockquotes without a border.
        b"blockquote" => !style.contains("border:none") || style.contains("border-left:"),
        b"div" => style.contains("border-left:solid") || attribute(tag, "name") == "quote",
        _ => false,
    }
}

impl Renderer {
    fn start(&mut self, tag: &StartTag<()>) {
        let name = &tag.name[..];
        match name {
            b"br" => return self.line_break(),
            b"hr" => return self.rule(),
            b"img" => return self.image(tag),
            b"td" | b"th" => self.space = true,
            _ => {}
        }
        let mark = marked(tag);
        if !(is_block(name) || is_hidden(name) || mark.is_some()) || tag.self_closing {
            return;
        }
        if ends_itself(name) && self.stack.last().is_some_and(|open| open.name == name) {
            self.close();
        }
        if is_block(name) {
            self.break_line();
        }
        if attribute(tag, "style").replace(' ', "").contains("border-top:solid") {
            self.push(String::new(), Mark::Divider);
        }
        // What is not to be seen is not to be seen at any depth.
        if self.stack.len() >= if is_hidden(name) { 2 * DEPTH } else { DEPTH } {
            return;
        }
        // Paragraphs of Word have no space between them.
        let apart = matches!(name, b"p" | b"ul" | b"ol" | b"pre" | b"h1" | b"h2" | b"h3")
            && !attribute(tag, "class").starts_with("mso")
            && !(matches!(name, b"ul" | b"ol") && self.stack.iter().any(|open| open.number.is_some()));
        self.gap |= apart;
        let number = matches!(name, b"ol").then_some(1).or(matches!(name, b"ul").then_some(0));
        let (quote, hidden, pre) = (self.quote, self.hidden, self.pre);
        self.stack.push(Open { name: name.to_vec(), quote, mark: self.mark, hidden, pre, apart, number });
        self.hidden |= is_hidden(name);
        self.pre |= name == b"pre";
        if quotes(tag) {
            self.quote = self.quote.saturating_add(1);
        }
        if let Some(mark) = mark {
            self.mark = mark;
            if matches!(mark, Mark::Cut | Mark::Forward) {
                self.break_line();
                self.push(String::new(), mark);
            }
        }
        if name == b"li" {
            self.item();
        }
    }

    fn item(&mut self) {
        let number = self.stack.iter_mut().rev().find_map(|open| open.number.as_mut());
        let sign = match number {
            Some(0) | None => "- ".to_owned(),
            Some(number) => {
                *number = number.saturating_add(1);
                format!("{}. ", *number - 1)
            }
        };
        if !self.hidden {
            self.current.push_str(&sign);
        }
    }

    fn end(&mut self, tag: &EndTag<()>) {
        let name = &tag.name[..];
        let searched = self.stack.iter().rev().take(SEARCH);
        if let Some(above) = searched.into_iter().position(|open| open.name == name) {
            for _ in 0..=above {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let Some(open) = self.stack.last() else { return };
        if is_block(&open.name) {
            self.break_line();
        }
        if let Some(open) = self.stack.pop() {
            self.gap |= open.apart;
            (self.quote, self.mark, self.hidden, self.pre) = (open.quote, open.mark, open.hidden, open.pre);
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden {
            return;
        }
        for c in text.chars() {
            match c {
                '\n' if self.pre => self.line_break(),
                '\r' => {}
                ' ' | '\t' | '\n' | '\x0c' if !self.pre => self.space = true,
                '\u{200b}' | '\u{feff}' | '\u{ad}' => {}
                c => {
                    if std::mem::take(&mut self.space) && !self.current.is_empty() {
                        self.current.push(' ');
                    }
                    if self.current.len() < LINE_CHARS {
                        self.current.push(if c == '\u{a0}' { ' ' } else { c });
                    }
                }
            }
        }
    }

    fn image(&mut self, tag: &StartTag<()>) {
        let alternative = tag.attributes.get(&b"alt"[..]).map(|value| String::from_utf8_lossy(value).into_owned());
        if let Some(words) = alternative.filter(|words| !words.trim().is_empty()) {
            self.text(&words);
        }
    }

    fn rule(&mut self) {
        self.break_line();
        self.push(String::new(), Mark::Divider);
    }

    /// Ends the line, be it empty.
    fn line_break(&mut self) {
        if !self.hidden {
            let text = std::mem::take(&mut self.current);
            self.space = false;
            self.write(text);
        }
    }

    /// Ends the line if there is one.
    fn break_line(&mut self) {
        self.space = false;
        if !self.current.is_empty() {
            let text = std::mem::take(&mut self.current);
            self.write(text);
        }
    }

    fn write(&mut self, text: String) {
        if std::mem::take(&mut self.gap) && self.lines.last().is_some_and(|last| !last.is_blank()) {
            self.push(String::new(), self.mark);
        }
        let text = if self.pre { text } else { text.trim().to_owned() };
        self.push(text, self.mark);
    }

    fn push(&mut self, text: String, mark: Mark) {
        // A mark on an element counts once for what follows too.
        let mark = if matches!(self.mark, Mark::Cut | Mark::Forward) && mark == Mark::Plain { self.mark } else { mark };
        self.lines.push(Line { quote: self.quote, text, mark });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(html: &str) -> Vec<String> {
        let show = |line: Line| format!("{}{}", ">".repeat(line.quote.into()), line.text);
        lines(html).into_iter().map(show).collect()
    }

    #[test]
    fn text_of_html() {
        let check = |html: &str, expected: &[&str]| assert_eq!(shown(html), expected, "{html}");
        check("<p>One<p>two &amp; <b>three</b>", &["One", "", "two & three"]);
        check("a<br>b<br/>\n<br>c", &["a", "b", "", "c"]);
        check("<div>a</div><div><br></div><div>b</div>", &["a", "", "b"]);
        check("<ul><li>a<li>b</ul><ol><li>c</li><li>d</li></ol>", &["- a", "- b", "", "1. c", "2. d"]);
        check("<pre>a\n  b</pre>", &["a", "  b"]);
        check("<style>x{}</style><script>y</script><title>t</title>z", &["z"]);
        check("<p class=MsoNormal>a</p><p class=MsoNormal>&nbsp;</p><p class=MsoNormal>b</p>", &["a", "", "b"]);
        check("a<blockquote type=cite>b<blockquote>c</blockquote></blockquote>d", &["a", ">b", ">>c", "d"]);
        check("<blockquote style='margin: 0 0 0 40px; border: none; padding: 0'>a</blockquote>", &["a"]);
        check("<img src=x alt=':-)'><img src=y>", &[":-)"]);
        check("<table><tr><td>a<td>b<tr><td>c</table>", &["a b", "c"]);
    }

    #[test]
    fn marks() {
        let marks = |html: &str| lines(html).into_iter().map(|line| line.mark).collect::<Vec<_>>();
        assert_eq!(marks("a<div class='gmail_attr' dir=ltr>On</div>b"), [Mark::Plain, Mark::Attribution, Mark::Plain]);
        assert_eq!(marks("a<div id=appendonsend></div><hr>b"), [Mark::Plain, Mark::Cut, Mark::Divider, Mark::Plain]);
        assert_eq!(marks("<div class=gmail_signature>a<br>b</div>"), [Mark::Signature, Mark::Signature]);
    }

    #[test]
    fn whatever_is_nested() {
        let deep = "<div><blockquote>".repeat(100_000) + "x";
        assert!(lines(&deep).len() <= LINES);
        let ends = "<div>".repeat(1000) + &"</p></table>".repeat(100_000);
        assert!(lines(&ends).is_empty());
        assert!(lines(&"<br>".repeat(LINES * 3)).len() <= LINES + 1);
    }
}
