//! Jobs of a run and their submissions.

use dstack_domain::spec::JobSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Moment;
pub use dstack_domain::model::{
    JobProvisioningData, JobRuntimeData, JobStatus, NetworkMode, PullProgress,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    pub job_spec: JobSpec,
    /// Never empty: clients look at the last one without asking.
    pub job_submissions: Vec<JobSubmission>,
    #[serde(default)]
    pub job_connection_info: Option<JobConnectionInfo>,
}

/// One attempt of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSubmission {
    pub id: Uuid,
    pub submission_num: u32,
    #[serde(default)]
    pub deployment_num: u32,
    pub submitted_at: Moment,
    pub last_processed_at: Moment,
    pub finished_at: Option<Moment>,
    pub inactivity_secs: Option<u64>,
    pub status: JobStatus,
    /// What to show instead of the status.
    #[serde(default)]
    pub status_message: String,
    pub termination_reason: Option<String>,
    pub termination_reason_message: Option<String>,
    pub exit_status: Option<i32>,
    pub job_provisioning_data: Option<JobProvisioningData>,
    pub job_runtime_data: Option<JobRuntimeData>,
    pub error: Option<String>,
    #[serde(default)]
    pub probes: Vec<Probe>,
    pub image_pull_progress: Option<PullProgress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    pub success_streak: u32,
}

/// How to get into a running job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobConnectionInfo {
    pub ide_name: Option<String>,
    pub attached_ide_url: Option<String>,
    pub proxied_ide_url: Option<String>,
    pub attached_ssh_command: Option<Vec<String>>,
    pub proxied_ssh_command: Option<Vec<String>>,
    pub sshproxy_hostname: Option<String>,
    pub sshproxy_port: Option<u16>,
    pub sshproxy_upstream_id: Option<String>,
}
