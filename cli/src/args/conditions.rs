//! What a command line may say in place of a configuration: resources, profile, repository.

use clap::Args;
use std::path::PathBuf;

/// Which profile of `.dstack/profiles.yml`.
#[derive(Debug, Args)]
pub struct ProfileChoice {
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
}

/// Where a run may go and how long it may try. Each wins over the configuration and the profile.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Conditions")]
pub struct Conditions {
    /// Dollars per hour at most
    #[arg(long, value_name = "PRICE")]
    pub max_price: Option<f64>,
    /// How long the run may take, such as 4h, or off
    #[arg(long, value_name = "DURATION")]
    pub max_duration: Option<String>,
    /// Only these backends
    #[arg(short, long = "backend", value_name = "NAME")]
    pub backends: Vec<String>,
    /// Only these regions
    #[arg(short, long = "region", value_name = "NAME")]
    pub regions: Vec<String>,
    /// Only these instance types
    #[arg(long = "instance-type", value_name = "NAME")]
    pub instance_types: Vec<String>,
    /// Only these fleets
    #[arg(long = "fleet", value_name = "NAME", add = super::live::fleets())]
    pub fleets: Vec<String>,
    /// Only instances that are there already
    #[arg(short = 'R', long, conflicts_with_all = ["dont_destroy", "idle_duration"])]
    pub reuse: bool,
    /// Keep a new instance after the run
    #[arg(long, conflicts_with = "idle_duration")]
    pub dont_destroy: bool,
    /// How long a new instance may be idle
    #[arg(long, value_name = "DURATION")]
    pub idle_duration: Option<String>,
    /// Only spot instances
    #[arg(long, conflicts_with_all = ["on_demand", "spot_auto", "spot_policy"])]
    pub spot: bool,
    /// Only on-demand instances
    #[arg(long, conflicts_with_all = ["spot_auto", "spot_policy"])]
    pub on_demand: bool,
    /// Both spot and on-demand instances
    #[arg(long, conflicts_with = "spot_policy")]
    pub spot_auto: bool,
    /// spot, on-demand or auto
    #[arg(long, value_name = "POLICY")]
    pub spot_policy: Option<String>,
    /// Try again after no capacity, an interruption or an error
    #[arg(long, conflicts_with_all = ["no_retry", "retry_duration"])]
    pub retry: bool,
    /// Do not try again
    #[arg(long, conflicts_with = "retry_duration")]
    pub no_retry: bool,
    /// Try again for so long
    #[arg(long, value_name = "DURATION")]
    pub retry_duration: Option<String>,
}

/// What a node must have. Each wins over the configuration.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Resources")]
pub struct Resources {
    /// CPUs, such as 8.. or arm:4
    #[arg(long, value_name = "SPEC")]
    pub cpu: Option<String>,
    /// Memory, such as 64GB..
    #[arg(long, value_name = "RANGE")]
    pub memory: Option<String>,
    /// GPUs, such as H100:80GB:8
    #[arg(long, value_name = "SPEC")]
    pub gpu: Option<String>,
    /// Disk, such as 200GB..
    #[arg(long, value_name = "RANGE")]
    pub disk: Option<String>,
}

/// The repository a run starts from, in place of the configuration's.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Repository")]
pub struct Repository {
    /// A folder that is a clone, or an address
    #[arg(
        short = 'P',
        long,
        value_name = "PATH_OR_URL",
        conflicts_with = "no_repo"
    )]
    pub repo: Option<String>,
    /// Its branch, when it is an address
    #[arg(long, value_name = "NAME", requires = "repo")]
    pub repo_branch: Option<String>,
    /// Its commit, when it is an address
    #[arg(long, value_name = "HASH", requires = "repo")]
    pub repo_hash: Option<String>,
    /// No repository, whatever the configuration says
    #[arg(long)]
    pub no_repo: bool,
    /// A token that may read it
    #[arg(
        short,
        long = "token",
        env = "DSTACK_GIT_TOKEN",
        hide_env_values = true
    )]
    pub git_token: Option<String>,
    /// A private key that may read it over SSH
    #[arg(long, value_name = "FILE", conflicts_with = "git_token")]
    pub git_identity: Option<PathBuf>,
}

impl Repository {
    /// Anything but the token, which may come from the environment and then means nothing.
    pub fn is_chosen(&self) -> bool {
        self.repo.is_some() || self.no_repo || self.git_identity.is_some()
    }
}
