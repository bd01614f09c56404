//! The replicas themselves. Ours: upstream has nothing to compare.

use axum::extract::State;
use dstack_api::http::cluster::{
    AddMember, ChangeMember, ClusterMember, ClusterStatus, MemberRole,
};

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::errors::HttpError;
use crate::cluster::{self, Member};
use crate::context::Context;
use crate::membership::Change;

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

/// Takes in a replica as a learner; it is started with `--join`.
pub async fn add(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<AddMember>,
) -> Outcome<ClusterStatus> {
    change(&context, &caller, |_| {
        Ok(Change::Add {
            name: request.name,
            addr: request.address,
        })
    })
    .await
}

/// Gives a learner its vote.
pub async fn promote(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<ChangeMember>,
) -> Outcome<ClusterStatus> {
    change(&context, &caller, |seen| {
        Ok(Change::Promote {
            id: id_of(seen, &request.name)?,
        })
    })
    .await
}

pub async fn remove(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<ChangeMember>,
) -> Outcome<ClusterStatus> {
    change(&context, &caller, |seen| {
        Ok(Change::Remove {
            id: id_of(seen, &request.name)?,
        })
    })
    .await
}

async fn change(
    context: &Context,
    caller: &Caller,
    what: impl FnOnce(&cluster::ClusterStatus) -> Result<Change, HttpError>,
) -> Outcome<ClusterStatus> {
    let (caller, _) = caller.fresh(context).await?;
    if !caller.is_global_admin() {
        return Err(HttpError::denied());
    }
    let change = what(&context.cluster.status().await)?;
    context
        .membership
        .change(change)
        .await
        .map_err(|error| HttpError::refused(error.to_string()))?;
    let seen = context.cluster.status().await;
    Ok(Answer::new(status_of(&seen), context.views.now().revision))
}

fn id_of(seen: &cluster::ClusterStatus, name: &str) -> Result<u64, HttpError> {
    let member = seen.members.iter().find(|member| member.name == name);
    member.map(|member| member.id).ok_or_else(|| {
        HttpError::absent(format!(
            "{name} is not a replica of this cluster; `dstack cluster status` names them"
        ))
    })
}

/// The wire form.
pub fn status_of(seen: &cluster::ClusterStatus) -> ClusterStatus {
    let name_of = |id| {
        seen.members
            .iter()
            .find(|member| member.id == id)
            .map(|member| member.name.clone())
    };
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
        role: if member.voter {
            MemberRole::Voter
        } else {
            MemberRole::Learner
        },
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
