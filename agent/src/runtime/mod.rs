//! How a runner comes to life on this host, is found again, and is ended.
//!
//! A runtime never decides and never remembers: the reconciler tells it what to do and keeps what
//! it answers. Everything may be asked again after a restart of the agent, so everything is found
//! by what is outside the agent: a claim file and a process, or a container's labels.

mod cgroup;
pub mod docker;
pub mod fake;
pub mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dstack_api::agent::PullProgress;
use dstack_api::agent_job::JobOrder;
use tokio::sync::watch;
use uuid::Uuid;

use crate::home::JobDir;
use crate::record::{Handle, Launch, Secrets, reason};

/// One job as a runtime sees it.
#[derive(Clone)]
pub struct Task {
    pub submission: Uuid,
    pub job: JobDir,
    pub order: Arc<JobOrder>,
}

/// Name and password for the registry of the job's image.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// What is needed once, at the start, and kept nowhere.
#[derive(Clone, Default)]
pub struct Fuel {
    pub secrets: Arc<Secrets>,
    pub credentials: Option<Credentials>,
}

/// Where a pull stands; the reconciler reports it.
pub type Progress = watch::Sender<Option<PullProgress>>;

/// A runner that has been started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub handle: Handle,
    /// In the container → on the host.
    pub ports: BTreeMap<u16, u16>,
}

/// Why a runner could not be started; the job ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    pub reason: &'static str,
    pub message: String,
}

impl StartError {
    pub fn creating(message: impl Into<String>) -> Self {
        Self {
            reason: reason::CREATING,
            message: message.into(),
        }
    }

    pub fn executor(message: impl Into<String>) -> Self {
        Self {
            reason: reason::EXECUTOR,
            message: message.into(),
        }
    }
}

/// A runner that is gone, seen from outside; its exit record, if it wrote one, says more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    pub exit_status: Option<i32>,
    /// What the runtime knows: out of memory, another boot, a container that was removed.
    pub hint: Option<String>,
}

/// A lookup or a signal that could not be done now; it is tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct RuntimeError(pub String);

/// The seam.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// `docker` or `process`, as servers are told.
    fn name(&self) -> &'static str;

    /// Brings what the start needs: the image. May take long and may be dropped.
    async fn prepare(
        &self,
        task: &Task,
        fuel: &Fuel,
        progress: &Progress,
    ) -> Result<Launch, StartError>;

    /// Starts the runner. `launch.json` and `secrets.json` have been written.
    async fn start(&self, task: &Task, launch: &Launch) -> Result<Started, StartError>;

    /// A runner that an earlier life of the agent started and did not get to note down.
    async fn find(&self, task: &Task) -> Result<Option<Started>, RuntimeError>;

    /// Resolves when the runner is gone.
    async fn gone(&self, task: &Task, handle: &Handle) -> Gone;

    /// Makes the runner look at `stop.json` now.
    async fn nudge(&self, task: &Task, handle: &Handle) -> Result<(), RuntimeError>;

    /// Ends the runner and all the job's processes at once.
    async fn kill(&self, task: &Task, handle: &Handle) -> Result<(), RuntimeError>;

    /// Removes what is left of the job outside its folder. Repeated until it succeeds.
    async fn remove(&self, task: &Task, handle: Option<&Handle>) -> Result<(), RuntimeError>;
}

/// Which runtime a host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// Docker if its socket answers, else processes.
    Auto,
    Docker,
    Process,
}

/// Opens the runtime of this host.
pub async fn open(
    choice: Choice,
    docker_socket: PathBuf,
    home: &std::path::Path,
) -> anyhow::Result<Arc<dyn Runtime>> {
    match choice {
        Choice::Process => Ok(Arc::new(process::ProcessRuntime::new())),
        Choice::Docker => Ok(Arc::new(
            docker::DockerRuntime::connect(&docker_socket, home).await?,
        )),
        Choice::Auto => match docker::DockerRuntime::connect(&docker_socket, home).await {
            Ok(docker) => Ok(Arc::new(docker)),
            Err(error) => {
                tracing::info!(reason = %format!("{error:#}"), "no Docker here: jobs run as processes");
                Ok(Arc::new(process::ProcessRuntime::new()))
            }
        },
    }
}
