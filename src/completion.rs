//! What shells complete on the command lines of our programs.
//!
//! In: the definition of a command line, the name of a shell. Out: that shell's script, on standard output. Invariant: what is
//! completed is what the parser takes, since both come from the one definition. Fails when standard output does.

use std::io::Write as _;

pub use clap_complete::Shell;

/// Prints the script for `shell`.
pub fn print(mut command: clap::Command, shell: Shell) -> std::io::Result<()> {
    let name = command.get_name().to_owned();
    // In one piece: the generator takes no fault of what it writes to for possible.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut output = std::io::stdout().lock();
    output.write_all(&script).and_then(|()| output.flush())
}
