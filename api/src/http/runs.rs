//! Runs and their plans.

use std::collections::BTreeMap;

use dstack_domain::spec::{JobSpec, RunSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::jobs::{Job, JobSubmission};
use super::offers::InstanceOffer;
use super::time::Moment;
pub use dstack_domain::model::RunStatus;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    pub id: Uuid,
    pub project_name: String,
    pub user: String,
    pub fleet: Option<RunFleet>,
    pub submitted_at: Moment,
    pub last_processed_at: Moment,
    pub status: RunStatus,
    /// What to show instead of the status.
    #[serde(default)]
    pub status_message: String,
    pub termination_reason: Option<String>,
    pub run_spec: RunSpec,
    /// Ordered by (replica, job).
    pub jobs: Vec<Job>,
    pub latest_job_submission: Option<JobSubmission>,
    #[serde(default)]
    pub cost: f64,
    pub service: Option<ServiceSpec>,
    #[serde(default)]
    pub deployment_num: u32,
    pub error: Option<String>,
    pub deleted: Option<bool>,
    #[serde(default)]
    pub next_triggered_at: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFleet {
    pub id: Uuid,
    pub name: String,
}

/// Where a service is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceSpec {
    pub url: String,
    pub model: Option<ServiceModelSpec>,
    #[serde(default)]
    pub options: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceModelSpec {
    pub name: String,
    pub base_url: String,
    pub r#type: String,
}

/// What applying would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplyAction {
    Create,
    /// Also when nothing at all would change.
    Update,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunPlan {
    pub project_name: String,
    pub user: String,
    /// The client's own, unchanged: it is what the client submits next.
    pub run_spec: RunSpec,
    pub effective_run_spec: Option<RunSpec>,
    /// Never empty.
    pub job_plans: Vec<JobPlan>,
    pub current_resource: Option<Run>,
    pub action: ApplyAction,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobPlan {
    pub job_spec: JobSpec,
    pub offers: Vec<InstanceOffer>,
    pub total_offers: u64,
    pub max_price: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRunPlan {
    pub run_spec: RunSpec,
    #[serde(default)]
    pub max_offers: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reverse_offers: bool,
    #[serde(default)]
    pub full_offers: bool,
    #[serde(default)]
    pub unallocated_resources: bool,
    #[serde(default)]
    pub for_offers_only: bool,
}

/// Offers in one plan, at most.
pub const MOST_OFFERS: u32 = 10_000;
/// Offers in one plan when the client does not say.
pub const DEFAULT_OFFERS: u32 = 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRun {
    pub plan: ApplyRunInput,
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRunInput {
    pub run_spec: RunSpec,
    #[serde(default)]
    pub current_resource: Option<RunSnapshot>,
}

/// The part of a run that tells whether a plan was made for its present state. Clients echo the
/// whole run, with fields dropped and added as their version has it; the rest is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSnapshot {
    pub id: Uuid,
    pub run_spec: RunSpec,
}

impl From<&Run> for RunSnapshot {
    fn from(run: &Run) -> Self {
        Self {
            id: run.id,
            run_spec: run.run_spec.clone(),
        }
    }
}

/// `/api/runs/list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRuns {
    #[serde(default)]
    pub project_name: Option<String>,
    #[serde(default)]
    pub repo_id: Option<String>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub only_active: bool,
    #[serde(default = "yes")]
    pub include_jobs: bool,
    #[serde(default)]
    pub job_submissions_limit: Option<u32>,
    #[serde(default)]
    pub prev_submitted_at: Option<Moment>,
    #[serde(default)]
    pub prev_run_id: Option<Uuid>,
    #[serde(default = "default_limit")]
    pub limit: u32,
    #[serde(default)]
    pub ascending: bool,
}

impl Default for ListRuns {
    fn default() -> Self {
        Self {
            project_name: None,
            repo_id: None,
            username: None,
            only_active: false,
            include_jobs: true,
            job_submissions_limit: None,
            prev_submitted_at: None,
            prev_run_id: None,
            limit: default_limit(),
            ascending: false,
        }
    }
}

/// Runs in one page, at most.
pub const MOST_RUNS: u32 = 100;
/// Submissions of one job in a list, at most and when the client does not say.
pub const MOST_SUBMISSIONS: u32 = 10;

fn default_limit() -> u32 {
    MOST_RUNS
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRun {
    #[serde(default)]
    pub run_name: Option<String>,
    #[serde(default)]
    pub id: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRuns {
    pub runs_names: Vec<String>,
    pub abort: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRuns {
    pub runs_names: Vec<String>,
}
