//! Submissions: one attempt of one job.

use super::{JobProvisioningData, JobReason, JobRuntimeData};
use crate::ids::{InstanceId, RunId, SubmissionId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    Submitted,
    Provisioning,
    Pulling,
    Running,
    Terminating,
    Terminated,
    Aborted,
    Failed,
    Done,
}

impl JobStatus {
    pub fn is_finished(self) -> bool {
        matches!(
            self,
            JobStatus::Terminated | JobStatus::Aborted | JobStatus::Failed | JobStatus::Done
        )
    }

    /// Neither finished nor on the way to it.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            JobStatus::Submitted
                | JobStatus::Provisioning
                | JobStatus::Pulling
                | JobStatus::Running
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullProgress {
    pub downloaded_bytes: u64,
    pub extracted_bytes: u64,
    pub total_bytes: u64,
    pub is_total_bytes_final: bool,
}

/// Which GPUs of the host a job may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuShare {
    #[default]
    All,
    None,
    /// By UUID.
    Some(Vec<String>),
}

/// Where a job was placed and what part of the host it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    pub instance: InstanceId,
    pub assigned_at: Timestamp,
    pub blocks: u32,
    pub gpus: GpuShare,
    /// How many GPUs that is.
    pub gpu_count: u32,
    /// Set when the job has only part of the host.
    pub cpu_limit: Option<f64>,
    pub memory_limit_mib: Option<u64>,
}

/// How the job's processes ended, as the agent saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    pub id: SubmissionId,
    pub run_id: RunId,
    pub replica_num: u32,
    pub job_num: u32,
    pub submission_num: u32,
    pub deployment_num: u32,
    pub submitted_at: Timestamp,
    pub last_processed_at: Timestamp,
    pub running_at: Option<Timestamp>,
    pub terminating_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub status: JobStatus,
    pub termination_reason: Option<JobReason>,
    pub termination_reason_message: Option<String>,
    /// Whether the agent was asked to let the job end by itself first.
    pub graceful: bool,
    pub exit: Option<Exit>,
    /// Kept after the end (upstream's `used_instance_id`).
    pub placement: Option<Placement>,
    pub provisioning_data: Option<JobProvisioningData>,
    pub runtime_data: Option<JobRuntimeData>,
    pub pull_progress: Option<PullProgress>,
    /// Of a running dev environment: since when nobody has been connected, by the clock of who
    /// led. Absent while somebody is, and while that is not known.
    #[serde(default)]
    pub idle_since: Option<Timestamp>,
}

impl Submission {
    pub fn instance(&self) -> Option<InstanceId> {
        self.placement.as_ref().map(|placement| placement.instance)
    }

    pub fn exit_status(&self) -> Option<i32> {
        self.exit.as_ref().and_then(|exit| exit.exit_status)
    }

    /// Whether it ever got a machine.
    pub fn was_provisioned(&self) -> bool {
        self.placement.is_some()
    }
}
