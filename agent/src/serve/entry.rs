//! One job in the reconciler's hands.

use std::io;
use std::sync::Arc;

use dstack_api::agent::{PullProgress, stream};
use dstack_api::agent_job::JobOrder;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::guest_keys::Grant;
use crate::clock;
use crate::decide::Seen;
use crate::durable;
use crate::home::Home;
use crate::record::{ExitRecord, JobPhase, JobRecord, Secrets, reason};
use crate::runner::sshd::SSH_PORT;
use crate::runtime::{Fuel, Gone, Task};
use crate::spool::SpoolWriter;

pub struct Entry {
    pub record: JobRecord,
    pub task: Task,
    /// Secrets and credentials, while the job has not started.
    pub fuel: Option<Fuel>,
    pub pull: watch::Sender<Option<PullProgress>>,
    pub launching: Option<Launching>,
    /// The task that waits for the runner's end.
    pub watcher: Option<AbortHandle>,
    pub forgetting: bool,
    /// The record on disk is older than this one: the disk refused.
    dirty: bool,
}

/// A start on its way.
pub struct Launching {
    pub abort: AbortHandle,
    pub step: LaunchStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchStep {
    /// Pulling: may be dropped at any time.
    Preparing,
    /// Something may exist: it has to be waited for.
    Creating,
}

impl Entry {
    pub fn new(home: &Home, record: JobRecord, order: JobOrder, fuel: Option<Fuel>) -> Self {
        let submission = record.submission;
        Self {
            record,
            task: Task {
                submission,
                job: home.job(submission),
                order: Arc::new(order),
            },
            fuel,
            pull: watch::Sender::new(None),
            launching: None,
            watcher: None,
            forgetting: false,
            dirty: false,
        }
    }

    /// Reads a job that an earlier life of the agent left.
    pub fn load(home: &Home, submission: Uuid) -> io::Result<Option<Self>> {
        let job = home.job(submission);
        let Some(record) = durable::read_json::<JobRecord>(&job.record())? else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(job.order()).unwrap_or_default();
        let order = JobOrder::from_json(&text).unwrap_or_default();
        let kept: Option<Secrets> = durable::read_json(&job.secrets()).unwrap_or_default();
        let fuel = match (record.had_secrets, kept) {
            (_, Some(secrets)) => Some(Fuel {
                secrets: Arc::new(secrets),
                credentials: None,
            }),
            (false, None) => Some(Fuel::default()),
            (true, None) => None,
        };
        Ok(Some(Self::new(home, record, order, fuel)))
    }

    /// What `decide` has to know.
    pub fn seen(&self, home: &Home) -> Seen {
        Seen {
            stage: self.record.stage(),
            archives_missing: !self.archives_missing(home).is_empty(),
            secrets_ready: self.fuel.is_some(),
            stopping: self.record.stopping,
            killed_at: self.record.killed_at,
        }
    }

    /// Archives of the order that have not been brought.
    pub fn archives_missing(&self, home: &Home) -> Vec<String> {
        if self.record.phase != JobPhase::Accepted {
            return Vec::new();
        }
        let mut missing: Vec<String> = self
            .archives()
            .filter(|sha| home.archive(sha).is_some_and(|path| !path.exists()))
            .map(str::to_owned)
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Who may pass through this host to the job.
    pub fn grants(&self) -> Vec<Grant> {
        let order = &self.task.order;
        let grant = |key: &String| Grant {
            user: order.host_user.clone(),
            submission: self.record.submission,
            key: key.clone(),
        };
        order.host_keys.iter().map(grant).collect()
    }

    /// Where on this host the job's SSH server listens, if that is not its usual port.
    pub fn ssh_port(&self) -> Option<u16> {
        let chosen = self
            .record
            .running
            .as_ref()
            .and_then(|running| running.ports.get(&SSH_PORT));
        chosen.or_else(|| self.record.ports.get(&SSH_PORT)).copied()
    }

    /// Every archive the order names.
    pub fn archives(&self) -> impl Iterator<Item = &str> {
        let order = &self.task.order;
        let code = order.code_archive.iter().map(|code| code.sha256.as_str());
        order
            .archives
            .iter()
            .map(|archive| archive.sha256.as_str())
            .chain(code)
    }

    /// Writes the record; what the disk refuses is tried again with the next round.
    pub fn save(&mut self) {
        self.dirty = match durable::write_json(&self.task.job.record(), &self.record) {
            Ok(()) => false,
            Err(error) => {
                tracing::error!(submission = %self.record.submission, %error, "cannot write the job's record");
                true
            }
        };
    }

    pub fn save_again(&mut self) {
        if self.dirty {
            self.save();
        }
    }

    /// The job is over.
    pub fn finish(&mut self, exit: ExitRecord) {
        if let Some(launching) = self.launching.take() {
            launching.abort.abort();
        }
        tracing::info!(submission = %self.record.submission, reason = exit.reason, status = ?exit.exit_status, "job ended");
        self.record.exit = Some(exit);
        self.record.phase = JobPhase::Exited;
        self.fuel = None;
        self.pull.send_replace(None);
        let _ = durable::remove_file(&self.task.job.secrets());
        self.save();
    }

    /// The job is over and no runner said why.
    pub fn finish_without_runner(&mut self, exit: ExitRecord) {
        self.say(&format!("ended: {}: {}", exit.reason, exit.message));
        self.finish(exit);
    }

    /// The runner is gone; its own record counts, else what is known from outside.
    pub fn finish_gone(&mut self, gone: &Gone) {
        if self.record.running.is_none() {
            self.record.running = durable::read_json(&self.task.job.running()).unwrap_or_default();
        }
        match durable::read_json::<ExitRecord>(&self.task.job.exit()) {
            Ok(Some(exit)) => self.finish(exit),
            Ok(None) => self.finish_without_runner(self.end_of_a_lost_runner(gone)),
            Err(error) => self.finish_without_runner(ExitRecord::without_status(
                reason::EXECUTOR,
                format!("the runner's exit record cannot be read: {error}"),
                clock::now(),
            )),
        }
    }

    fn end_of_a_lost_runner(&self, gone: &Gone) -> ExitRecord {
        let stopped = self.record.killed_at.is_some() || self.record.stopping.is_some();
        let (reason, message) = match (&gone.hint, stopped) {
            (Some(hint), _) => (reason::EXECUTOR, hint.clone()),
            (None, true) => (reason::BY_SERVER, "killed".to_owned()),
            (None, false) => (
                reason::EXECUTOR,
                "the job's runner was killed on the instance".to_owned(),
            ),
        };
        let stray = std::fs::read_to_string(self.task.job.stray_output()).unwrap_or_default();
        let stray: String = stray.trim().chars().take(2000).collect();
        let message = if stray.is_empty() {
            message
        } else {
            format!("{message}\n{stray}")
        };
        ExitRecord {
            exit_status: gone.exit_status,
            ..ExitRecord::without_status(reason, message, clock::now())
        }
    }

    /// A line in the runner's stream; the runner is not there to write it.
    fn say(&self, line: &str) {
        let spool = SpoolWriter::open(&self.task.job.spool(), stream::RUNNER, None);
        if let Ok(mut spool) = spool {
            let _ = spool
                .say(clock::now_micros(), line)
                .and_then(|()| spool.sync());
        }
    }
}
