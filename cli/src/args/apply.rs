//! `dstack apply`.

use super::{Common, Conditions, ProfileChoice, Reach, Repository, Resources};
use clap::Args;
use std::path::PathBuf;

/// Options of `dstack apply`; those that name one configuration type are refused for the others.
#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    pub common: Common,
    /// The configuration file, or - for standard input; by default .dstack.yml in this folder
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Apply even if nothing changed
    #[arg(long)]
    pub force: bool,
    /// Exit once submitted
    #[arg(short, long)]
    pub detach: bool,
    #[command(flatten)]
    pub reach: Reach,
    /// Show more of the plan
    #[arg(short, long)]
    pub verbose: bool,
    /// Name of the run or fleet, in place of the file's
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// Set a variable, or take it from this shell
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// How many offers to show
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub max_offers: u32,
    /// Show what is occupied now, too
    #[arg(long)]
    pub full_offers: bool,
    /// Show what is left of instances, not all they have
    #[arg(long)]
    pub unallocated: bool,
    #[command(flatten)]
    pub profile: ProfileChoice,
    #[command(flatten)]
    pub conditions: Conditions,
    #[command(flatten)]
    pub resources: Resources,
    #[command(flatten)]
    pub repository: Repository,
    /// Words for ${{ run.args }}
    #[arg(last = true)]
    pub run_args: Vec<String>,
}
