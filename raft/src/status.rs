//! The replica's view of the cluster, for people and for monitoring.

use std::collections::BTreeSet;

use openraft::Instant;

use crate::NodeId;
use crate::context::{Context, Running};
use crate::types::{LogId, Metrics};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Voter,
    Learner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub id: NodeId,
    pub name: String,
    pub addr: String,
    pub role: Role,
    /// Known at the leader only: the last index the member has on disk.
    pub matched: Option<u64>,
    /// Known at the leader only: entries it is behind.
    pub lag: Option<u64>,
    /// Known at the leader only: milliseconds since it last answered.
    pub last_ack_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub cluster_id: String,
    pub me: NodeId,
    pub members: Vec<MemberStatus>,
    /// A change of members is under way.
    pub changing: bool,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub last_log: u64,
    pub commit: u64,
    pub applied: u64,
    pub snapshot: Option<u64>,
    pub purged: Option<u64>,
    pub state_hash: u64,
}

fn index(id: Option<&LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

pub(crate) fn of(ctx: &Context, running: &Running, metrics: &Metrics) -> Status {
    Status {
        cluster_id: ctx
            .identity()
            .map(|i| i.cluster_id.clone())
            .unwrap_or_default(),
        me: ctx.me(),
        members: members(metrics),
        changing: metrics
            .membership_config
            .membership()
            .get_joint_config()
            .len()
            > 1,
        term: metrics.current_term,
        leader: metrics.current_leader,
        last_log: metrics.last_log_index.unwrap_or(0),
        commit: index(metrics.local_committed.as_ref()).unwrap_or(0),
        applied: *running.progress.applied().borrow(),
        snapshot: index(metrics.snapshot.as_ref()),
        purged: index(metrics.purged.as_ref()),
        state_hash: running.progress.state_hash(),
    }
}

fn members(metrics: &Metrics) -> Vec<MemberStatus> {
    let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
    let last = metrics.last_log_index.unwrap_or(0);
    let leads = metrics.replication.is_some();
    let nodes = metrics.membership_config.membership().nodes();
    nodes
        .map(|(id, member)| {
            let me = *id == metrics.id;
            let replication = metrics.replication.as_ref().and_then(|r| r.get(id));
            let matched = if me && leads {
                Some(last)
            } else {
                replication.map(|m| index(m.as_ref()).unwrap_or(0))
            };
            let acked = metrics
                .heartbeat
                .as_ref()
                .and_then(|h| h.get(id))
                .and_then(Option::as_ref);
            let last_ack_ms = acked.map(|at| at.elapsed().as_millis() as u64);
            MemberStatus {
                id: *id,
                name: member.name.clone(),
                addr: member.addr.clone(),
                role: if voters.contains(id) {
                    Role::Voter
                } else {
                    Role::Learner
                },
                matched,
                lag: matched.map(|m| last.saturating_sub(m)),
                last_ack_ms: if me && leads { Some(0) } else { last_ack_ms },
            }
        })
        .collect()
}
