//! The audit log: who did what to which things. Events live on disk only.

use crate::ids::{EventId, ProjectId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    Project,
    User,
    Fleet,
    Instance,
    Run,
    Job,
    Volume,
    Gateway,
    Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTarget {
    #[serde(rename = "type")]
    pub kind: TargetType,
    pub project_id: Option<ProjectId>,
    pub project_name: Option<String>,
    pub id: Uuid,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub message: String,
    pub recorded_at: Timestamp,
    pub actor_user_id: Option<UserId>,
    pub actor_user: Option<String>,
    pub targets: Vec<EventTarget>,
    /// What it happened within: projects, a fleet, a run. Every index row of an event can be
    /// derived from the event, or they could not go with it.
    #[serde(default)]
    pub scopes: Vec<Uuid>,
}
