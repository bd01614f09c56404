//! The replicas behind the API. Ours; upstream has nothing like it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Moment;

/// `POST /api/cluster/status`, answered by any replica, with or without a leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    pub cluster_id: String,
    /// Name of the replica that answers.
    pub answered_by: String,
    pub term: u64,
    /// Name of the leader, while there is one.
    pub leader: Option<String>,
    pub leader_since: Option<Moment>,
    /// Of the replica that answers.
    pub commit_index: u64,
    /// Of the replica that answers.
    pub applied_index: u64,
    pub members: Vec<ClusterMember>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterMember {
    pub id: u64,
    pub name: String,
    /// Where its peers reach it.
    pub address: String,
    pub role: MemberRole,
    pub leader: bool,
    /// It answered just now.
    pub reachable: bool,
    pub version: Option<String>,
    pub commit_index: Option<u64>,
    pub applied_index: Option<u64>,
    /// Log entries it lacks, as the leader sees it.
    pub lag: Option<u64>,
    /// Since the leader last heard of it.
    pub last_ack_ms: Option<u64>,
    /// Of everything it has applied; equal at the same applied index, or something is wrong.
    pub state_hash: Option<String>,
    pub started_at: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    Voter,
    Learner,
}

/// A replica to take in, as a learner first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    pub name: String,
    pub address: String,
}

/// A replica to make a voter, or to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMember {
    pub name: String,
}

/// Identifies a write: sent again under the same id, it is not done twice.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The log index an answer reflects.
pub const REVISION_HEADER: &str = "x-revision";

/// A request id as clients send it.
pub fn parse_request_id(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text.trim()).ok()
}
