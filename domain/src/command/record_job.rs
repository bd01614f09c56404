//! What the agent saw of a job.

use super::{Outcome, Reply, job_end};
use crate::ids::{InstanceId, SubmissionId};
use crate::model::{Exit, JobReason, JobStatus, PullProgress, Run, Submission};
use crate::rejection::Rejection;
use crate::state::Draft;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordJob {
    pub submission: SubmissionId,
    /// Who says so; another host's word does not count.
    pub instance: InstanceId,
    pub observation: JobObservation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobObservation {
    /// The agent has taken the job and is making it ready.
    Preparing { pull: Option<PullProgress> },
    Running {
        started_at: Option<Timestamp>,
        ports: BTreeMap<u16, u16>,
        container_user: Option<String>,
        working_dir: Option<String>,
    },
    Exited {
        exit_status: Option<i32>,
        signal: Option<i32>,
        /// Upstream's word, if the agent knows one.
        reason: Option<String>,
        message: Option<String>,
        at: Timestamp,
    },
    /// The last user has left, or one has come.
    Attendance { idle: bool },
    /// The agent had the job and has it no more, or never had a job that is ending.
    Lost,
}

impl RecordJob {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.submission(self.submission).cloned();
        let submission = found.ok_or_else(|| Rejection::stale("The job is gone"))?;
        let found = draft.run(submission.run_id).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        if submission.status.is_finished() || submission.instance() != Some(self.instance) {
            return Err(Rejection::stale(
                "The job has ended, or is not on this host",
            ));
        }
        self.note_use(draft);
        match &self.observation {
            JobObservation::Preparing { pull } => preparing(draft, &run, &submission, *pull),
            JobObservation::Running { .. } => self.running(draft, &run, &submission),
            JobObservation::Exited { .. } => self.exited(draft, &run, &submission),
            JobObservation::Attendance { idle } => attendance(draft, &submission, *idle),
            JobObservation::Lost => lost(draft, &run, &submission),
        }?;
        Ok(Reply::None)
    }

    /// A machine that was made for a run may idle once it was of use to it.
    fn note_use(&self, draft: &mut Draft) {
        let Some(instance) = draft.instance(self.instance).cloned() else {
            return;
        };
        let mut changed = instance.as_ref().clone();
        if let Some(made) = changed.made.as_mut().filter(|made| !made.used) {
            made.used = true;
            draft.put_instance(changed);
        }
    }

    fn running(
        &self,
        draft: &mut Draft,
        run: &Run,
        submission: &Arc<Submission>,
    ) -> Result<(), Rejection> {
        let JobObservation::Running {
            ports,
            container_user,
            working_dir,
            ..
        } = &self.observation
        else {
            return Ok(());
        };
        let mut changed = submission.as_ref().clone();
        job_end::set_status(draft, run, &mut changed, JobStatus::Running)?;
        changed.running_at = Some(draft.at);
        if let Some(runtime) = &mut changed.runtime_data {
            runtime.ports = Some(ports.clone());
            runtime.username = container_user.clone();
            runtime.working_dir = working_dir.clone();
        }
        draft.put_submission(changed);
        Ok(())
    }

    fn exited(
        &self,
        draft: &mut Draft,
        run: &Run,
        submission: &Arc<Submission>,
    ) -> Result<(), Rejection> {
        let JobObservation::Exited {
            exit_status,
            signal,
            reason,
            message,
            at,
        } = &self.observation
        else {
            return Ok(());
        };
        if submission.exit.is_some() {
            return Err(Rejection::stale("The job's exit is recorded already"));
        }
        let mut changed = submission.as_ref().clone();
        changed.exit = Some(Exit {
            exit_status: *exit_status,
            signal: *signal,
            at: *at,
        });
        if submission.status == JobStatus::Terminating {
            // We asked for the end; our reason stands.
            changed.last_processed_at = draft.at;
            draft.put_submission(changed);
            return Ok(());
        }
        let (reason, message) = verdict(*exit_status, reason.as_deref(), message.as_deref());
        job_end::begin(draft, run, &Arc::new(changed), reason, message.as_deref())
    }
}

fn verdict(
    exit_status: Option<i32>,
    reason: Option<&str>,
    message: Option<&str>,
) -> (JobReason, Option<String>) {
    let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
    match reason.filter(|text| !text.is_empty()) {
        Some(word) => match JobReason::parse(word) {
            Some(reason) => (reason, message),
            None => (
                JobReason::ExecutorError,
                Some(message.unwrap_or_else(|| word.to_owned())),
            ),
        },
        None if exit_status == Some(0) => (JobReason::DoneByRunner, message),
        None => (JobReason::ContainerExitedWithError, message),
    }
}

fn preparing(
    draft: &mut Draft,
    run: &Run,
    submission: &Arc<Submission>,
    pull: Option<PullProgress>,
) -> Result<(), Rejection> {
    let mut changed = submission.as_ref().clone();
    if submission.status != JobStatus::Pulling {
        job_end::set_status(draft, run, &mut changed, JobStatus::Pulling)?;
    }
    changed.pull_progress = pull.or(changed.pull_progress);
    draft.put_submission(changed);
    Ok(())
}

/// The host's clock is not asked: an environment must not end early because it goes wrong.
fn attendance(
    draft: &mut Draft,
    submission: &Arc<Submission>,
    idle: bool,
) -> Result<(), Rejection> {
    if submission.status != JobStatus::Running {
        return Err(Rejection::stale("The job does not run"));
    }
    let mut changed = submission.as_ref().clone();
    changed.idle_since = idle.then(|| changed.idle_since.unwrap_or(draft.at));
    draft.put_submission(changed);
    Ok(())
}

fn lost(draft: &mut Draft, run: &Run, submission: &Arc<Submission>) -> Result<(), Rejection> {
    let mut changed = submission.as_ref().clone();
    if changed.exit.is_none() {
        changed.exit = Some(Exit {
            exit_status: None,
            signal: None,
            at: draft.at,
        });
    }
    if submission.status == JobStatus::Terminating {
        draft.put_submission(changed);
        return Ok(());
    }
    job_end::begin(
        draft,
        run,
        &Arc::new(changed),
        JobReason::ExecutorError,
        Some("The agent no longer has the job"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_word_comes_first_then_the_exit_status() {
        assert_eq!(
            verdict(Some(3), Some("container_exited_with_error"), None).0,
            JobReason::ContainerExitedWithError
        );
        assert_eq!(
            verdict(Some(0), None, Some("")),
            (JobReason::DoneByRunner, None)
        );
        assert_eq!(
            verdict(None, None, None).0,
            JobReason::ContainerExitedWithError
        );
        let (reason, message) = verdict(None, Some("gremlins"), None);
        assert_eq!(
            (reason, message.as_deref()),
            (JobReason::ExecutorError, Some("gremlins"))
        );
    }
}
