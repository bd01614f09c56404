//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::runner::ExecPlan;
use crate::runtime::Choice;

/// Runs dstack jobs on this host.
#[derive(Debug, Parser)]
#[command(name = "dstack-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve this host: keep its jobs as the server wants them
    Serve(Serve),
    /// End the agent that serves a home, kill its jobs and remove the home
    Retire(Serve),
    /// Run one job; started by the agent, not by hand
    Run {
        /// The job's folder
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print what this host is made of, as JSON
    Facts {
        /// The folder whose disk jobs would use
        #[arg(long, default_value = "/")]
        home: PathBuf,
    },
    /// Serve SSH to a job; started by the runner
    #[command(hide = true)]
    Sshd {
        /// The job's folder
        #[arg(long)]
        dir: PathBuf,
    },
    /// Serve files over the standard streams; started by the SSH server
    #[command(hide = true)]
    Sftp,
    /// Become a job's command; started by the runner
    #[command(hide = true)]
    Exec(Exec),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The agent's home: socket, ledger, jobs and their output
    #[arg(long, env = "DSTACK_AGENT_HOME")]
    pub home: PathBuf,
    /// What runs jobs; `auto` is Docker if it answers, else processes
    #[arg(long, env = "DSTACK_AGENT_RUNTIME", value_enum, default_value = "auto")]
    pub runtime: Choice,
    /// Docker's socket
    #[arg(
        long,
        env = "DSTACK_AGENT_DOCKER_SOCKET",
        default_value = "/var/run/docker.sock"
    )]
    pub docker_socket: PathBuf,
    /// The file that lets attached users through this host to their jobs; by default ~/.ssh/authorized_keys of the
    /// user the server logs in as
    #[arg(long, env = "DSTACK_AGENT_AUTHORIZED_KEYS")]
    pub authorized_keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Exec {
    #[arg(long)]
    parent: i32,
    #[arg(long)]
    tty: bool,
    #[arg(long, requires_all = ["gid", "groups"])]
    uid: Option<u32>,
    #[arg(long)]
    gid: Option<u32>,
    #[arg(long, value_delimiter = ',')]
    groups: Vec<u32>,
    #[arg(long)]
    cwd: PathBuf,
    #[arg(last = true)]
    argv: Vec<OsString>,
}

impl From<Exec> for ExecPlan {
    fn from(exec: Exec) -> Self {
        Self {
            parent: exec.parent,
            tty: exec.tty,
            user: exec
                .uid
                .zip(exec.gid)
                .map(|(uid, gid)| (uid, gid, exec.groups)),
            working_dir: exec.cwd,
            argv: exec.argv,
        }
    }
}
