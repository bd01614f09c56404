//! What the cluster looks like, asked on any replica.
//!
//! Only the leader knows how far each member has come, and each member alone knows its version; so every
//! replica answers for itself, and whoever is asked gathers the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::{Handle, NodeId, PeerService, Peers, Role, Status, Stopped};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{env, limits};

const SERVICE: &str = "status";

/// The cluster as one replica sees it.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    pub cluster_id: String,
    /// The replica that answers.
    pub me: NodeId,
    pub term: u64,
    pub leader: Option<NodeId>,
    /// When the present leader began to lead, as the leader tells; none while it does not answer.
    pub leader_since: Option<Timestamp>,
    pub members: Vec<Member>,
}

/// One member, as it answers for itself and as the leader sees it.
#[derive(Debug, Clone)]
pub struct Member {
    pub id: NodeId,
    pub name: String,
    pub addr: String,
    pub voter: bool,
    pub leader: bool,
    /// It answered just now.
    pub reachable: bool,
    pub version: Option<String>,
    pub commit: Option<u64>,
    pub applied: Option<u64>,
    /// Log entries behind the leader; none when the leader does not answer.
    pub lag: Option<u64>,
    /// Time since the leader last heard of it.
    pub last_ack_ms: Option<u64>,
    pub state_hash: Option<u64>,
    pub started_at: Option<Timestamp>,
}

/// What a replica tells about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Report {
    version: String,
    started_at: Timestamp,
    commit: u64,
    applied: u64,
    state_hash: u64,
    /// Only while it leads.
    #[serde(default)]
    leading: Option<Leading>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Leading {
    term: u64,
    since: Timestamp,
    followers: BTreeMap<NodeId, Follower>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Follower {
    lag: Option<u64>,
    last_ack_ms: Option<u64>,
}

/// Answers questions about the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    raft: Handle,
    peers: Peers,
    started_at: Timestamp,
}

impl Cluster {
    pub fn open(raft: Handle) -> Cluster {
        let cluster = Cluster {
            peers: raft.peers(),
            raft,
            started_at: env::now(),
        };
        cluster.peers.register(
            SERVICE,
            Arc::new(Teller {
                cluster: cluster.clone(),
            }),
        );
        cluster
    }

    /// Asks every member; who does not answer in time is shown as unreachable.
    pub async fn status(&self) -> ClusterStatus {
        let Ok(status) = self.raft.status() else {
            return self.unknown();
        };
        let me = self.peers.me();
        let reports = self.reports(&status).await;
        let leading = reports
            .values()
            .filter_map(|report| report.leading.as_ref())
            .max_by_key(|l| l.term);
        let members = status.members.iter().map(|member| {
            let report = reports.get(&member.id);
            let seen = leading.and_then(|leading| leading.followers.get(&member.id));
            Member {
                id: member.id,
                name: member.name.clone(),
                addr: member.addr.clone(),
                voter: member.role == Role::Voter,
                leader: status.leader == Some(member.id),
                reachable: report.is_some(),
                version: report.map(|report| report.version.clone()),
                commit: report.map(|report| report.commit),
                applied: report.map(|report| report.applied),
                lag: seen.and_then(|seen| seen.lag),
                last_ack_ms: seen.and_then(|seen| seen.last_ack_ms),
                state_hash: report.map(|report| report.state_hash),
                started_at: report.map(|report| report.started_at),
            }
        });
        ClusterStatus {
            cluster_id: status.cluster_id.clone(),
            me,
            term: status.term,
            leader: status.leader,
            leader_since: leading.map(|leading| leading.since),
            members: members.collect(),
        }
    }

    /// What is left to say once the core has stopped.
    fn unknown(&self) -> ClusterStatus {
        ClusterStatus {
            cluster_id: self.raft.cluster_id(),
            me: self.raft.me(),
            term: 0,
            leader: None,
            leader_since: None,
            members: Vec::new(),
        }
    }

    async fn reports(&self, status: &Status) -> BTreeMap<NodeId, Report> {
        let asked = status.members.iter().map(async |member| {
            if member.id == self.peers.me() {
                return Some((member.id, self.report().ok()?));
            }
            let answer = self
                .peers
                .call(member.id, SERVICE, Bytes::new(), limits::PEER_QUESTION)
                .await;
            let report = serde_json::from_slice(&answer.ok()?).ok()?;
            Some((member.id, report))
        });
        futures::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    fn report(&self) -> Result<Report, Stopped> {
        let status = self.raft.status()?;
        let leadership = self.raft.leadership().borrow().clone();
        let leads = leadership.leader == Some(leadership.me);
        let leading = leads.then(|| Leading {
            term: leadership.term,
            since: Timestamp::from_millisecond(leadership.since_ms.cast_signed())
                .unwrap_or(Timestamp::UNIX_EPOCH),
            followers: status
                .members
                .iter()
                .map(|member| {
                    (
                        member.id,
                        Follower {
                            lag: member.lag,
                            last_ack_ms: member.last_ack_ms,
                        },
                    )
                })
                .collect(),
        });
        Ok(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            commit: status.commit,
            applied: status.applied,
            state_hash: status.state_hash,
            leading,
        })
    }
}

struct Teller {
    cluster: Cluster,
}

#[async_trait]
impl PeerService for Teller {
    async fn call(&self, _from: NodeId, _body: Bytes) -> Result<Bytes, String> {
        let report = self.cluster.report().map_err(|error| error.to_string())?;
        serde_json::to_vec(&report)
            .map(Bytes::from)
            .map_err(|error| error.to_string())
    }
}
