//! What people read about the keys, written from [`super::keys`]: the sample file and the list in the manual.

use super::keys::{Default, Info, SECTIONS, Section};

/// Columns of a comment in the sample.
const WIDTH: usize = 100;

/// Columns of the source of the manual.
const MANUAL_WIDTH: usize = 78;

/// The text of `conf/impart.toml`: every key, its meaning, and its default or an example.
pub fn sample() -> String {
    let mut out = String::from(
        "# Configuration of impartd. Every key is here; those that are commented out show their default, or an\n\
         # example. impart.toml(5) says the same; `impartctl check` examines this file and the world around it.\n",
    );
    for section in SECTIONS {
        out.push('\n');
        comment(section.text, &mut out);
        if !section.name.is_empty() {
            let mark = if section.commented { "# " } else { "" };
            out.push_str(&format!("{mark}{}\n", section.heading()));
        }
        for info in section.keys {
            sample_key(section, info, &mut out);
        }
        if section.name == "listen" {
            out.push_str(RELAY);
        }
    }
    out
}

/// A relay needs a certificate; both are switched on together.
const RELAY: &str = "\n# The sockets for the servers of other domains; they need a certificate, below.\n\
                     # [[listen]]\n# service = \"relay\"\n# address = \"[::]:2779\"\n\n\
                     # [[listen]]\n# service = \"relay\"\n# address = \"0.0.0.0:2779\"\n\n\
                     # That for people's programs; it needs a certificate too.\n\
                     # [[listen]]\n# service = \"client\"\n# address = \"[::]:2780\"\n";

fn sample_key(section: &Section, info: &Info, out: &mut String) {
    comment(info.text, out);
    let note = match info.default {
        Default::Required => "Required".to_owned(),
        Default::Value(value) => format!("Default: {value}"),
        Default::Derived(words) => format!("Default: {words}"),
    };
    comment(&format!("{note}. Value: {}.", info.expected), out);
    let active = !section.commented && (info.default == Default::Required || shown(section, info));
    let mark = if active { "" } else { "# " };
    out.push_str(&format!("{mark}{} = {}\n", info.name, info.example));
}

/// Keys with a default that a first run wants to see at work.
fn shown(section: &Section, info: &Info) -> bool {
    matches!((section.name, info.name), ("", "spool") | ("domain", "inboxes"))
}

fn comment(text: &str, out: &mut String) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// The list of sections and keys of `man/impart.toml.5`, in mdoc(7).
pub fn manual() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        match (section.name, section.repeated) {
            ("", _) => out.push_str(".Ss Before the first section\n"),
            (name, true) => {
                out.push_str(&format!(".Ss Section {name}\nWritten {}, any number of times.\n", section.heading()));
            }
            (name, false) => out.push_str(&format!(".Ss Section {name}\nWritten {}.\n", section.heading())),
        }
        sentences(section.text, &mut out);
        out.push_str(".Bl -tag -width Ds\n");
        for info in section.keys {
            out.push_str(&format!(".It Ic {}\n", info.name));
            sentences(info.text, &mut out);
            sentences(&format!("The value is {}.", info.expected), &mut out);
            match info.default {
                Default::Required => out.push_str("There is no default: the key is required.\n"),
                Default::Value(value) => out.push_str(&format!("The default is\n.Ql {} .\n", escape(value))),
                Default::Derived(words) => sentences(&format!("The default is: {words}."), &mut out),
            }
        }
        out.push_str(".El\n");
    }
    out
}

/// Each sentence begins a line, as mdoc wants it; no line could be taken for a request.
fn sentences(text: &str, out: &mut String) {
    let mut line = String::new();
    for word in text.split_whitespace().map(escape) {
        if line.len() + 1 + word.len() > MANUAL_WIDTH || line.ends_with(". ") {
            end_line(&mut line, out);
        }
        line.push_str(if line.is_empty() && word.starts_with(['.', '\'']) { "\\&" } else { "" });
        line.push_str(&word);
        line.push(' ');
    }
    end_line(&mut line, out);
}

fn end_line(line: &mut String, out: &mut String) {
    out.push_str(line.trim_end());
    out.push('\n');
    line.clear();
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('"', "\\(dq")
}
