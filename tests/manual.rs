//! The manual against the code, in both directions. (The keys of the configuration: `src/config/tests.rs`, which also
//! writes their list.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use impart::smtp::extension::Extension;
use impart::{client, config, control, limits};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    let path = root().join("man").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check(what: &str, documented: &BTreeSet<String>, real: &BTreeSet<String>) {
    let missing: Vec<_> = real.difference(documented).collect();
    let stale: Vec<_> = documented.difference(real).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "{what}: not in the manual: {missing:?}; not in the code: {stale:?}"
    );
}

fn set<I: IntoIterator<Item = S>, S: Into<String>>(items: I) -> BTreeSet<String> {
    items.into_iter().map(Into::into).collect()
}

/// What follows each `Fl Fl`.
fn options_of(page: &str) -> BTreeSet<String> {
    let words: Vec<&str> = page.split_whitespace().collect();
    set(words.windows(3).filter(|three| three[..2] == ["Fl", "Fl"]).map(|three| three[2]))
}

/// `check`, `queue list`, …: the items of lists that begin with `Cm` and are no values of options.
fn commands_of(page: &str) -> BTreeSet<String> {
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    set(items.map(|item| item.split(" Ar ").next().unwrap_or_default().to_owned()))
}

fn collect(command: &clap::Command, path: &str, commands: &mut BTreeSet<String>, options: &mut BTreeSet<String>) {
    options.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
    for sub in command.get_subcommands() {
        let name = if path.is_empty() { sub.get_name().to_owned() } else { format!("{path} {}", sub.get_name()) };
        // Each group of commands has a help of its own, in which the commands stand again.
        if sub.get_name() == "help" {
            continue;
        }
        if !sub.has_subcommands() {
            commands.insert(name.clone());
        }
        collect(sub, &name, commands, options);
    }
}

fn real(mut command: clap::Command) -> (BTreeSet<String>, BTreeSet<String>) {
    command.build();
    let (mut commands, mut options) = (BTreeSet::new(), BTreeSet::new());
    collect(&command, "", &mut commands, &mut options);
    commands.insert("help".to_owned());
    (commands, options)
}

#[test]
fn impartctl() {
    let (commands, options) = real(control::cli::Arguments::command());
    let page = page("impartctl.8");
    check("options of impartctl", &options_of(&page), &options);
    check("commands of impartctl", &commands_of(&page), &commands);
}

#[test]
fn impart() {
    let (commands, options) = real(client::cli::Arguments::command());
    let page = page("impart.1");
    check("options of impart", &options_of(&page), &options);
    check("commands of impart", &commands_of(&page), &commands);
}

#[test]
fn impartd() {
    let (commands, options) = real(config::arguments::Arguments::command());
    let page = page("impartd.8");
    check("options of impartd", &options_of(&page), &options);
    for command in commands.iter().filter(|name| *name != "help") {
        assert!(page.contains(&format!(".Cm {command}\n")), "impartd.8 does not have the command {command}");
    }
}

#[test]
fn both_programs_look_for_the_same_file() {
    let default = |command: clap::Command| {
        let argument = command.get_arguments().find(|argument| argument.get_id() == "config").cloned();
        argument.expect("the option config").get_default_values()[0].to_owned()
    };
    assert_eq!(default(control::cli::Arguments::command()), config::DEFAULT_FILE);
    assert_eq!(default(config::arguments::Arguments::command()), config::DEFAULT_FILE);
}

#[test]
fn the_example_of_the_configuration_is_valid() {
    let page = page("impart.toml.5");
    let (_, after) = page.split_once(".Sh EXAMPLES").expect("EXAMPLES");
    let blocks: Vec<String> = after
        .split(".Bd -literal -offset indent\n")
        .skip(1)
        .map(|block| block.split(".Ed\n").next().unwrap_or_default().to_owned())
        .collect();
    // The first is a whole file; the others are added to it.
    for addition in std::iter::once("").chain(blocks[1..].iter().map(String::as_str)) {
        let text = format!("{}{addition}", blocks[0]);
        config::parse(&text, Path::new("impart.toml.5")).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// Rows of the table after `heading`: first and second column.
fn table(page: &str, heading: &str) -> Vec<(String, String)> {
    let (_, after) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let rows = after.lines().skip(1).take_while(|line| !line.starts_with(".El"));
    let cells = rows.filter_map(|row| row.strip_prefix(".It ")?.split_once(" Ta "));
    cells.map(|(first, second)| (first.to_owned(), second.to_owned())).collect()
}

#[test]
fn ehlo_keywords() {
    let rows = table(&page("impart-protocol.7"), ".It Em Keyword Ta Em Defined in");
    let real = set(Extension::ALL.map(Extension::keyword));
    check("EHLO keywords", &set(rows.into_iter().map(|(keyword, _)| keyword)), &real);
}

#[test]
fn limits_of_the_protocol() {
    let rows = table(&page("impart-protocol.7"), ".It Em What Ta Em Bound");
    let bound = |words: &str| {
        let row = rows.iter().find(|(what, _)| what.contains(words));
        row.unwrap_or_else(|| panic!("no limit {words}")).1.parse::<usize>().unwrap()
    };
    assert_eq!(bound("command line"), limits::COMMAND_LINE_OCTETS);
    assert_eq!(bound("line of text"), limits::TEXT_LINE_OCTETS);
    assert_eq!(bound("AUTH exchange"), limits::AUTH_LINE_OCTETS);
    assert_eq!(bound("one ATRN"), limits::ATRN_NAMES);
    assert_eq!(bound("name of a device"), limits::DEVICE_OCTETS);
    assert_eq!(bound("Recipients of a transaction"), limits::RECIPIENTS);
    assert_eq!(bound("Octets of the header"), limits::HEADER_OCTETS);
    assert_eq!(bound("Fields of the header"), limits::HEADER_FIELDS);
    assert_eq!(bound("Depth"), limits::MIME_DEPTH);
    assert_eq!(bound("Parts"), limits::MIME_PARTS);
    assert_eq!(bound("Received"), limits::HOPS);
    assert_eq!(bound("ENVID"), limits::ENVID_CHARS);
    let page = page("impart-protocol.7");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("after {} malformed commands", limits::BAD_COMMANDS)));
    assert!(words.contains(&format!("The key is kept for {} days", limits::DEDUP_RETENTION.as_secs() / 86_400)));
    assert!(words.contains(&format!("longer than {}.", limits::LONGEST_STAY.as_secs() / 86_400)));
    assert!(words.contains(&format!("silent for {} minutes", limits::COMMAND_TIMEOUT.as_secs() / 60)));
    assert!(words.contains(&format!("logged in within {} minutes", limits::LOGIN_TIMEOUT.as_secs() / 60)));
    let (octets, depth) = (limits::RULES_OCTETS, limits::RULES_DEPTH);
    assert!(words.contains(&format!("at most {octets} octets and with elements at most {depth} deep")));
    assert!(words.contains(&format!("logging in has failed {} times", limits::LOGIN_FAILURES)));
}

/// The Rust files of the modules that make replies, without their tests.
fn sources(path: &Path, found: &mut Vec<String>) {
    let name = path.file_name().unwrap().to_string_lossy();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if name.ends_with(".rs") && !name.contains("test") {
        let text = std::fs::read_to_string(path).unwrap();
        found.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned());
    }
}

/// `(552, 3, 4`, `(552, (5, 3, 4)` and `(552, EnhancedCode::new(5, 3, 4)` as `552 5.3.4`.
fn replies_in(text: &str) -> BTreeSet<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(", ") {
        let before = &text[..at];
        let start = before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let code = &before[start..];
        if code.len() != 3
            || !matches!(code.as_bytes()[0], b'2' | b'4' | b'5')
            || !before[..start].trim_end().ends_with('(')
        {
            continue;
        }
        let rest = &text[at + 2..];
        let whole = rest.strip_prefix("EnhancedCode::new(").or_else(|| rest.strip_prefix('('));
        let (rest, count) = whole.map_or((rest, 2), |rest| (rest, 3));
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',' && c != ' ').unwrap_or(rest.len());
        let numbers: Vec<&str> = rest[..end].split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
        match numbers[..] {
            [class, subject, detail] if count == 3 => found.insert(format!("{code} {class}.{subject}.{detail}")),
            [subject, detail] if count == 2 => found.insert(format!("{code} {}.{subject}.{detail}", &code[..1])),
            _ => false,
        };
    }
    found
}

#[test]
fn replies_are_found_in_the_code() {
    let text = "reply(552, 3, 4, x) Reply::new(421, EnhancedCode::new(4, 7, 0), \"\") => (500, 5, 1), f(7, 552, 3)\n\
                refuse(\n  550,\n  (5, 7, 1),\n \"x\")";
    assert_eq!(replies_in(text), set(["421 4.7.0", "500 5.5.1", "550 5.7.1", "552 5.3.4"]));
}

/// Replies whose codes are put together: `mime::Defect::status`.
const COMPUTED: [&str; 2] = ["554 5.6.1", "554 5.6.9"];

#[test]
fn every_reply_is_documented() {
    let mut texts = Vec::new();
    for module in
        ["smtp/server", "smtp/server.rs", "smtp/command.rs", "mime", "spool", "receive", "policy", "accounts", "bridge"]
    {
        sources(&root().join("src").join(module), &mut texts);
    }
    let real: BTreeSet<String> = texts.iter().flat_map(|text| replies_in(text)).collect();
    let page = page("impart-protocol.7");
    let documented = set(page.lines().filter_map(|line| line.strip_prefix(".It Li ")).map(str::to_owned));
    check("replies", &documented, &real.union(&set(COMPUTED)).cloned().collect());
}

#[test]
fn pages_are_clean() {
    let pages = ["impart.1", "impartd.8", "impartctl.8", "impart.toml.5", "impart-protocol.7", "impart-mail.7"]
        .map(|name| root().join("man").join(name));
    let output = match std::process::Command::new("mandoc").args(["-T", "lint"]).args(pages).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("left out: mandoc: {error}");
            return;
        }
    };
    // Pages that are not installed yet are no fault of those that name them.
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let faults: Vec<&str> = said.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
