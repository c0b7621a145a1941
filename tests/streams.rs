//! The programs when nobody reads what they say.

use std::process::{Command, Stdio};

fn check(program: &str, expected: i32) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(program);
    command.args(["--config", "/dev/null/none"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    if program.ends_with("impartctl") {
        command.arg("status");
    }
    assert_eq!(command.status().unwrap().code(), Some(expected), "{program}");
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    check(env!("CARGO_BIN_EXE_impartd"), 78);
    check(env!("CARGO_BIN_EXE_impartctl"), 78);
}
