//! `dstack fleet …`

use super::Common;
use clap::{Args, Subcommand};

/// Fleets; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Fleet {
    #[command(flatten)]
    pub common: Common,
    /// Show resources, drivers and errors
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Refresh until interrupted
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<FleetCommand>,
}

/// Verbs of fleets.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// List fleets
    List,
    /// Show a fleet as JSON
    Get(FleetGet),
    /// Delete a fleet or some of its instances
    Delete(FleetDelete),
}

/// `dstack fleet get`
#[derive(Debug, Args)]
pub struct FleetGet {
    /// Its name
    pub name: String,
    /// Print JSON (the only form)
    #[arg(long)]
    pub json: bool,
}

/// `dstack fleet delete`
#[derive(Debug, Args)]
pub struct FleetDelete {
    /// Its name
    pub name: String,
    /// Only these instances
    #[arg(short, long = "instance", value_name = "N")]
    pub instances: Vec<u32>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}
