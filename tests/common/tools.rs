//! Other people's programs, as peers: where they are, and saying plainly when they are not there.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Where a program is: `PATH`, and the places that only root has in it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    folders.map(|folder| PathBuf::from(folder).join(program)).find(|file| file.is_file())
}

/// Whether all programs are there; else a line that names the test and what is missing.
///
/// `IMPART_PEERS=required` makes a missing program a failure, for machines that are set up for all tests.
pub fn have(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    leave_out(&format!("{test} (not installed: {})", missing.join(", ")));
    let required = std::env::var("IMPART_PEERS").is_ok_and(|value| value == "required");
    assert!(!required, "IMPART_PEERS=required, but {} is not installed", missing.join(", "));
    false
}

/// Where tests/run keeps a program that it does not install in the system.
pub fn kept(name: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).unwrap_or_default();
    cache.join("impart-peers").join(name)
}

/// Runs a program with `input` on its standard input; panics when it cannot be started.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write as _;
    let path = find(program).unwrap_or_else(|| panic!("{program} is not installed"));
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that does not read its input has no use for it.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input));
    child.wait_with_output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What a program printed, both ways, for a failed assertion.
pub fn said(output: &Output) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Says that something is left out: on standard output, and in the file that tests/run shows at its end.
pub fn leave_out(what: &str) {
    use std::io::Write as _;
    println!("left out: {what}");
    if let Some(path) = std::env::var_os("IMPART_LEFT_OUT") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        // The line has been printed as well.
        let _ = file.map(|mut file| writeln!(file, "left out: {what}"));
    }
}

/// Whether this process is root's.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}
