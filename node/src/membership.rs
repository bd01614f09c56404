//! Changing who is in the cluster, asked on any replica and done by the leader.
//!
//! Not through the door: membership is the consensus library's own kind of entry. A change is not sent twice
//! when its outcome is unknown; whoever asked looks at the members and decides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::{CallError, Handle, MembershipError, NodeId, PeerService};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::limits;

const SERVICE: &str = "membership";
/// A new voter has to catch up before it counts.
const PATIENCE: Duration = Duration::from_secs(60);

/// A change of one member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    /// A replica that receives the log but has no vote yet. It is started with `--join`.
    Add {
        name: String,
        addr: String,
    },
    Promote {
        id: NodeId,
    },
    Remove {
        id: NodeId,
    },
}

/// Why members were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("{0}")]
    Refused(String),
    #[error("there is no leader to ask; try again when there is one")]
    NoLeader,
    #[error("the outcome is not known; look at the members before trying again")]
    Unclear,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Done(NodeId),
    Refused(String),
    NotLeader,
    Unclear,
}

/// Changes members. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    raft: Handle,
}

impl Membership {
    pub fn open(raft: Handle) -> Membership {
        let membership = Membership { raft };
        membership
            .raft
            .peers()
            .register(SERVICE, Arc::new(membership.clone()));
        membership
    }

    /// Gets the leader to make a change; waits for a leader. Answers the id of the member.
    pub async fn change(&self, change: Change) -> Result<NodeId, ChangeError> {
        let body = postcard::to_stdvec(&change)
            .map_err(|error| ChangeError::Refused(error.to_string()))?;
        let body = Bytes::from(body);
        let deadline = Instant::now() + limits::PARK;
        let mut leadership = self.raft.leadership();
        loop {
            let leader = leadership.borrow_and_update().leader;
            if let Some(leader) = leader {
                match self
                    .raft
                    .peers()
                    .call(leader, SERVICE, body.clone(), PATIENCE)
                    .await
                {
                    Ok(answer) => match postcard::from_bytes(&answer) {
                        Ok(Answer::Done(id)) => return Ok(id),
                        Ok(Answer::Refused(why)) => return Err(ChangeError::Refused(why)),
                        Ok(Answer::NotLeader) => {}
                        Ok(Answer::Unclear) | Err(_) => return Err(ChangeError::Unclear),
                    },
                    Err(CallError::Refused(why)) => return Err(ChangeError::Refused(why)),
                    Err(CallError::Unreachable(_) | CallError::TimedOut) => {
                        return Err(ChangeError::Unclear);
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(ChangeError::NoLeader);
            }
            let _ = tokio::time::timeout(limits::RETRY_LAST, leadership.changed()).await;
        }
    }

    async fn make(&self, change: Change) -> Answer {
        let made = match change {
            Change::Add { name, addr } => self.raft.add_learner(&name, &addr).await,
            Change::Promote { id } => self.raft.promote(id).await.map(|()| id),
            Change::Remove { id } => self.raft.remove(id).await.map(|()| id),
        };
        match made {
            Ok(id) => Answer::Done(id),
            Err(MembershipError::NotLeader { .. }) => Answer::NotLeader,
            Err(MembershipError::OutcomeUnknown) => Answer::Unclear,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }
}

#[async_trait]
impl PeerService for Membership {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String> {
        let change: Change = postcard::from_bytes(&body).map_err(|error| error.to_string())?;
        tracing::info!(from, ?change, "members are to be changed");
        postcard::to_stdvec(&self.make(change).await)
            .map(Bytes::from)
            .map_err(|error| error.to_string())
    }
}
