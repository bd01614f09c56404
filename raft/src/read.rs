//! The linearizable read barrier, at the leader and through it.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};

use crate::context::Context;
use crate::error::{ReadError, Stopped};
use crate::proto::ReadIndexRequest;
use crate::transport::caller;
use crate::types::Raft;

const REMOTE: Duration = Duration::from_secs(2);

/// Confirms leadership with a majority, then names the index a read has to wait for.
pub async fn leader_index(raft: &Raft) -> Result<u64, ReadError> {
    match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((barrier, _)) => Ok(barrier.index()),
        Err(RaftError::Fatal(e)) => Err(Stopped {
            reason: e.to_string(),
        }
        .into()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f))) => {
            Err(ReadError::NoLeader {
                leader: f.leader_id,
            })
        }
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            Err(ReadError::NoMajority)
        }
    }
}

/// The same from any replica: a follower asks the leader it knows.
pub async fn index(ctx: &Arc<Context>) -> Result<u64, ReadError> {
    let stopped = || Stopped {
        reason: "it was shut down".to_owned(),
    };
    let running = ctx.running().ok_or_else(stopped)?;
    let leader = match leader_index(&running.raft).await {
        Err(ReadError::NoLeader {
            leader: Some(leader),
        }) if leader != ctx.me() => leader,
        other => return other,
    };
    let nowhere = ReadError::NoLeader {
        leader: Some(leader),
    };
    let Some(member) = ctx.member(leader) else {
        return Err(nowhere);
    };
    let mut client = ctx.caller(leader, &member);
    let request = caller::stamped(ctx, Some(leader), ReadIndexRequest {});
    match tokio::time::timeout(REMOTE, client.read_index(request)).await {
        Ok(Ok(reply)) => Ok(reply.into_inner().index),
        Ok(Err(_)) | Err(_) => Err(nowhere),
    }
}
