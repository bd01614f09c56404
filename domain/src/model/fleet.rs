//! Fleets: named groups of machines with one specification.

use crate::ids::{FleetId, ProjectId, UserId};
use crate::spec::FleetSpec;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FleetStatus {
    Active,
    Terminating,
    Terminated,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub id: FleetId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    /// Without private keys: those are sealed in the instances.
    pub spec: Arc<FleetSpec>,
    pub created_at: Timestamp,
    pub status: FleetStatus,
    pub status_message: Option<String>,
    /// Grows with every in-place update; a plan is applied only to the version it was made for.
    pub version: u64,
    /// The next instance number. Numbers are not reused, so a name in an old event stays true.
    pub next_instance_num: u32,
}
