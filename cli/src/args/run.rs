//! Verbs about runs.

use super::Common;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `dstack ps`
#[derive(Debug, Args)]
pub struct Ps {
    #[command(flatten)]
    pub common: Common,
    /// Finished runs too
    #[arg(short, long)]
    pub all: bool,
    /// Show resources, instance types and errors
    #[arg(short, long)]
    pub verbose: bool,
    /// Refresh until interrupted
    #[arg(short, long)]
    pub watch: bool,
    /// The last N runs
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Verbs of `dstack run`.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Show a run as JSON
    Get(RunGet),
}

/// `dstack run get`
#[derive(Debug, Args)]
pub struct RunGet {
    #[command(flatten)]
    pub common: Common,
    /// Its name
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub name: Option<String>,
    /// Its id
    #[arg(long)]
    pub id: Option<uuid::Uuid>,
    /// Print JSON (the only form)
    #[arg(long)]
    pub json: bool,
}

/// `dstack logs`
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub common: Common,
    /// The run
    pub run: String,
    /// Go on until the job has ended
    #[arg(short, long)]
    pub follow: bool,
    /// The agent's own log of the job
    #[arg(short, long)]
    pub diagnose: bool,
    /// Replica number
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub replica: u32,
    /// Job number (the node's rank)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub job: u32,
    /// Only lines since then: a duration (10m) or an RFC 3339 time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

/// `dstack stop`
#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    pub common: Common,
    /// The run
    pub run: String,
    /// Kill at once, without grace
    #[arg(short = 'x', long)]
    pub abort: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// `dstack delete`
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    pub common: Common,
    /// The configuration file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}
