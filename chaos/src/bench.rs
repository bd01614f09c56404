//! Numbers for the README and the notes: boot, memory, sizes, and write pauses over many leader kills.

use crate::lab::{Binaries, Cluster};
use crate::prober::{Prober, longest_pause};
use crate::table;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::{Duration, Instant};

/// Prints everything; kills the leader `kills` times.
pub async fn bench(kills: usize) -> Result<()> {
    let binaries = Binaries::find()?;
    let folder = tempfile::Builder::new()
        .prefix("dstack-bench-")
        .tempdir()
        .context("a folder for the bench")?;
    let mut rows = Vec::new();
    for (name, path) in [
        ("dstack", &binaries.cli),
        ("dstack-server", &binaries.server),
        ("dstack-agent", &binaries.agent),
    ] {
        rows.push((
            name,
            format!(
                "{:.1} MB",
                std::fs::metadata(path).context("a binary's size")?.len() as f64 / 1e6
            ),
        ));
    }
    rows.push((
        "single replica, first start to first answer",
        format!("{} ms", boot(folder.path(), &binaries).await?),
    ));
    let mut cluster = Cluster::start(&folder.path().join("three"), 3, &binaries, &[]).await?;
    tokio::time::sleep(Duration::from_secs(3)).await; // idle: let the boot's memory settle before it is read
    for replica in &cluster.replicas {
        let pid = replica.pid().context("a replica's process id")?;
        rows.push((
            "idle memory of a replica (RSS)",
            format!("{:.1} MB", resident_mb(pid)?),
        ));
    }
    let mut pauses = Vec::new();
    for _ in 0..kills {
        pauses.push(one_kill(&mut cluster).await?);
    }
    pauses.sort();
    rows.push(("leader kills", kills.to_string()));
    for (name, percentile) in [
        ("write pause p50", 50),
        ("write pause p90", 90),
        ("write pause p99", 99),
        ("write pause max", 100),
    ] {
        rows.push((name, format!("{} ms", at(&pauses, percentile).as_millis())));
    }
    table::print(
        "Measured on this machine (fsync on, 3 replicas on loopback)",
        &rows,
    );
    Ok(())
}

async fn boot(folder: &Path, binaries: &Binaries) -> Result<u128> {
    let start = Instant::now();
    let cluster = Cluster::start(&folder.join("one"), 1, binaries, &[]).await?;
    let took = start.elapsed().as_millis();
    drop(cluster);
    Ok(took)
}

async fn one_kill(cluster: &mut Cluster) -> Result<Duration> {
    let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
    let survivors: Vec<String> = cluster
        .urls()
        .into_iter()
        .enumerate()
        .filter(|(at, _)| *at != leader)
        .map(|(_, url)| url)
        .collect();
    let prober = Prober::start(survivors, cluster.token.clone());
    prober.wait_acknowledged(20).await;
    let killed = Instant::now();
    cluster.replicas[leader].kill()?;
    while killed.elapsed() < Duration::from_secs(3) {
        crate::lab::pause().await;
    }
    let attempts = prober.finish().await?;
    if let Some(error) = attempts.iter().find_map(|attempt| attempt.error.clone()) {
        bail!("a write failed during a failover: {error}");
    }
    cluster.replicas[leader].start()?;
    cluster.replicas[leader]
        .wait_answers(Duration::from_secs(30))
        .await?;
    Ok(longest_pause(&attempts, killed))
}

fn at(sorted: &[Duration], percentile: usize) -> Duration {
    let index = (sorted.len() * percentile).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// Resident memory of a process.
pub fn resident_mb(pid: i32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("reading a replica's status")?;
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no VmRSS")?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .context("no number in VmRSS")?
        .parse()
        .context("VmRSS")?;
    Ok(kib / 1024.0)
}
