//! What the agent, and the runner, remember of one job on disk.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decide::{Stage, Stopping};
use crate::process_table::ProcessId;

/// Why a job ended, in the words of the HTTP API.
pub mod reason {
    pub const DONE: &str = "done_by_runner";
    pub const EXITED_WITH_ERROR: &str = "container_exited_with_error";
    pub const MAX_DURATION: &str = "max_duration_exceeded";
    pub const LOG_QUOTA: &str = "log_quota_exceeded";
    pub const UNUSED: &str = "terminated_due_to_utilization_policy";
    pub const EXECUTOR: &str = "executor_error";
    pub const CREATING: &str = "creating_container_error";
    pub const BY_SERVER: &str = "terminated_by_server";
}

/// `job.json`: the agent's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub submission: Uuid,
    pub phase: JobPhase,
    /// The order came with secrets; after a restart of the agent they have to come again.
    #[serde(default)]
    pub had_secrets: bool,
    #[serde(default)]
    pub handle: Option<Handle>,
    #[serde(default)]
    pub running: Option<Running>,
    /// In the container → on the host.
    #[serde(default)]
    pub ports: BTreeMap<u16, u16>,
    #[serde(default)]
    pub stopping: Option<Stopping>,
    #[serde(default)]
    pub killed_at: Option<Timestamp>,
    #[serde(default)]
    pub exit: Option<ExitRecord>,
}

impl JobRecord {
    pub fn accepted(submission: Uuid, had_secrets: bool) -> Self {
        Self {
            submission,
            phase: JobPhase::Accepted,
            had_secrets,
            handle: None,
            running: None,
            ports: BTreeMap::new(),
            stopping: None,
            killed_at: None,
            exit: None,
        }
    }

    pub fn stage(&self) -> Stage {
        match self.phase {
            JobPhase::Accepted => Stage::Waiting,
            JobPhase::Starting => Stage::Starting,
            JobPhase::Alive => Stage::Alive,
            JobPhase::Exited => Stage::Exited,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobPhase {
    Accepted,
    /// Written before anything is created: after a crash here one looks before one starts again.
    Starting,
    Alive,
    Exited,
}

/// How a runtime finds its runner again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handle {
    Process(ProcessId),
    Container(String),
}

/// `running.json`: the runner has started the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub started_at: Timestamp,
    pub user: String,
    pub working_dir: String,
    /// Ports that the runner chose itself, in the job → on the host.
    #[serde(default)]
    pub ports: BTreeMap<u16, u16>,
}

/// `exit.json`: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
}

impl ExitRecord {
    /// An end without a command's exit status.
    pub fn without_status(reason: &str, message: impl Into<String>, at: Timestamp) -> Self {
        Self {
            exit_status: None,
            signal: None,
            reason: reason.to_owned(),
            message: message.into(),
            at,
        }
    }
}

/// `stop.json`: what the agent tells the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    pub grace_s: u32,
}

/// `launch.json`: what the runtime tells the runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub layout: Layout,
    /// `Config.User` of the image.
    #[serde(default)]
    pub image_user: Option<String>,
    /// ENTRYPOINT and CMD of the image, for an order without commands.
    #[serde(default)]
    pub image_command: Vec<String>,
    /// Cgroups to enter before anything is started.
    #[serde(default)]
    pub cgroups: Vec<std::path::PathBuf>,
    /// Things the user should know, for the runner's log.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Whose file system the job sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Its own: `/dstack` and `/workflow` are what they are called.
    Container,
    /// The host's, shared with other jobs: both lie in the job's folder.
    #[default]
    Host,
}

/// `secrets.json`: environment variables whose values are secrets, and what opens the run's repository.
#[derive(Default, Serialize, Deserialize)]
pub struct Secrets {
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub repo: Option<RepoCreds>,
}

/// Credentials of a Git repository. No `Debug`: they must not reach a log.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RepoCreds {
    #[serde(default)]
    pub oauth_token: Option<String>,
    #[serde(default)]
    pub private_key: Option<String>,
}

/// `claim.json`: the runner that took the order. Created, never replaced: of two runners for one
/// order the second goes away, so no order is executed twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub process: ProcessId,
}
