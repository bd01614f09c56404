//! Fleets in a simulated cloud, real replicas, and trouble on both sides: the leader is killed at random moments while
//! the cloud fails before and after its effects, loses answers and has no capacity. When both have calmed down, what is
//! in the account is what is on record; when nobody wants anything, the account is empty.

use crate::lab::{Binaries, Cli, Cloud, Cluster, pause};
use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// After the last fault, and after the last wish.
const CONVERGES: Duration = Duration::from_secs(60);
/// Of a thousand calls, for each of five kinds of fault.
const WORST: u32 = 80;
const FLEETS: usize = 4;
/// How the cloud is.
const WAYS: [&str; 8] = [
    "--boot-ms",
    "1500",
    "--lag-ms",
    "700",
    "--calls-per-second",
    "50",
    "--stock",
    "6",
];

/// Runs rounds with seeds counted up from `first`.
pub async fn clouds(rounds: u64, first: u64) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("dstack-chaos-")
        .tempdir()
        .context("a folder for the lab")?;
    let mut lab = CloudLab::start(folder.path()).await?;
    for seed in first..first.saturating_add(rounds) {
        let told = lab.round(seed).await;
        println!("{}", told.with_context(|| format!("seed {seed}"))?);
    }
    println!("nothing orphaned, nothing made twice, every account empty at the end");
    Ok(())
}

/// Three replicas and a cloud whose machines are records.
#[derive(Debug)]
pub struct CloudLab {
    /// The cloud.
    pub cloud: Cloud,
    /// The replicas.
    pub cluster: Cluster,
    /// Knows all of them.
    pub cli: Cli,
}

impl CloudLab {
    /// Starts everything below `folder`, and tells the project of the cloud.
    pub async fn start(folder: &Path) -> Result<Self> {
        let binaries = Binaries::find()?;
        let cloud = Cloud::start(folder, &binaries, &WAYS).await?;
        Self::around(cloud, folder, &binaries).await
    }

    /// The same with machines that are real. Needs root.
    pub async fn with_machines(folder: &Path) -> Result<Self> {
        let binaries = Binaries::find()?;
        let cloud = Cloud::with_machines(folder, &binaries, &WAYS).await?;
        Self::around(cloud, folder, &binaries).await
    }

    async fn around(cloud: Cloud, folder: &Path, binaries: &Binaries) -> Result<Self> {
        let cluster = Cluster::start(folder, 3, binaries, &[]).await?;
        let urls = cluster.urls();
        let cli = Cli::new(binaries, &folder.join("home"), &urls, &cluster.token)?;
        cloud.introduce(&cli).await?;
        Ok(Self {
            cloud,
            cluster,
            cli,
        })
    }

    /// One round; answers what was done in it.
    pub async fn round(&mut self, seed: u64) -> Result<String> {
        let mut rng = StdRng::seed_from_u64(seed);
        self.cloud.faults(rng.random_range(0..WORST)).await?;
        let (mut wanted, mut kills) = (Vec::new(), 0);
        for number in 0..FLEETS {
            let name = format!("f{seed}-{number}");
            self.apply(&name, &mut rng).await?;
            wanted.push(name);
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..1500))).await; // the schedule's own rhythm
            if rng.random_bool(0.5) {
                self.kill_leader().await?;
                kills += 1;
            }
            if rng.random_bool(0.3) {
                let gone = wanted.swap_remove(rng.random_range(0..wanted.len()));
                self.delete(&gone).await?;
            }
        }
        self.cloud.faults(0).await?;
        let settled = self.until("what is on record is there", settled).await?;
        for name in &wanted {
            self.delete(name).await?;
        }
        let emptied = self.until("nothing is left", empty).await?;
        let truth = self.cloud.truth().await?;
        if !truth.is_empty() {
            bail!("the ledger is empty, and the account is not: {truth:?}");
        }
        if let Some((name, times)) = truth.made.iter().find(|(_, times)| **times > 1) {
            bail!("{name} was made {times} times");
        }
        Ok(format!(
            "seed {seed}: {FLEETS} fleets, {kills} leaders killed, settled after {settled} s, empty after {emptied} s, {} machines so far",
            truth.made.len()
        ))
    }

    async fn apply(&self, name: &str, rng: &mut StdRng) -> Result<()> {
        let nodes = rng.random_range(1..=3);
        let kind = match rng.random_range(0..3) {
            0 => "placement: cluster\nresources:\n  gpu: H100:8\n",
            1 => "resources:\n  gpu: L40S:1\n",
            _ => "resources:\n  cpu: 2..8\n  gpu: 0\n  disk: 20GB..\n",
        };
        let yaml = format!("type: fleet\nname: {name}\nnodes: {nodes}\n{kind}");
        let file = self.cli.write(&format!("{name}.dstack.yml"), &yaml)?;
        self.cli
            .run(&["apply", "-y", "-d", "-f", &file])
            .await
            .map(drop)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        // The verb waits until the fleet is gone; here that is what is to be seen.
        let mut child = self
            .cli
            .command(&["fleet", "delete", "-y", name])
            .stdout(std::process::Stdio::null())
            .spawn()
            .context("starting dstack fleet delete")?;
        let deadline = Instant::now() + CONVERGES;
        loop {
            let fleets = self.cli.run(&["fleet", "--json"]).await?;
            let fleets: Value = serde_json::from_str(&fleets).context("the fleets")?;
            let list = fleets["fleets"].as_array().cloned().unwrap_or_default();
            let there = list.iter().find(|fleet| fleet["name"] == name);
            if there.is_none_or(|fleet| fleet["status"] == "terminating") {
                return child.kill().await.context("ending dstack fleet delete");
            }
            if Instant::now() > deadline {
                bail!("fleet {name} is not being deleted");
            }
            pause().await;
        }
    }

    async fn kill_leader(&mut self) -> Result<()> {
        let leader = self.cluster.wait_leader(Duration::from_secs(30)).await?;
        self.cluster.replicas[leader].kill()?;
        self.cluster.wait_leader(Duration::from_secs(30)).await?;
        self.cluster.replicas[leader].start()
    }

    /// The ledger against the account, as every user can have it.
    pub async fn leaks(&self) -> Result<Value> {
        let out = self.cli.output(&["leaks", "--json"]).await?;
        serde_json::from_slice(&out.stdout)
            .with_context(|| format!("dstack leaks said {}", String::from_utf8_lossy(&out.stderr)))
    }

    /// Waits until the comparison is so; answers after how many seconds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<u64> {
        let begun = Instant::now();
        loop {
            let leaks = self.leaks().await?;
            if holds(&leaks) {
                return Ok(begun.elapsed().as_secs());
            }
            if begun.elapsed() > CONVERGES {
                bail!(
                    "{what}: not within {CONVERGES:?}: {leaks}\n{:?}",
                    self.cloud.truth().await?
                );
            }
            pause().await;
        }
    }
}

/// Everything in the account is on record, and nothing is in doubt or on its way.
pub fn settled(leaks: &Value) -> bool {
    let things = leaks["things"].as_array().cloned().unwrap_or_default();
    let rests = |thing: &Value| thing["verdict"] == "accounted" || thing["phase"] == "planned";
    leaks["problems"].as_array().is_some_and(Vec::is_empty) && things.iter().all(rests)
}

/// Nothing in the account, nothing on record.
pub fn empty(leaks: &Value) -> bool {
    settled(leaks) && leaks["things"].as_array().is_some_and(Vec::is_empty)
}
