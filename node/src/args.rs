//! The command line of `dstack-server`, and nothing but its form.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// One replica of the dstack control plane.
///
/// Without cluster flags it is a whole control plane by itself, and can grow later.
#[derive(Parser, Debug)]
#[command(name = "dstack-server", version, about, long_about = None, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    pub serve: Serve,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Creates the certificates and keys for the replicas of a new cluster.
    ///
    /// Copy the folder of each replica to its machine and name it there with --tls-dir. Keep ca.key at a safe
    /// place: whoever has it can add replicas.
    InitCa(InitCa),
}

#[derive(ClapArgs, Debug)]
pub struct InitCa {
    /// Folder to write to; one folder for each replica is made inside.
    #[arg(long)]
    pub dir: PathBuf,
    /// Names of the replicas, as in --node-name.
    #[arg(long, value_delimiter = ',', required = true)]
    pub nodes: Vec<String>,
    /// Name of the cluster in the certificates.
    #[arg(long, default_value = "dstack")]
    pub cluster: String,
}

#[derive(ClapArgs, Debug, Clone)]
pub struct Serve {
    /// Address to serve the API on.
    #[arg(long, env = "DSTACK_SERVER_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to serve the API on; 0 takes a free one.
    #[arg(long, env = "DSTACK_SERVER_PORT", default_value_t = 3000)]
    pub port: u16,
    /// Folder for everything this replica keeps [default: ~/.dstack/server].
    #[arg(long, env = "DSTACK_SERVER_DIR", value_name = "DIR")]
    pub server_dir: Option<PathBuf>,
    /// Token of the admin user, used when the cluster starts for the first time [default: a random one].
    #[arg(long, env = "DSTACK_SERVER_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Let ~/.dstack/config.yml lead to this server, even if it leads to another one.
    #[arg(short = 'y', long, conflicts_with = "no")]
    pub yes: bool,
    /// Leave a project of that name in ~/.dstack/config.yml as it is, which is done anyway.
    #[arg(short = 'n', long)]
    pub no: bool,
    /// How much to log: error, warning, info, debug, trace, or a tracing filter.
    #[arg(
        short = 'l',
        long,
        env = "DSTACK_SERVER_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
    /// How to write the log: standard or json.
    #[arg(long, env = "DSTACK_SERVER_LOG_FORMAT", default_value = "standard")]
    pub log_format: String,
    /// Name of this replica, one of those in --initial-cluster.
    #[arg(
        long,
        env = "DSTACK_SERVER_NODE_NAME",
        value_name = "NAME",
        help_heading = "Cluster"
    )]
    pub node_name: Option<String>,
    /// Address to listen on for the other replicas [default: this replica's address in --initial-cluster].
    #[arg(
        long,
        env = "DSTACK_SERVER_PEER_LISTEN",
        value_name = "IP:PORT",
        help_heading = "Cluster"
    )]
    pub peer_listen: Option<SocketAddr>,
    /// Address at which the other replicas reach this one [default: its address in --initial-cluster].
    #[arg(
        long,
        env = "DSTACK_SERVER_PEER_ADVERTISE",
        value_name = "HOST:PORT",
        help_heading = "Cluster"
    )]
    pub peer_advertise: Option<String>,
    /// All replicas of a new cluster, the same list on each: name=host:port,name=host:port,…
    #[arg(
        long,
        env = "DSTACK_SERVER_INITIAL_CLUSTER",
        value_name = "LIST",
        help_heading = "Cluster"
    )]
    pub initial_cluster: Option<String>,
    /// Members of a running cluster to be added to, as in --initial-cluster.
    #[arg(
        long,
        env = "DSTACK_SERVER_JOIN",
        value_name = "LIST",
        help_heading = "Cluster",
        conflicts_with = "initial_cluster"
    )]
    pub join: Option<String>,
    /// Folder with this replica's certificate and keys, made by init-ca [default: tls in the server folder].
    #[arg(
        long,
        env = "DSTACK_SERVER_TLS_DIR",
        value_name = "DIR",
        help_heading = "Cluster"
    )]
    pub tls_dir: Option<PathBuf>,
}
