//! `dstack-chaos`: the demo, the long chaos runs, and the failover bench.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "Starts real replicas and agents on loopback, kills them, and judges what is left"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three replicas, two hosts, a two-node task, and the leader killed while it runs.
    Demo {
        /// Keep the cluster up until Ctrl-C and print what to try next.
        #[arg(long, env = "DEMO_KEEP")]
        keep: bool,
    },
    /// A GPU cluster in a simulated cloud, made for one run, and the leader killed while it is made.
    DemoCrusoe,
    /// Fleets in a simulated cloud that answers badly, under leaders that die; then the account is compared.
    Clouds {
        /// Rounds; each has a seed of its own, counted up from the first.
        #[arg(long, default_value_t = 20)]
        rounds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Nemeses against live runs, then verdicts.
    Run {
        /// Only this nemesis; all of them in turn when absent.
        #[arg(long)]
        nemesis: Option<dstack_chaos::nemesis::Nemesis>,
        /// Seconds of trouble for each nemesis.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Runs in flight.
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Seed of the schedule; printed, so that a failure can be looked at again.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Write pauses over many leader kills, boot time and memory.
    Bench {
        /// How many leaders are killed.
        #[arg(long, default_value_t = 50)]
        kills: usize,
    },
    /// Upstream's server with SQLite beside one and three replicas of ours, the same requests in turn.
    Compare {
        /// The virtual environment that holds upstream's server (`scripts/pyclient.sh --server`).
        #[arg(long)]
        venv: std::path::PathBuf,
        /// Seconds for each measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Also write the results there, as JSON.
        #[arg(long)]
        json: Option<std::path::PathBuf>,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tokio::select! {
        // First, because the kept demo ends well with the same Ctrl-C.
        biased;
        done = run(args.command) => done,
        // What was started dies with the dropped future.
        () = interrupted() => bail!("interrupted; everything that was started here is stopped"),
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo { keep } => dstack_chaos::demo::demo(keep).await,
        Command::Clouds { rounds, seed } => dstack_chaos::clouds::clouds(rounds, seed).await,
        Command::DemoCrusoe => dstack_chaos::demo_crusoe::demo().await,
        Command::Run {
            nemesis,
            seconds,
            runs,
            seed,
        } => dstack_chaos::campaign::campaign(nemesis, seconds, runs, seed).await,
        Command::Bench { kills } => dstack_chaos::bench::bench(kills).await,
        Command::Compare {
            venv,
            seconds,
            json,
        } => {
            let length = std::time::Duration::from_secs(seconds);
            dstack_chaos::compare::compare(&venv, length, json.as_deref()).await
        }
    }
}

/// Resolves at SIGINT or SIGTERM; never, when signals cannot be received.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
