//! `dstack backend …`: ours alone; upstream has only the file of its server.

use super::Common;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Backends; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Backend {
    #[command(flatten)]
    pub common: Common,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<BackendCommand>,
}

/// Verbs of backends.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// List the project's backends
    List,
    /// Make or change a backend; its credentials are tried first and kept sealed
    Set {
        /// YAML in the form of an entry of server/config.yml, or - for standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Say whether a backend can be used, and what is wrong if not
    Test {
        /// Its type, such as crusoe
        name: String,
    },
    /// Delete a backend
    Delete {
        /// Its type, such as crusoe
        name: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

/// The proof that nothing in a cloud's account costs money for nobody.
#[derive(Debug, Args)]
pub struct Leaks {
    #[command(flatten)]
    pub common: Common,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
