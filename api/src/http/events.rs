//! The audit log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Moment;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub id: Uuid,
    pub message: String,
    pub recorded_at: Moment,
    pub actor_user_id: Option<Uuid>,
    pub actor_user: Option<String>,
    pub is_actor_user_deleted: Option<bool>,
    pub targets: Vec<EventTarget>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventTarget {
    pub r#type: String,
    pub project_id: Option<Uuid>,
    pub project_name: Option<String>,
    pub is_project_deleted: Option<bool>,
    pub id: Uuid,
    pub name: String,
}

/// The kinds of things an event is about, as requests name them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventTargetType {
    Project,
    User,
    Fleet,
    Instance,
    Run,
    Job,
    Volume,
    Gateway,
    GatewayReplica,
    Secret,
    Preset,
}

impl EventTargetType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::User => "user",
            Self::Fleet => "fleet",
            Self::Instance => "instance",
            Self::Run => "run",
            Self::Job => "job",
            Self::Volume => "volume",
            Self::Gateway => "gateway",
            Self::GatewayReplica => "gateway-replica",
            Self::Secret => "secret",
            Self::Preset => "preset",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEvents {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_projects: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_users: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_fleets: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_instances: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_runs: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_jobs: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_volumes: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_gateways: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_gateway_replicas: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_secrets: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_presets: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_projects: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_fleets: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_runs: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_gateways: Option<Vec<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_target_types: Option<Vec<EventTargetType>>,
    /// `null` in the list is the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actors: Option<Vec<Option<Uuid>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_recorded_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_id: Option<Uuid>,
    #[serde(default = "default_limit")]
    pub limit: u32,
    #[serde(default)]
    pub ascending: bool,
}

/// Events in one page, at most.
pub const MOST_EVENTS: u32 = 100;
/// Identifiers in one filter, at most.
pub const MOST_FILTERED: usize = 16;

fn default_limit() -> u32 {
    MOST_EVENTS
}

impl Default for ListEvents {
    fn default() -> Self {
        Self {
            target_projects: None,
            target_users: None,
            target_fleets: None,
            target_instances: None,
            target_runs: None,
            target_jobs: None,
            target_volumes: None,
            target_gateways: None,
            target_gateway_replicas: None,
            target_secrets: None,
            target_presets: None,
            within_projects: None,
            within_fleets: None,
            within_runs: None,
            within_gateways: None,
            include_target_types: None,
            actors: None,
            prev_recorded_at: None,
            prev_id: None,
            limit: default_limit(),
            ascending: false,
        }
    }
}

impl ListEvents {
    /// The `target_*` filters that are set, with the type each asks for.
    pub fn targets(&self) -> Vec<(EventTargetType, &[Uuid])> {
        let all = [
            (EventTargetType::Project, &self.target_projects),
            (EventTargetType::User, &self.target_users),
            (EventTargetType::Fleet, &self.target_fleets),
            (EventTargetType::Instance, &self.target_instances),
            (EventTargetType::Run, &self.target_runs),
            (EventTargetType::Job, &self.target_jobs),
            (EventTargetType::Volume, &self.target_volumes),
            (EventTargetType::Gateway, &self.target_gateways),
            (
                EventTargetType::GatewayReplica,
                &self.target_gateway_replicas,
            ),
            (EventTargetType::Secret, &self.target_secrets),
            (EventTargetType::Preset, &self.target_presets),
        ];
        set(all)
    }

    /// The `within_*` filters that are set, with the type each asks for.
    pub fn within(&self) -> Vec<(EventTargetType, &[Uuid])> {
        let all = [
            (EventTargetType::Project, &self.within_projects),
            (EventTargetType::Fleet, &self.within_fleets),
            (EventTargetType::Run, &self.within_runs),
            (EventTargetType::Gateway, &self.within_gateways),
        ];
        set(all)
    }
}

fn set<const N: usize>(
    all: [(EventTargetType, &Option<Vec<Uuid>>); N],
) -> Vec<(EventTargetType, &[Uuid])> {
    all.into_iter()
        .filter_map(|(kind, ids)| ids.as_deref().map(|ids| (kind, ids)))
        .collect()
}
