//! The command line of `impartd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::completion::Shell;

/// Instant messages and presence for mail installations: the daemon.
#[derive(Clone, Debug, Parser)]
#[command(name = "impartd", version, after_help = "See impartd(8).", args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = super::DEFAULT_FILE)]
    pub config: PathBuf,
    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    pub check: bool,
    /// What to do instead of running the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `impartd` does instead of running the daemon.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show two domains exchanging messages on this host, without network or root.
    Demo(Demo),
    /// Print what a shell needs to complete this program's command lines.
    Completion {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Options of the demonstration.
#[derive(Clone, Debug, Default, Args)]
pub struct Demo {
    /// End when everything has been shown, instead of staying up.
    #[arg(long)]
    pub once: bool,
    /// Where spools, certificates and configurations go; a temporary directory by default.
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}
