//! Three (or one) real replicas, started, watched, killed.

use super::binaries::Binaries;
use super::ports::free_port;
use super::replica::{Replica, ReplicaPlan};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The replicas of one cluster.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of their names.
    pub replicas: Vec<Replica>,
    /// The admin's token.
    pub token: String,
}

/// What `/api/cluster/status` must say for the lab's needs.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Raft term.
    pub term: u64,
    /// Name of the leader, if one is known.
    pub leader: Option<String>,
    /// Index of the last applied entry on the replica asked.
    pub applied_index: u64,
}

impl Cluster {
    /// Plans, certifies and starts `size` replicas below `folder`, and waits for a leader.
    pub async fn start(
        folder: &Path,
        size: usize,
        binaries: &Binaries,
        env: &[(String, String)],
    ) -> Result<Self> {
        let token = uuid::Uuid::new_v4().to_string();
        let names: Vec<String> = (1..=size).map(|number| format!("n{number}")).collect();
        let peers = names
            .iter()
            .map(|_| Ok(format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?)))
            .collect::<Result<Vec<_>>>()?;
        let initial: Vec<String> = names
            .iter()
            .zip(&peers)
            .map(|(name, peer)| format!("{name}={peer}"))
            .collect();
        let tls = if size > 1 {
            Some(init_ca(folder, &names, binaries)?)
        } else {
            None
        };
        let mut replicas = Vec::new();
        for (name, peer) in names.iter().zip(peers) {
            let plan = ReplicaPlan {
                name: name.clone(),
                http_port: free_port(Ipv4Addr::LOCALHOST)?,
                peer,
                initial_cluster: if size > 1 {
                    initial.join(",")
                } else {
                    String::new()
                },
                data: folder.join(name),
                tls: tls.as_ref().map(|folder| folder.join(name)),
                token: token.clone(),
                env: env.to_vec(),
            };
            replicas.push(Replica::new(plan, binaries.clone()));
        }
        let mut cluster = Self { replicas, token };
        for replica in &mut cluster.replicas {
            replica.start()?;
        }
        for replica in &mut cluster.replicas {
            replica.wait_answers(Duration::from_secs(30)).await?;
        }
        cluster.wait_leader(Duration::from_secs(30)).await?;
        Ok(cluster)
    }

    /// URLs of all replicas.
    pub fn urls(&self) -> Vec<String> {
        self.replicas.iter().map(Replica::url).collect()
    }

    /// Status as replica `at` sees it.
    pub async fn status(&self, at: usize) -> Result<Status> {
        let answer = super::http()
            .post(format!("{}/api/cluster/status", self.replicas[at].url()))
            .bearer_auth(&self.token)
            .timeout(Duration::from_secs(2))
            .send()
            .await
            .context("asking for the cluster's status")?;
        let text = answer
            .text()
            .await
            .context("reading the cluster's status")?;
        serde_json::from_str(&text).with_context(|| format!("the cluster's status reads {text}"))
    }

    /// Index of the replica that running replicas name as leader.
    pub async fn leader(&mut self) -> Option<usize> {
        for at in 0..self.replicas.len() {
            if !self.replicas[at].runs() {
                continue;
            }
            let Ok(status) = self.status(at).await else {
                continue;
            };
            let Some(name) = status.leader else { continue };
            let found = self
                .replicas
                .iter()
                .position(|replica| replica.plan.name == name);
            if let Some(index) = found
                && self.replicas[index].runs()
            {
                return Some(index);
            }
        }
        None
    }

    /// Waits until a running replica leads; returns its index.
    pub async fn wait_leader(&mut self, limit: Duration) -> Result<usize> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                let tails: Vec<String> = self.replicas.iter().map(Replica::tail).collect();
                bail!("no leader within {limit:?}:\n{}", tails.join("\n--\n"));
            }
            super::pause().await;
        }
    }

    /// Index of some running replica that does not lead.
    pub async fn follower(&mut self) -> Result<usize> {
        let leader = self.wait_leader(Duration::from_secs(30)).await?;
        (0..self.replicas.len())
            .find(|at| *at != leader && self.replicas[*at].runs())
            .context("no follower runs")
    }
}

fn init_ca(folder: &Path, names: &[String], binaries: &Binaries) -> Result<PathBuf> {
    let tls = folder.join("tls");
    let out = Command::new(&binaries.server)
        .arg("init-ca")
        .arg("--dir")
        .arg(&tls)
        .arg("--nodes")
        .arg(names.join(","))
        .output()
        .context("running dstack-server init-ca")?;
    if !out.status.success() {
        bail!(
            "dstack-server init-ca: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(tls)
}
