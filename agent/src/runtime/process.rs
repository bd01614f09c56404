//! Jobs as plain processes: no engine, for bare hosts, HPC nodes and demonstrations.
//!
//! The runner is detached: it has its own session and survives the agent. It is found again by
//! its claim file, which names a process by number, start time and boot.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use dstack_api::agent_job::{GpuSelection, OrderMount};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::Command;

use super::{Fuel, Gone, Progress, Runtime, RuntimeError, StartError, Started, Task, cgroup};
use crate::process_table::{self, ProcessId};
use crate::record::{Claim, Handle, Launch, Layout};
use crate::{durable, home::JobDir};

/// How often a runner that is nobody's child is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct ProcessRuntime {}

impl ProcessRuntime {
    pub fn new() -> Self {
        Self {}
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn prepare(
        &self,
        task: &Task,
        _fuel: &Fuel,
        _progress: &Progress,
    ) -> Result<Launch, StartError> {
        let order = &task.order;
        if order.commands.is_empty() {
            return Err(StartError::creating(
                "the job has no commands; without a container there is no image whose entrypoint could run. \
                 Add commands, or use a host with Docker",
            ));
        }
        let made = cgroup::make(task.submission, order);
        let mut notes = made.notes;
        if let Some(image) = &order.image_name {
            notes.push(format!(
                "this host runs jobs without containers: image {image} is not used"
            ));
        }
        if order.privileged {
            notes.push("this host runs jobs without containers: privileged is not used".into());
        }
        let elsewhere = |mount: &&OrderMount| mount.path != mount.instance_path && !mount.optional;
        if let Some(mount) = order.mounts.iter().find(elsewhere) {
            return Err(StartError::creating(format!(
                "volume {}:{} needs a container, and this host runs jobs without; \
                 use the same path on both sides, or a host with Docker",
                mount.instance_path, mount.path
            )));
        }
        Ok(Launch {
            layout: Layout::Host,
            cgroups: made.groups,
            notes,
            ..Launch::default()
        })
    }

    async fn start(&self, task: &Task, _launch: &Launch) -> Result<Started, StartError> {
        let stray = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(task.job.stray_output())
            .map_err(|error| {
                StartError::executor(format!("cannot write to the job's folder: {error}"))
            })?;
        let stray_too = stray
            .try_clone()
            .map_err(|error| StartError::executor(error.to_string()))?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("run")
            .arg("--dir")
            .arg(task.job.root())
            .current_dir(task.job.root())
            .stdin(Stdio::null())
            .stdout(Stdio::from(stray))
            .stderr(Stdio::from(stray_too));
        if let GpuSelection::Some(uuids) = &task.order.gpus {
            // Without a container nothing hides the other GPUs; these at least select.
            command
                .env("CUDA_VISIBLE_DEVICES", uuids.join(","))
                .env("ROCR_VISIBLE_DEVICES", uuids.join(","));
        }
        let mut child = command
            .spawn()
            .map_err(|error| StartError::executor(format!("cannot start the runner: {error}")))?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or_default();
        let process = ProcessId::of(pid)
            .map_err(|error| StartError::executor(format!("the runner ended at once: {error}")))?;
        // Collected here while this agent lives; afterwards by whoever inherits orphans.
        tokio::spawn(async move { child.wait().await });
        Ok(Started {
            handle: Handle::Process(process),
            ports: own_ports(task),
        })
    }

    async fn find(&self, task: &Task) -> Result<Option<Started>, RuntimeError> {
        let claimed = claimed(&task.job).map(|process| Started {
            handle: Handle::Process(process),
            ports: own_ports(task),
        });
        Ok(claimed)
    }

    async fn gone(&self, task: &Task, handle: &Handle) -> Gone {
        let Handle::Process(process) = handle else {
            return Gone::default();
        };
        while process.is_alive() {
            tokio::time::sleep(LOOK).await;
        }
        // Of two runners for one order (the agent died between starting and noting down), the one
        // that lost goes away at once; the job is the other's.
        if let Some(other) = claimed(&task.job).filter(|other| other != process) {
            while other.is_alive() {
                tokio::time::sleep(LOOK).await;
            }
        }
        let hint = process
            .is_from_another_boot()
            .then(|| "the instance was restarted while the job ran".to_owned());
        Gone {
            exit_status: None,
            hint,
        }
    }

    async fn nudge(&self, task: &Task, handle: &Handle) -> Result<(), RuntimeError> {
        if let Handle::Process(process) = handle {
            claimed(&task.job)
                .as_ref()
                .unwrap_or(process)
                .signal(Signal::SIGTERM);
        }
        Ok(())
    }

    async fn kill(&self, task: &Task, handle: &Handle) -> Result<(), RuntimeError> {
        if let Handle::Process(process) = handle {
            let runner = claimed(&task.job).unwrap_or_else(|| process.clone());
            if runner.is_alive() {
                runner.kill_descendants();
                runner.signal(Signal::SIGKILL);
            }
        }
        cgroup::kill(task.submission);
        sweep(task);
        Ok(())
    }

    async fn remove(&self, task: &Task, _handle: Option<&Handle>) -> Result<(), RuntimeError> {
        sweep(task);
        cgroup::remove(task.submission)
            .map_err(|error| RuntimeError(format!("cannot remove the job's cgroup: {error}")))
    }
}

/// The runner that took the order.
fn claimed(job: &JobDir) -> Option<ProcessId> {
    durable::read_json::<Claim>(&job.claim())
        .ok()
        .flatten()
        .map(|claim| claim.process)
}

/// On the host's network every port is itself.
fn own_ports(task: &Task) -> std::collections::BTreeMap<u16, u16> {
    task.order
        .app_ports
        .iter()
        .map(|port| (*port, *port))
        .collect()
}

/// What a runner that was killed could not take with it: processes that carry the job's id.
fn sweep(task: &Task) {
    let mark = format!("DSTACK_JOB_ID={}", task.submission);
    for pid in process_table::with_variable(&mark) {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
