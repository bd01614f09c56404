//! `dstack fleet …`

use super::{Common, live};
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
    #[arg(short, long, global = true)]
    pub watch: bool,
    /// Print JSON
    #[arg(long, global = true)]
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
    #[arg(required_unless_present = "id", conflicts_with = "id", add = live::fleets())]
    pub name: Option<String>,
    /// Its id
    #[arg(long)]
    pub id: Option<uuid::Uuid>,
}

/// `dstack fleet delete`
#[derive(Debug, Args)]
pub struct FleetDelete {
    /// Its name
    #[arg(add = live::fleets())]
    pub name: String,
    /// Only these instances
    #[arg(short, long = "instance", value_name = "N")]
    pub instances: Vec<u32>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}
