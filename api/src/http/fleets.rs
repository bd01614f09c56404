//! Fleets.

use dstack_domain::spec::FleetSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::instances::Instance;
use super::offers::InstanceOffer;
use super::runs::ApplyAction;
use super::time::Moment;
pub use dstack_domain::model::FleetStatus;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    pub id: Uuid,
    pub name: String,
    pub project_name: String,
    pub spec: FleetSpec,
    pub created_at: Moment,
    pub status: FleetStatus,
    pub status_message: Option<String>,
    pub instances: Vec<Instance>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetPlan {
    pub project_name: String,
    pub user: String,
    /// The client's own, private keys included: it is what the client submits next.
    pub spec: FleetSpec,
    pub effective_spec: Option<FleetSpec>,
    pub current_resource: Option<Fleet>,
    pub offers: Vec<InstanceOffer>,
    pub total_offers: u64,
    pub max_offer_price: Option<f64>,
    pub action: Option<ApplyAction>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetFleetPlan {
    pub spec: FleetSpec,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyFleet {
    pub plan: ApplyFleetInput,
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyFleetInput {
    pub spec: FleetSpec,
    #[serde(default)]
    pub current_resource: Option<FleetSnapshot>,
}

/// The part of a fleet that tells whether a plan was made for its present state. Clients echo the
/// whole fleet, with fields dropped and added as their version has it; the rest is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetSnapshot {
    pub id: Uuid,
    pub spec: FleetSpec,
}

impl From<&Fleet> for FleetSnapshot {
    fn from(fleet: &Fleet) -> Self {
        Self {
            id: fleet.id,
            spec: fleet.spec.clone(),
        }
    }
}

/// `P/fleets/list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProjectFleets {
    #[serde(default)]
    pub include_imported: bool,
}

/// `/api/fleets/list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFleets {
    #[serde(default)]
    pub project_name: Option<String>,
    #[serde(default)]
    pub only_active: bool,
    #[serde(default)]
    pub include_imported: bool,
    #[serde(default)]
    pub prev_created_at: Option<Moment>,
    #[serde(default)]
    pub prev_id: Option<Uuid>,
    #[serde(default = "default_limit")]
    pub limit: u32,
    #[serde(default)]
    pub ascending: bool,
}

impl Default for ListFleets {
    fn default() -> Self {
        Self {
            project_name: None,
            only_active: false,
            include_imported: false,
            prev_created_at: None,
            prev_id: None,
            limit: default_limit(),
            ascending: false,
        }
    }
}

/// Fleets in one page, at most.
pub const MOST_FLEETS: u32 = 100;

fn default_limit() -> u32 {
    MOST_FLEETS
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetFleet {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub id: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteFleets {
    pub names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteFleetInstances {
    pub name: String,
    pub instance_nums: Vec<u32>,
}
