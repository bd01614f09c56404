//! Machines of fleets.

use dstack_domain::spec::BackendType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::offers::{GpuDriver, InstanceType};
use super::time::Moment;
pub use dstack_domain::model::{Health, InstanceStatus};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    pub id: Uuid,
    pub project_name: String,
    pub backend: Option<BackendType>,
    pub instance_type: Option<InstanceType>,
    pub name: String,
    pub fleet_id: Option<Uuid>,
    pub fleet_name: Option<String>,
    pub instance_num: u32,
    pub job_name: Option<String>,
    pub hostname: Option<String>,
    pub status: InstanceStatus,
    #[serde(default)]
    pub unreachable: bool,
    #[serde(default = "healthy")]
    pub health_status: Health,
    pub termination_reason: Option<String>,
    pub termination_reason_message: Option<String>,
    pub created: Moment,
    #[serde(default)]
    pub finished_at: Option<Moment>,
    pub region: Option<String>,
    pub availability_zone: Option<String>,
    pub price: Option<f64>,
    pub total_blocks: Option<u32>,
    #[serde(default)]
    pub busy_blocks: u32,
    pub gpu_driver: Option<GpuDriver>,
}

fn healthy() -> Health {
    Health::Healthy
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListInstances {
    #[serde(default)]
    pub project_names: Option<Vec<String>>,
    #[serde(default)]
    pub fleet_ids: Option<Vec<Uuid>>,
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

impl Default for ListInstances {
    fn default() -> Self {
        Self {
            project_names: None,
            fleet_ids: None,
            only_active: false,
            include_imported: false,
            prev_created_at: None,
            prev_id: None,
            limit: default_limit(),
            ascending: false,
        }
    }
}

fn default_limit() -> u32 {
    1000
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetInstance {
    pub id: Uuid,
}
