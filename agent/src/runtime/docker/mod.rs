//! Jobs as containers of the host's Docker.
//!
//! The container is process 1 = our runner, bound into it with the job's folder, so any image will
//! do. It carries labels with the submission and the agent's home; after a restart of the agent,
//! or a crash between creating and noting down, it is found by them.

mod create;
mod devices;
mod pull;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerState};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::StreamExt;

use super::{Fuel, Gone, Progress, Runtime, RuntimeError, StartError, Started, Task};
use crate::record::{Handle, Launch, Layout};

/// Which submission a container runs.
const LABEL_SUBMISSION: &str = "dev.dstack.submission";
/// Which agent it belongs to: several may share one Docker.
const LABEL_HOME: &str = "dev.dstack.agent-home";
const CALL_TIMEOUT_S: u64 = 120;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);

pub struct DockerRuntime {
    docker: Docker,
    home: PathBuf,
}

impl DockerRuntime {
    /// Connects and agrees on a version of the API.
    pub async fn connect(socket: &Path, home: &Path) -> anyhow::Result<Self> {
        let path = socket
            .to_str()
            .context("the path of Docker's socket is not UTF-8")?;
        let docker = Docker::connect_with_unix(path, CALL_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
            .with_context(|| format!("no Docker at {path}"))?;
        let docker = tokio::time::timeout(CONNECT_PATIENCE, docker.negotiate_version())
            .await
            .with_context(|| format!("Docker at {path} does not answer"))?
            .with_context(|| format!("Docker at {path} refuses us"))?;
        Ok(Self {
            docker,
            home: home.to_owned(),
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, Error> {
        match self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn find_ids(&self, task: &Task) -> Result<Vec<String>, RuntimeError> {
        let filters = HashMap::from([(
            "label".to_owned(),
            vec![
                format!("{LABEL_SUBMISSION}={}", task.submission),
                format!("{LABEL_HOME}={}", self.home.display()),
            ],
        )]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(runtime_error)?;
        Ok(found
            .into_iter()
            .filter_map(|container| container.id)
            .collect())
    }

    async fn remove_id(&self, id: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match self.docker.remove_container(id, Some(options)).await {
            Err(error) if !matches!(status(&error), Some(404 | 409)) => Err(runtime_error(error)),
            _ => Ok(()),
        }
    }

    async fn started(&self, id: String) -> Result<Started, Error> {
        let found = self.inspect(&id).await?;
        let ports = found.as_ref().map(published).unwrap_or_default();
        Ok(Started {
            handle: Handle::Container(id),
            ports,
        })
    }

    async fn send(&self, handle: &Handle, signal: &str) -> Result<(), RuntimeError> {
        let Handle::Container(id) = handle else {
            return Ok(());
        };
        let options = KillContainerOptionsBuilder::default()
            .signal(signal)
            .build();
        match self.docker.kill_container(id, Some(options)).await {
            // Gone, or not running: what was wanted.
            Err(error) if !matches!(status(&error), Some(404 | 409)) => Err(runtime_error(error)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn prepare(
        &self,
        task: &Task,
        fuel: &Fuel,
        progress: &Progress,
    ) -> Result<Launch, StartError> {
        let image = task.order.image_name.as_deref().ok_or_else(|| {
            StartError::creating("the order names no image, and this host runs jobs in containers")
        })?;
        let image = pull::with_tag(image);
        let mut notes = Vec::new();
        notes.extend(pull::pull(&self.docker, &image, fuel.credentials.as_ref(), progress).await?);
        let found = self.docker.inspect_image(&image).await.map_err(|error| {
            StartError::creating(format!("cannot inspect image {image}: {error}"))
        })?;
        let config = found.config.unwrap_or_default();
        let entrypoint = config.entrypoint.unwrap_or_default();
        Ok(Launch {
            layout: Layout::Container,
            image_user: config.user,
            image_command: entrypoint
                .into_iter()
                .chain(config.cmd.unwrap_or_default())
                .collect(),
            cgroups: Vec::new(),
            notes,
        })
    }

    async fn start(&self, task: &Task, _launch: &Launch) -> Result<Started, StartError> {
        create::place_binary(&task.job).map_err(|error| {
            StartError::creating(format!(
                "cannot place the runner for the container: {error}"
            ))
        })?;
        let id = create::create(&self.docker, task, &self.home).await?;
        if let Err(error) = self.docker.start_container(&id, None).await {
            let _ = self.remove_id(&id).await;
            return Err(StartError::creating(format!(
                "cannot start the container: {}",
                message(&error)
            )));
        }
        self.started(id)
            .await
            .map_err(|error| StartError::creating(format!("cannot inspect the container: {error}")))
    }

    async fn find(&self, task: &Task) -> Result<Option<Started>, RuntimeError> {
        for id in self.find_ids(task).await? {
            let found = self.inspect(&id).await.map_err(runtime_error)?;
            let state = found.and_then(|found| found.state).unwrap_or_default();
            // Created and never started: the agent died in between. It is made anew.
            if state
                .started_at
                .as_deref()
                .is_none_or(|at| at.starts_with("0001-"))
            {
                self.remove_id(&id).await?;
                continue;
            }
            return self.started(id).await.map(Some).map_err(runtime_error);
        }
        Ok(None)
    }

    async fn gone(&self, _task: &Task, handle: &Handle) -> Gone {
        let Handle::Container(id) = handle else {
            return Gone::default();
        };
        loop {
            let options = WaitContainerOptionsBuilder::default()
                .condition("not-running")
                .build();
            let _ = self.docker.wait_container(id, Some(options)).next().await;
            // Whatever the wait said, the container itself knows best.
            match self.inspect(id).await {
                Ok(None) => {
                    return Gone {
                        exit_status: None,
                        hint: Some("the container was removed".into()),
                    };
                }
                Ok(Some(found)) => {
                    let state = found.state.unwrap_or_default();
                    if state.running != Some(true) && state.restarting != Some(true) {
                        return gone(&state);
                    }
                }
                Err(error) => {
                    tracing::warn!(container = id, %error, "Docker does not answer; the job is left alone")
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn nudge(&self, _task: &Task, handle: &Handle) -> Result<(), RuntimeError> {
        self.send(handle, "SIGTERM").await
    }

    async fn kill(&self, _task: &Task, handle: &Handle) -> Result<(), RuntimeError> {
        self.send(handle, "SIGKILL").await
    }

    async fn remove(&self, task: &Task, handle: Option<&Handle>) -> Result<(), RuntimeError> {
        if let Some(Handle::Container(id)) = handle {
            self.remove_id(id).await?;
        }
        for id in self.find_ids(task).await? {
            self.remove_id(&id).await?;
        }
        Ok(())
    }
}

fn gone(state: &ContainerState) -> Gone {
    let hint = if state.oom_killed == Some(true) {
        Some("the container ran out of memory".to_owned())
    } else {
        state.error.clone().filter(|error| !error.is_empty())
    };
    Gone {
        exit_status: state.exit_code.and_then(|code| i32::try_from(code).ok()),
        hint,
    }
}

/// Container port → host port.
fn published(container: &ContainerInspectResponse) -> BTreeMap<u16, u16> {
    let ports = container
        .network_settings
        .as_ref()
        .and_then(|network| network.ports.as_ref());
    ports
        .into_iter()
        .flatten()
        .filter_map(|(inside, bindings)| {
            let inside = inside.split('/').next()?.parse().ok()?;
            let outside = bindings
                .as_ref()?
                .first()?
                .host_port
                .as_ref()?
                .parse()
                .ok()?;
            Some((inside, outside))
        })
        .collect()
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What Docker said, without the wrapping.
fn message(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}

fn runtime_error(error: Error) -> RuntimeError {
    RuntimeError(format!("Docker: {}", message(&error)))
}
