//! Runs. The specification lies in a row of its own, so that a status change does not rewrite it.

use super::{RunReason, Sealed};
use crate::ids::{FleetId, ProjectId, RunId, UserId};
use crate::spec::{JobSpec, RunConfiguration, RunSpec};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    Pending,
    Submitted,
    Provisioning,
    Running,
    Terminating,
    Terminated,
    Failed,
    Done,
}

impl RunStatus {
    pub fn is_finished(self) -> bool {
        matches!(
            self,
            RunStatus::Terminated | RunStatus::Failed | RunStatus::Done
        )
    }

    /// Submitted, provisioning or running: the states that are derived from the jobs.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            RunStatus::Submitted | RunStatus::Provisioning | RunStatus::Running
        )
    }
}

/// The key pair by which the nodes of a run reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterKey {
    pub public: String,
    pub private: Sealed,
}

/// `spec`, `jobs` and `submissions` are stored beside the run's own row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    #[serde(skip, default = "no_spec")]
    pub spec: Arc<RunSpec>,
    /// Ordered by (replica, job).
    #[serde(skip)]
    pub jobs: Arc<Vec<Arc<JobSpec>>>,
    pub submitted_at: Timestamp,
    pub last_processed_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub status: RunStatus,
    pub termination_reason: Option<RunReason>,
    pub fleet_id: Option<FleetId>,
    pub priority: u32,
    pub deployment_num: u32,
    pub resubmission_attempt: u32,
    /// While pending: not before this moment are the jobs submitted again.
    pub retry_at: Option<Timestamp>,
    /// Of a scheduled run: when it starts next, and, while it runs, when it was started.
    pub next_triggered_at: Option<Timestamp>,
    pub deleted: bool,
    pub cluster_key: Option<ClusterKey>,
}

/// Stands in until the specification's own row has been read.
fn no_spec() -> Arc<RunSpec> {
    Arc::new(RunSpec::new(RunConfiguration::Task(Box::default())))
}
