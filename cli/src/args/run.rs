//! Verbs about runs.

use super::{Common, Conditions, Format, ProfileChoice, Reach, Resources, live};
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
    #[command(flatten)]
    pub format: Format,
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
    #[arg(required_unless_present = "id", conflicts_with = "id", add = live::runs())]
    pub name: Option<String>,
    /// Its id
    #[arg(long)]
    pub id: Option<uuid::Uuid>,
    /// Print JSON (the only form)
    #[arg(long)]
    pub json: bool,
}

/// `dstack attach`
#[derive(Debug, Args)]
pub struct Attach {
    #[command(flatten)]
    pub common: Common,
    /// The run
    #[arg(add = live::runs())]
    pub run: String,
    /// Show the output too
    #[arg(long)]
    pub logs: bool,
    /// Only output since then: a duration (10m) or an RFC 3339 time
    #[arg(long, value_name = "TIME", requires = "logs")]
    pub since: Option<String>,
    #[command(flatten)]
    pub reach: Reach,
    /// Replica number
    #[arg(long, value_name = "N")]
    pub replica: Option<u32>,
    /// Job number (the node's rank)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub job: u32,
}

/// `dstack offer`
#[derive(Debug, Args)]
pub struct Offer {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub resources: Resources,
    #[command(flatten)]
    pub profile: ProfileChoice,
    #[command(flatten)]
    pub conditions: Conditions,
    /// Show what is occupied now, too
    #[arg(long)]
    pub full_offers: bool,
    /// Show what is left of instances, not all they have
    #[arg(long)]
    pub unallocated: bool,
    /// Put offers together: gpu, and any of backend, region and count
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub group_by: Vec<String>,
    /// How many offers to show
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub max_offers: u32,
    #[command(flatten)]
    pub format: Format,
}

/// `dstack metrics`
#[derive(Debug, Args)]
pub struct Metrics {
    #[command(flatten)]
    pub common: Common,
    /// The run
    #[arg(add = live::runs())]
    pub run: String,
    /// Only this replica
    #[arg(long, value_name = "N")]
    pub replica: Option<u32>,
    /// Only this job (the node's rank)
    #[arg(long, value_name = "N")]
    pub job: Option<u32>,
    /// Refresh until interrupted
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON, with every sample
    #[arg(long)]
    pub json: bool,
}

/// `dstack logs`
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub common: Common,
    /// The run
    #[arg(add = live::runs())]
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
    #[arg(add = live::runs())]
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
