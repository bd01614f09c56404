//! One campaign: a lab, runs in flight, a prober, one nemesis after the other, then the verdict.

use crate::lab::{Binaries, Cli, Cluster, Host, current_user, keygen};
use crate::nemesis::Nemesis;
use crate::prober::Prober;
use crate::verdict;
use crate::workload::Workload;
use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Hosts of a campaign; each takes two jobs at once.
const HOSTS: u8 = 4;
/// Runs must have ended this long after the last heal.
const SETTLE: Duration = Duration::from_secs(300);

/// A lab with hosts, replicas and a fleet that is ready.
#[derive(Debug)]
pub struct Lab {
    /// The hosts behind sshd.
    pub hosts: Vec<Host>,
    /// The replicas.
    pub cluster: Cluster,
    /// One CLI for each replica, which knows the others too.
    pub clis: Vec<Cli>,
}

impl Lab {
    /// Starts everything below `folder` and applies the fleet `lab` of `hosts` hosts.
    pub async fn start(folder: &Path, hosts: u8) -> Result<Self> {
        let binaries = Binaries::find()?;
        let key = folder.join("id_ed25519");
        keygen(&key)?;
        let mut all = Vec::new();
        for number in 0..hosts {
            let address = Ipv4Addr::new(127, 0, 1, 11 + number);
            let place = folder.join(format!("host-{number}"));
            all.push(Host::start(&place, address, None, &key.with_extension("pub")).await?);
        }
        let cluster = Cluster::start(folder, 3, &binaries, &[]).await?;
        let urls = cluster.urls();
        let mut clis = Vec::new();
        for first in 0..urls.len() {
            let mut order = urls.clone();
            order.rotate_left(first);
            clis.push(Cli::new(
                &binaries,
                &folder.join(format!("home-{first}")),
                &order,
                &cluster.token,
            )?);
        }
        let lab = Self {
            hosts: all,
            cluster,
            clis,
        };
        lab.apply_fleet(&key).await?;
        Ok(lab)
    }

    async fn apply_fleet(&self, key: &Path) -> Result<()> {
        let user = current_user();
        let mut yaml = format!(
            "type: fleet\nname: lab\nplacement: cluster\nblocks: 2\nssh_config:\n  user: {user}\n  identity_file: {}\n  hosts:\n",
            key.display()
        );
        for host in &self.hosts {
            yaml.push_str(&format!(
                "    - hostname: {}\n      port: {}\n",
                host.address, host.port
            ));
        }
        let file = self.clis[0].home().join("fleet.dstack.yml");
        std::fs::write(&file, yaml).context("writing the fleet")?;
        self.clis[0]
            .run(&["apply", "-f", &file.display().to_string(), "-y"])
            .await
            .map(drop)
    }
}

/// Runs one nemesis, or all of them in turn, each for `seconds` with `runs` runs in flight.
pub async fn campaign(
    only: Option<Nemesis>,
    seconds: u64,
    runs: usize,
    seed: Option<u64>,
) -> Result<()> {
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::Builder::new()
        .prefix("dstack-chaos-")
        .tempdir()
        .context("a folder for the lab")?;
    let mut lab = Lab::start(folder.path(), HOSTS).await?;
    let nemeses = only.map_or_else(|| Nemesis::ALL.to_vec(), |one| vec![one]);
    for nemesis in nemeses {
        trouble(&mut lab, folder.path(), nemesis, seconds, runs, &mut rng)
            .await
            .with_context(|| format!("nemesis {nemesis:?}, seed {seed}"))?;
    }
    println!("nothing lost, nothing run twice, no log with a gap, no operation left hanging");
    Ok(())
}

/// One nemesis against fresh runs, then the verdict.
pub async fn trouble(
    lab: &mut Lab,
    folder: &Path,
    nemesis: Nemesis,
    seconds: u64,
    runs: usize,
    rng: &mut StdRng,
) -> Result<()> {
    let prefix = format!("{nemesis:?}").to_lowercase();
    println!("{nemesis:?}: {runs} runs in flight");
    let workload = Workload::submit(&lab.clis[0], &prefix, runs, folder).await?;
    // The prober's replica must live for its HTTP connection to live; with all replicas under fire
    // only the CLI, which fails over, is asked for zero failures.
    let probed = matches!(nemesis, Nemesis::KillAgent);
    let prober = probed.then(|| Prober::start(lab.cluster.urls(), lab.cluster.token.clone()));
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let evidence = nemesis.strike(&mut lab.cluster, &lab.hosts, rng).await?;
        println!("  {evidence}");
        if Instant::now() >= end {
            break;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(500..3000))).await; // the schedule's own rhythm
    }
    if let Some(prober) = prober {
        verdict::writes_kept(&lab.cluster, &prober.finish().await?).await?;
    }
    verdict::judge(&lab.clis, &mut lab.cluster, &workload, SETTLE).await?;
    println!("  verdict: all {runs} runs done, each started once, logs whole on every replica");
    Ok(())
}
