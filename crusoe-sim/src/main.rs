//! `crusoe-sim`: the simulated cloud on an address of this machine.

use clap::Parser;
use crusoe_sim::{Account, Faults, Options, Sim};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A cloud that answers as Crusoe's does; its machines are records, or real with --machines.
#[derive(Debug, Parser)]
#[command(name = "crusoe-sim", version)]
struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
    /// Seed of what goes wrong
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Of a thousand calls, how many fail before and after their effect, lose their answer or fail late; each
    #[arg(long, default_value_t = 0)]
    faults: u32,
    /// Milliseconds until a machine runs
    #[arg(long, default_value_t = 2000)]
    boot_ms: u64,
    /// Milliseconds until a list shows what is new
    #[arg(long, default_value_t = 0)]
    lag_ms: u64,
    /// Make machines real, each with an own sshd on 127.N.x.y, in this folder; needs root
    #[arg(long, value_name = "DIR")]
    machines: Option<PathBuf>,
    /// Let tests order faults and look inside, at /sim/...
    #[arg(long)]
    stage: bool,
    /// Of each type in each location
    #[arg(long, default_value_t = 16)]
    stock: u64,
    /// N in the addresses of machines
    #[arg(long, default_value_t = 7)]
    network: u8,
    /// Calls in a second; more are refused
    #[arg(long, default_value_t = 5)]
    calls_per_second: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let rate = args.faults;
    let options = Options {
        seed: args.seed,
        faults: Faults {
            error_before: rate,
            error_after: rate,
            lost_answer: rate,
            too_many: rate,
            fails_late: rate,
        },
        boot: Duration::from_millis(args.boot_ms),
        lag: Duration::from_millis(args.lag_ms),
        calls_per_second: args.calls_per_second,
        staged: args.stage,
        stock: args.stock,
        guests: args.machines,
        network: args.network,
        ..Options::default()
    };
    let mut sim = Sim::start(args.listen, Account::default(), options).await?;
    println!("endpoint    {}", sim.endpoint());
    println!("access key  {}", sim.account().key_id);
    println!("secret key  {}", sim.account().secret);
    tokio::select! {
        () = sim.ended() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let bill = sim.bill();
    let left = sim.look(|world| {
        let (machines, disks) = (world.machines.len(), world.disks.len());
        let (partitions, made) = (world.partitions.len(), world.made);
        format!("machines made {made}, left {machines}, disks left {disks}, partitions left {partitions}")
    });
    println!("{left}, bill ${bill:.4}");
    Ok(())
}
