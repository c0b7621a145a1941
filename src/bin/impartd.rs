//! `impartd`: the daemon's command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use impart::completion;
use impart::config::arguments::{Arguments, Command};
use impart::daemon::journal::complain;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const CONFIG: u8 = 78;
/// It could not run (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// The command line is wrong (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no reason to say more.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Some(Command::Demo(options)) => return outcome(impart::demo::run(options)),
        Some(Command::Completion { shell }) => return outcome(completion::print(Arguments::command(), shell)),
        None => {}
    }
    match impart::config::load(&arguments.config) {
        Ok(config) if arguments.check => {
            let _ = writeln!(std::io::stdout(), "{}: no mistakes", config.file.display());
            ExitCode::SUCCESS
        }
        Ok(config) => outcome(impart::daemon::run(config)),
        Err(errors) => {
            complain("impartd", errors);
            ExitCode::from(CONFIG)
        }
    }
}

fn outcome<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("impartd", error);
            ExitCode::from(UNAVAILABLE)
        }
    }
}
