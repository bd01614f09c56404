//! What jobs use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Moment;

/// The query of `metrics/job/{run_name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GetJobMetrics {
    #[serde(default)]
    pub run_id: Option<Uuid>,
    #[serde(default)]
    pub replica_num: u32,
    #[serde(default)]
    pub job_num: u32,
    /// How many of the latest points.
    #[serde(default = "one")]
    pub limit: u32,
    #[serde(default)]
    pub after: Option<Moment>,
    #[serde(default)]
    pub before: Option<Moment>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMetrics {
    pub metrics: Vec<Metric>,
}

/// One series, the latest point first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    pub name: String,
    pub timestamps: Vec<Moment>,
    pub values: Vec<u64>,
}
