//! What can be typed. Nothing here decides anything: `settings` resolves it, `commands` acts on it.

mod absent;
mod apply;
mod backend;
mod conditions;
mod event;
mod fleet;
mod live;
mod project;
mod run;

pub use absent::{
    Export, ExportCommand, Gateway, GatewayCommand, Import, ImportCommand, Login, Volume,
    VolumeCommand,
};
pub use apply::Apply;
pub use backend::{Backend, BackendCommand, Leaks};
pub use conditions::{Conditions, ProfileChoice, Repository, Resources};
pub use event::Event;
pub use fleet::{Fleet, FleetCommand, FleetDelete};
pub use project::{Project, ProjectAdd, ProjectCommand, ProjectDelete};
pub use run::{Attach, Delete, Logs, Metrics, Offer, Ps, RunCommand, RunGet, Stop};

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::ffi::OsString;

/// dstack: GPU fleets, dev environments, tasks and services from one YAML file.
#[derive(Debug, Parser)]
#[command(
    name = "dstack",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply a configuration: create or update a run or a fleet
    Apply(Box<Apply>),
    /// Open a run's SSH and ports on this machine
    Attach(Attach),
    /// List runs
    Ps(Ps),
    /// Show a run
    Run(RunGroup),
    /// Show the logs of a run
    Logs(Logs),
    /// Show what a run uses
    Metrics(Metrics),
    /// Show what a run could get
    Offer(Box<Offer>),
    /// Stop a run
    Stop(Stop),
    /// Delete a run or a fleet named by a configuration file
    #[command(alias = "destroy")]
    Delete(Delete),
    /// List and manage fleets
    Fleet(Fleet),
    /// List, set and test the sources of machines
    Backend(Backend),
    /// Compare what clouds hold with what is on record
    Leaks(Leaks),
    /// List and manage volumes
    Volume(Volume),
    /// List and manage gateways
    Gateway(Gateway),
    /// List and manage secrets
    Secret(Secret),
    /// List events
    Event(Event),
    /// Manage the projects of this machine's configuration
    Project(Project),
    /// Take a token from a server that logs people in
    Login(Login),
    /// Share fleets and gateways with other projects
    Export(Export),
    /// See what other projects share with this one
    Import(Import),
    /// Presets (made by upstream's client only)
    #[command(disable_help_flag = true)]
    Preset(Passed),
    /// Make a repository known to the server
    Init(Init),
    /// Look at the replicas of the control plane
    Cluster(Cluster),
    /// Start a server replica (runs dstack-server)
    #[command(disable_help_flag = true)]
    Server(Passed),
    /// Print a completion script for the shell
    Completion(Completion),
}

/// Options every command that talks to a server has.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Common {
    /// The project; by default the one marked default in ~/.dstack/config.yml
    #[arg(long, env = "DSTACK_PROJECT", value_name = "NAME", add = live::projects())]
    pub project: Option<String>,
}

/// Tables for people, JSON for programs.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Format {
    /// plain or json
    #[arg(long, value_name = "FORMAT", value_parser = ["plain", "json"], global = true)]
    format: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "format", global = true)]
    json: bool,
}

impl Format {
    pub fn is_json(&self) -> bool {
        self.json || self.format.as_deref() == Some("json")
    }
}

/// How to come into a job.
#[derive(Debug, Clone, ClapArgs)]
pub struct Reach {
    /// The private key that opens the run, when it is not the one the server keeps for you
    #[arg(long, value_name = "FILE")]
    pub ssh_identity: Option<std::path::PathBuf>,
    /// The address of this machine that ports are forwarded from
    #[arg(long, value_name = "ADDRESS", default_value = "localhost")]
    pub host: String,
    /// Forward a port: 8000, 80:8000 (local:job) or *:8000
    #[arg(short = 'p', long = "port", value_name = "MAPPING")]
    pub ports: Vec<String>,
}

/// `dstack init`
#[derive(Debug, ClapArgs)]
pub struct Init {
    #[command(flatten)]
    pub common: Common,
    /// A folder that is a clone, or an address
    #[arg(short = 'P', long, value_name = "PATH_OR_URL")]
    pub repo: Option<String>,
    /// A private key that may read it over SSH
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub git_identity: Option<std::path::PathBuf>,
    /// A token that may read it
    #[arg(short, long, env = "DSTACK_GIT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// `dstack run …`
#[derive(Debug, ClapArgs)]
pub struct RunGroup {
    /// What to do with runs.
    #[command(subcommand)]
    pub command: RunCommand,
}

/// `dstack secret …`
#[derive(Debug, ClapArgs)]
pub struct Secret {
    #[command(flatten)]
    pub common: Common,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do with secrets; lists them when absent.
    #[command(subcommand)]
    pub command: Option<SecretCommand>,
}

/// Verbs of secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// List secrets
    List,
    /// Show a secret and its value
    Get {
        /// Its name
        #[arg(add = live::secrets())]
        name: String,
    },
    /// Create or change a secret
    Set {
        /// Its name
        #[arg(add = live::secrets())]
        name: String,
        /// Its value
        value: String,
    },
    /// Delete a secret
    Delete {
        /// Its name
        #[arg(add = live::secrets())]
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// `dstack cluster …`
#[derive(Debug, ClapArgs)]
pub struct Cluster {
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// Verbs of the cluster of replicas.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Members, roles, term, leader, indexes and lag
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a replica in as a learner; then start it with --join
    Add {
        /// Its --node-name
        name: String,
        /// Its peer address, host:port
        address: String,
    },
    /// Give a learner its vote
    Promote {
        /// Its name
        name: String,
    },
    /// Remove a replica for good; it never comes back under its old identity
    Remove {
        /// Its name
        name: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments handed on to another program unread.
#[derive(Debug, ClapArgs)]
pub struct Passed {
    /// See `dstack server --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// `dstack completion SHELL`
#[derive(Debug, ClapArgs)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}
