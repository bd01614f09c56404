//! `dstack apply`.

use super::{Common, Reach};
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
    /// Profile of .dstack/profiles.yml
    #[arg(
        long,
        env = "DSTACK_PROFILE",
        value_name = "NAME",
        conflicts_with = "no_profile"
    )]
    pub profile: Option<String>,
    /// Use no profile
    #[arg(long, env = "DSTACK_NO_PROFILE")]
    pub no_profile: bool,
    /// Only these fleets
    #[arg(long = "fleet", value_name = "NAME")]
    pub fleets: Vec<String>,
    /// Words for ${{ run.args }}
    #[arg(last = true)]
    pub run_args: Vec<String>,
}
