//! A terminal: tmux with a server of its own, which is ended with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::person::Person;
use crate::common::tools::find;
use crate::common::wait;

/// A terminal of 80 columns and 24 rows, in which a person runs one command.
pub struct Terminal {
    socket: PathBuf,
    folder: PathBuf,
}

impl Terminal {
    /// Starts `impart` with these arguments. What the terminal's modes are before and after is written down.
    pub fn start(person: &Person, name: &str, arguments: &str) -> Terminal {
        let folder = person.home.join(name);
        fs::create_dir_all(&folder).expect("a directory");
        let script = format!(
            "cd {folder:?}; stty -g >before; echo first line; {impart:?} {arguments}; echo $? >code; \
             stty -g >after; mv code status; exec cat",
            impart = Path::new(env!("CARGO_BIN_EXE_impart")),
        );
        // The path of a socket may not be long.
        let terminal = Terminal { socket: folder.join("tmux"), folder };
        let mut command = terminal.tmux();
        // Programs of the person's own come first.
        let path = format!("{}/bin:{}", person.home.display(), std::env::var("PATH").unwrap_or_default());
        command.env_clear().env("PATH", path).envs(person.environment());
        command.env("SHELL", "/bin/sh").env("TERM", "xterm-256color");
        command.args(["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "/bin/sh", "-c", &script]);
        let status = command.stdin(Stdio::null()).status().expect("tmux starts");
        assert!(status.success(), "tmux: {status}");
        terminal
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new(find("tmux").expect("tmux is installed"));
        command.arg("-u").arg("-S").arg(&self.socket);
        command
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.tmux().args(arguments).output().expect("tmux starts");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The rows of the screen.
    pub fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// Types these characters.
    pub fn types(&self, text: &str) {
        self.ask(&["send-keys", "-l", text]);
    }

    /// Presses a key, as tmux calls it.
    pub fn key(&self, key: &str) {
        self.ask(&["send-keys", key]);
    }

    /// Pastes, as a terminal does: in brackets where the program has asked for them, with carriage returns.
    pub fn paste(&self, text: &str) {
        self.ask(&["set-buffer", text]);
        self.ask(&["paste-buffer", "-p"]);
    }

    /// Another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// A variable of tmux, such as `alternate_on`.
    pub fn is(&self, variable: &str) -> String {
        self.ask(&["display-message", "-p", &format!("#{{{variable}}}")]).trim().to_owned()
    }

    /// Waits until a row fits; the row.
    pub fn row(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = wait::maybe(|| {
            last = self.screen();
            last.lines().find(|row| fits(row)).map(str::to_owned)
        });
        found.unwrap_or_else(|| panic!("waited in vain for {what} on\n{last}"))
    }

    /// Waits until this is shown; its row.
    pub fn shows(&self, text: &str) -> String {
        self.row(text, |row| row.contains(text))
    }

    /// Waits for the end of the command: its exit code. The terminal must be as it was.
    pub fn ended(&self) -> i32 {
        let code = wait::until("the command ends", || fs::read_to_string(self.folder.join("status")).ok());
        let modes = |file: &str| fs::read_to_string(self.folder.join(file)).expect("the modes of the terminal");
        assert_eq!(modes("before"), modes("after"), "the modes of the terminal");
        for (variable, expected) in [("alternate_on", "0"), ("cursor_flag", "1"), ("mouse_any_flag", "0")] {
            assert_eq!(self.is(variable), expected, "{variable}");
        }
        self.shows("first line");
        code.trim().parse().expect("a number")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the screen:\n{}", self.screen());
        }
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
    }
}
