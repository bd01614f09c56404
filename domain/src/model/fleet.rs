//! Fleets: named groups of machines with one specification.

use crate::ids::{FleetId, IntentId, ProjectId, UserId};
use crate::spec::{BackendType, FleetNodes, FleetSpec, Placement};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// Of a cluster in a cloud: where all its machines are, from the first to the last.
    #[serde(default)]
    pub site: Option<Site>,
    /// What was asked for and could not be had, by `TYPE in REGION`.
    #[serde(default)]
    pub scarce: BTreeMap<String, Scarce>,
}

/// The one place of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub backend: BackendType,
    pub region: String,
    /// Name of the type of all its machines.
    pub product: String,
    /// The fast network between them, where there is one.
    pub fabric: Option<IntentId>,
}

/// A type of machine that was refused in a place, and when it is worth asking again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scarce {
    pub until: Timestamp,
    /// How long that was, in seconds, when it was refused.
    pub pause: i64,
    /// Refusals in a row.
    pub times: u32,
    pub why: String,
}

impl Scarce {
    /// In words: what is waited for, and how long. The same at every look, so that it is said once.
    pub fn words(&self, what: &str) -> String {
        format!("No {what}: {}; next try in {} s", self.why, self.pause)
    }
}

impl Fleet {
    /// How many machines it may have, when a cloud makes them.
    pub fn nodes(&self) -> Option<FleetNodes> {
        self.spec.configuration.nodes
    }

    pub fn is_cluster(&self) -> bool {
        self.spec.configuration.placement == Some(Placement::Cluster)
    }
}
