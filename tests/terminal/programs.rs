//! Programs beside `impart`: the keyring, which keeps a password; a bot, which is written with the library.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::common::tools::{have, leave_out, said};
use crate::people::People;
use crate::tmux::Terminal;

/// The keyring as far as `impart` uses it: the real one wants a desktop.
const KEYRING: &str = "#!/bin/sh\n\
    case $1 in\n\
    store) cat >\"$HOME/ring\" ;;\n\
    lookup) [ \"$*\" = \"lookup service impart account alice@a.test\" ] && cat \"$HOME/ring\" ;;\n\
    esac\n";

#[test]
fn a_password_stays_in_the_keyring() {
    if !have("a_password_stays_in_the_keyring", &["tmux"]) {
        return;
    }
    let people = People::new();
    let alice = &people.alice;
    let tools = alice.home.join("bin");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("secret-tool"), KEYRING).unwrap();
    fs::set_permissions(tools.join("secret-tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let terminal = Terminal::start(alice, "login", &alice.login_by(&["--keyring"]).join(" "));
    terminal.shows("Password of alice@a.test:");
    terminal.types("secret");
    terminal.key("Enter");
    assert_eq!(terminal.ended(), 0, "{}", terminal.screen());
    assert!(!terminal.screen().contains("secret\n"), "nothing of it is seen: {}", terminal.screen());
    let config = fs::read_to_string(alice.home.join("config/impart/config.toml")).unwrap();
    assert!(config.contains("secret-tool lookup") && !config.contains("echo secret"), "{config}");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let output = alice.command(&["send", "bob@b.test", "-m", "by keyring"]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    people.bob.listen().wait_for(&[("event", "message"), ("text", "by keyring")]);
}

/// The example of the README, `examples/echo.rs`: it answers people, and no program.
#[test]
fn a_bot_answers_people() {
    let test = std::env::current_exe().unwrap();
    let Some(bot) = test.ancestors().map(|place| place.join("examples/echo")).find(|file| file.is_file()) else {
        return leave_out("a_bot_answers_people (cargo has not built the examples)");
    };
    let people = People::new();
    let mut command = Command::new(bot);
    command.env_remove("IMPART_CONFIG").envs(people.alice.environment()).stdin(Stdio::null());
    let mut bot = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let receiving = people.bob.listen();
    people.bob.done(&["send", "alice@a.test", "-m", "a program", "--automatic"]);
    people.bob.done(&["send", "alice@a.test", "-m", "is there anybody?"]);
    let answer = receiving.wait_for(&[("event", "message"), ("from", "alice@a.test")]);
    bot.kill().unwrap();
    bot.wait().unwrap();
    assert_eq!((&answer["text"], &answer["automatic"]), (&"is there anybody?".into(), &true.into()));
}
