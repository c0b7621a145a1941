//! `impart`: instant messages for a person, or a script.

use std::process::ExitCode;

use clap::Parser;
use impart::client::cli::{self, Arguments, exit};
use impart::daemon::journal::complain;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no reason to say more.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain("impart", error);
            return ExitCode::from(exit::SOFTWARE);
        }
    };
    let result = runtime.block_on(cli::run(arguments));
    // A look-up or a question that still waits must not keep the person.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                complain("impart", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}
