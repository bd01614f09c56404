//! What is done to the system. Each nemesis reports evidence that it bit; one that did not bite
//! fails the campaign, since it proved nothing.

use crate::lab::agents::agents_of;
use crate::lab::{Cluster, Host};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use rand::Rng;
use std::time::{Duration, Instant};

/// The trouble a campaign makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Nemesis {
    /// SIGKILL of the leader; restarted after a moment.
    KillLeader,
    /// SIGKILL of a follower; restarted after a moment.
    KillFollower,
    /// SIGKILL of all replicas at once; all restarted.
    KillAll,
    /// SIGKILL of a host's agent; its supervisor or the server brings it back.
    KillAgent,
    /// SIGSTOP of the leader for longer than an election, then SIGCONT: it wakes up believing.
    PauseLeader,
    /// SIGTERM of every replica in turn, as an upgrade does.
    RollingRestart,
}

impl Nemesis {
    /// All of them, in the order a campaign takes them.
    pub const ALL: [Self; 6] = [
        Self::KillFollower,
        Self::KillLeader,
        Self::PauseLeader,
        Self::RollingRestart,
        Self::KillAgent,
        Self::KillAll,
    ];

    /// Strikes once and heals; returns what was seen that proves it.
    pub async fn strike(
        self,
        cluster: &mut Cluster,
        hosts: &[Host],
        rng: &mut impl Rng,
    ) -> Result<String> {
        match self {
            Self::KillLeader => kill_leader(cluster).await,
            Self::KillFollower => kill_follower(cluster).await,
            Self::KillAll => kill_all(cluster).await,
            Self::KillAgent => kill_agent(hosts, rng).await,
            Self::PauseLeader => pause_leader(cluster, rng).await,
            Self::RollingRestart => rolling_restart(cluster).await,
        }
    }
}

async fn kill_leader(cluster: &mut Cluster) -> Result<String> {
    let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
    let before = cluster.status(leader).await?.term;
    cluster.replicas[leader].kill()?;
    let (next, after) = wait_term_after(cluster, before).await?;
    restart(cluster, leader).await?;
    Ok(format!(
        "{} killed in term {before}, {} leads term {after}",
        name(cluster, leader),
        name(cluster, next)
    ))
}

async fn kill_follower(cluster: &mut Cluster) -> Result<String> {
    let follower = cluster.follower().await?;
    cluster.replicas[follower].kill()?;
    if cluster.status(follower).await.is_ok() {
        bail!("{} was killed and still answers", name(cluster, follower));
    }
    restart(cluster, follower).await?;
    Ok(format!("{} killed and back", name(cluster, follower)))
}

async fn kill_all(cluster: &mut Cluster) -> Result<String> {
    let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
    let before = cluster.status(leader).await?.term;
    for replica in &mut cluster.replicas {
        replica.kill()?;
    }
    for at in 0..cluster.replicas.len() {
        cluster.replicas[at].start()?;
    }
    for replica in &mut cluster.replicas {
        replica.wait_answers(Duration::from_secs(30)).await?;
    }
    let (next, after) = wait_term_after(cluster, before).await?;
    Ok(format!(
        "all killed in term {before}, {} leads term {after}",
        name(cluster, next)
    ))
}

async fn kill_agent(hosts: &[Host], rng: &mut impl Rng) -> Result<String> {
    let host = hosts
        .get(rng.random_range(0..hosts.len().max(1)))
        .context("there is no host")?;
    wait_agent(host).await?;
    let killed = host.kill_agent()?;
    if killed == 0 {
        bail!("no agent ran on {} to be killed", host.address);
    }
    wait_agent(host).await?;
    Ok(format!("agent on {} killed and back", host.address))
}

/// Waits until the host's agent runs.
async fn wait_agent(host: &Host) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while agents_of(&host.agent_home)?.is_empty() {
        if Instant::now() > deadline {
            bail!("the agent on {} does not come back", host.address);
        }
        crate::lab::pause().await;
    }
    Ok(())
}

async fn pause_leader(cluster: &mut Cluster, rng: &mut impl Rng) -> Result<String> {
    let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
    let before = cluster.status(leader).await?.term;
    cluster.replicas[leader].signal(Signal::SIGSTOP)?;
    let length = Duration::from_millis(rng.random_range(2000..4000));
    tokio::time::sleep(length).await; // the length of the pause is the fault itself
    cluster.replicas[leader].signal(Signal::SIGCONT)?;
    let (next, after) = wait_term_after(cluster, before).await?;
    Ok(format!(
        "{} slept {length:?}, {} leads term {after}",
        name(cluster, leader),
        name(cluster, next)
    ))
}

async fn rolling_restart(cluster: &mut Cluster) -> Result<String> {
    for at in 0..cluster.replicas.len() {
        let status = cluster.replicas[at].terminate().await?;
        if !status.success() {
            bail!(
                "{} answered SIGTERM with {status}:\n{}",
                name(cluster, at),
                cluster.replicas[at].tail()
            );
        }
        restart(cluster, at).await?;
        cluster.wait_leader(Duration::from_secs(30)).await?;
    }
    Ok("all replicas restarted in turn, each ended with exit code 0".to_owned())
}

/// Waits until a running replica leads a term after `before`: a replica that comes back may name the
/// leader it last knew until it hears of another. Returns the leader and its term.
async fn wait_term_after(cluster: &mut Cluster, before: u64) -> Result<(usize, u64)> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
        if let Ok(status) = cluster.status(leader).await
            && status.term > before
        {
            return Ok((leader, status.term));
        }
        if Instant::now() > deadline {
            bail!("no leader was elected after term {before}");
        }
        crate::lab::pause().await;
    }
}

async fn restart(cluster: &mut Cluster, at: usize) -> Result<()> {
    cluster.replicas[at].start()?;
    cluster.replicas[at]
        .wait_answers(Duration::from_secs(30))
        .await
}

fn name(cluster: &Cluster, at: usize) -> String {
    cluster.replicas[at].plan.name.clone()
}
