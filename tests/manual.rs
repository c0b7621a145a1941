//! The manual against the code, in both directions. (The keys of the configuration: `src/config/tests.rs`, which also
//! writes their list.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use impart::smtp::extension::Extension;
use impart::{client, config, control, daemon, limits};

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

#[test]
fn metrics() {
    let page = page("impartd.8");
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Li impart_"));
    let real = set(daemon::metrics::names());
    check("metrics", &set(items.map(|name| format!("impart_{name}"))), &real);
    let path = root().join("conf/grafana.json");
    let dashboard = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("the dashboard is JSON");
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let shown = dashboard.split(part).filter(|word| word.starts_with("impart_"));
    // A histogram is read by its parts.
    let whole = |name: &str| {
        let part = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| name.strip_suffix(part));
        part.unwrap_or(name).to_owned()
    };
    check("metrics of the dashboard", &set(shown.map(whole)), &real);
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

/// The names of all pages.
fn pages() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("man")).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn pages_are_clean() {
    let pages: Vec<PathBuf> = pages().iter().map(|name| root().join("man").join(name)).collect();
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

#[test]
fn pages_have_examples_and_files_and_name_only_pages_that_exist() {
    let pages = pages();
    for name in &pages {
        let text = page(name);
        for heading in ["NAME", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"] {
            let (_, after) =
                text.split_once(&format!("\n.Sh {heading}\n")).unwrap_or_else(|| panic!("{name}: {heading}"));
            let section = after.split("\n.Sh ").next().unwrap_or_default();
            assert!(section.lines().any(|line| !line.is_empty()), "{name}: {heading} is empty");
        }
        let references = text.lines().filter_map(|line| line.strip_prefix(".Xr "));
        for reference in references.filter(|reference| reference.starts_with("impart")) {
            let mut words = reference.split_whitespace();
            let (other, section) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            assert!(pages.contains(&format!("{other}.{section}")), "{name}: {other}({section}) is not there");
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between ticks in the first column of a table of Markdown.
fn first_column(text: &str) -> BTreeSet<String> {
    set(text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned())))
}

#[test]
fn the_layout_of_the_spool() {
    let page = page("impart-spool.7");
    let (_, after) = page.split_once(".Sh LAYOUT\n").unwrap();
    let layout = after.split("\n.Sh ").next().unwrap();
    let documented = set(layout.lines().filter_map(|line| line.strip_prefix(".It Pa ")));
    let mut known = first_column(&read("spool/README.md"));
    // What the daemon puts there by default, while it runs or where it has an authority.
    known.extend(set(["ca/", "certificates/", "control.sock"]));
    check("files of the spool", &documented, &known);
    // What a spool really has.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (spool, _) = impart::spool::Spool::open(&path, impart::spool::Options::default()).unwrap();
        spool.close().await;
    });
    for entry in std::fs::read_dir(&path).unwrap().flatten() {
        let slash = if entry.path().is_dir() { "/" } else { "" };
        let name = format!("{}{slash}", entry.file_name().into_string().unwrap());
        assert!(documented.contains(&name), "impart-spool.7 does not have {name}");
    }
    let format = std::fs::read_to_string(path.join("format")).unwrap();
    assert!(page.contains(&format!(".Ql {}", format.trim())), "{format}");
}

#[test]
fn the_states_and_bounds_of_the_spool() {
    let page = page("impart-spool.7");
    let documented = set(table(&page, ".It Em State Ta Em What").into_iter().map(|(state, _)| state));
    let module = read("src/spool/mod.rs");
    let rows = module.lines().filter_map(|line| line.strip_prefix("//! | S"));
    let real = set(rows.map(|row| format!("S{}", row.split([' ', ',']).next().unwrap_or_default())));
    check("states of a message", &documented, &real);
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let days = limits::DEDUP_RETENTION.as_secs() / 86_400;
    assert!(words.contains(&format!("keys of second copies keep theirs for {days} days")));
    assert!(words.contains(&format!("what they had within {days} days")));
    let reserve = impart::spool::Options::default().reserve >> 20;
    assert!(words.contains(&format!("less than {reserve} MiB of the disk are free")));
}

#[test]
fn what_the_page_of_security_says_is_so() {
    let page = page("impart-security.7");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("for {} days, here and in", limits::DEDUP_RETENTION.as_secs() / 86_400)));
    assert!(words.contains(&format!("a connection ends after {} of them", limits::LOGIN_FAILURES)));
    assert!(read("src/lib.rs").contains("#![forbid(unsafe_code)]"));
    let unit = read("conf/impartd.service");
    for line in ["User=impart", "CapabilityBoundingSet=", "ProtectSystem=strict", "StateDirectoryMode=0700"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    assert!(read("conf/impartd.apparmor").contains("complain") && words.contains("it complains only"));
    // Each command that it names is one.
    let (commands, _) = real(control::cli::Arguments::command());
    let lines = page.lines().filter_map(|line| line.trim_start_matches(".Dl ").strip_prefix("# impartctl "));
    let mut named = 0;
    for line in lines {
        assert!(commands.iter().any(|command| format!("{line} ").starts_with(&format!("{command} "))), "{line}");
        named += 1;
    }
    assert!(named >= 3);
}

#[test]
fn the_units_are_named_where_they_are_installed() {
    let page = page("impartd.8");
    let build = read("conf/debian/build");
    for name in ["impartd.service", "impartd.socket"] {
        assert!(page.contains(&format!(".It Pa /usr/lib/systemd/system/{name}\n")));
        assert!(build.contains(&format!("put conf/{name} usr/lib/systemd/system/{name}\n")));
    }
}
