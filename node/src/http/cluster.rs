//! The replicas themselves. Ours: upstream has nothing to compare.

use axum::extract::State;
use dstack_api::http::cluster::{ClusterMember, ClusterStatus, MemberRole};

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::MaybeBody;
use crate::cluster::{self, Member};
use crate::context::Context;

/// Answers without a leader too: this is what one asks when something is wrong.
pub async fn status(
    State(context): State<Context>,
    _caller: Caller,
    _body: MaybeBody<serde_json::Value>,
) -> Outcome<ClusterStatus> {
    let seen = context.cluster.status().await;
    let revision = context.views.now().revision;
    Ok(Answer::new(status_of(&seen), revision))
}

/// The wire form.
pub fn status_of(seen: &cluster::ClusterStatus) -> ClusterStatus {
    let name_of = |id| seen.members.iter().find(|member| member.id == id).map(|member| member.name.clone());
    let me = seen.members.iter().find(|member| member.id == seen.me);
    ClusterStatus {
        cluster_id: seen.cluster_id.clone(),
        answered_by: name_of(seen.me).unwrap_or_else(|| seen.me.to_string()),
        term: seen.term,
        leader: seen.leader.and_then(name_of),
        leader_since: seen.leader_since.map(Into::into),
        commit_index: me.and_then(|member| member.commit).unwrap_or(0),
        applied_index: me.and_then(|member| member.applied).unwrap_or(0),
        members: seen.members.iter().map(member_of).collect(),
    }
}

fn member_of(member: &Member) -> ClusterMember {
    ClusterMember {
        id: member.id,
        name: member.name.clone(),
        address: member.addr.clone(),
        role: if member.voter { MemberRole::Voter } else { MemberRole::Learner },
        leader: member.leader,
        reachable: member.reachable,
        version: member.version.clone(),
        commit_index: member.commit,
        applied_index: member.applied,
        lag: member.lag,
        last_ack_ms: member.last_ack_ms,
        state_hash: member.state_hash.map(|hash| format!("{hash:016x}")),
        started_at: member.started_at.map(Into::into),
    }
}
