//! Verbs about things that this server may not have. They are typed as upstream's are; the server says the rest.

use super::{Common, Format};
use clap::{Args, Subcommand};

/// Volumes; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Volume {
    #[command(flatten)]
    pub common: Common,
    /// Refresh until interrupted
    #[arg(short, long, global = true)]
    pub watch: bool,
    /// Show errors too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<VolumeCommand>,
}

/// Verbs of volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// List volumes
    List,
    /// Show a volume as JSON
    Get(Named),
    /// Delete a volume
    Delete(Delete),
}

/// Gateways; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub common: Common,
    /// Refresh until interrupted
    #[arg(short, long, global = true)]
    pub watch: bool,
    /// Show errors too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    #[command(flatten)]
    pub format: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<GatewayCommand>,
}

/// Verbs of gateways.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// List gateways
    List,
    /// Show a gateway as JSON
    Get(Named),
    /// Delete a gateway
    Delete(Delete),
    /// Change a gateway
    Update {
        /// Its name
        name: String,
        /// Make it the project's default
        #[arg(long, required_unless_present = "domain")]
        set_default: bool,
        /// Its domain
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
    },
}

/// One thing, shown as JSON.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name
    pub name: String,
}

/// One thing, deleted.
#[derive(Debug, Args)]
pub struct Delete {
    /// Its name
    pub name: String,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// Exports; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ExportCommand>,
}

/// Verbs of exports.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// List exports
    List,
    /// Share fleets and gateways with other projects
    Create {
        /// Its name
        name: String,
        /// A project to share with
        #[arg(long = "importer", value_name = "PROJECT")]
        importers: Vec<String>,
        /// A fleet to share
        #[arg(long = "fleet", value_name = "NAME")]
        fleets: Vec<String>,
        /// A gateway to share
        #[arg(long = "gateway", value_name = "NAME")]
        gateways: Vec<String>,
        /// Share with every project
        #[arg(long)]
        global: bool,
    },
    /// Change what is shared
    Update(Box<ExportUpdate>),
    /// Stop sharing
    Delete(Delete),
}

/// `dstack export update`
#[derive(Debug, Args)]
pub struct ExportUpdate {
    /// Its name
    pub name: String,
    /// A project to share with as well
    #[arg(long = "add-importer", value_name = "PROJECT")]
    pub add_importers: Vec<String>,
    /// A project to share with no longer
    #[arg(long = "remove-importer", value_name = "PROJECT")]
    pub remove_importers: Vec<String>,
    /// A fleet to share as well
    #[arg(long = "add-fleet", value_name = "NAME")]
    pub add_fleets: Vec<String>,
    /// A fleet to share no longer
    #[arg(long = "remove-fleet", value_name = "NAME")]
    pub remove_fleets: Vec<String>,
    /// A gateway to share as well
    #[arg(long = "add-gateway", value_name = "NAME")]
    pub add_gateways: Vec<String>,
    /// A gateway to share no longer
    #[arg(long = "remove-gateway", value_name = "NAME")]
    pub remove_gateways: Vec<String>,
    /// Share with every project
    #[arg(long, conflicts_with = "unset_global")]
    pub set_global: bool,
    /// Share with the named projects only
    #[arg(long)]
    pub unset_global: bool,
}

/// Imports; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ImportCommand>,
}

/// Verbs of imports.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// List imports
    List,
    /// Use what another project shares no longer
    Delete {
        /// PROJECT/NAME of the export
        export: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

/// `dstack login`
#[derive(Debug, Args)]
pub struct Login {
    /// The server's URL; several replicas may be given with commas between
    #[arg(long)]
    pub url: String,
    /// With which provider, when the server has several
    #[arg(short, long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Make the first project the default without asking
    #[arg(short, long, conflicts_with = "no")]
    pub yes: bool,
    /// Leave the default as it is without asking
    #[arg(short, long)]
    pub no: bool,
}
