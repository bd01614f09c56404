//! Stopping and aborting by a user.

use super::{Outcome, Reply};
use crate::access;
use crate::ids::ProjectId;
use crate::model::{JobReason, JobStatus, ProjectRole, Run, RunReason, RunStatus};
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Unknown and finished names are ignored, as upstream does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopRuns {
    pub project: ProjectId,
    pub names: Vec<String>,
    pub abort: bool,
}

impl StopRuns {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let reason = if self.abort {
            RunReason::AbortedByUser
        } else {
            RunReason::StoppedByUser
        };
        for name in &self.names {
            let Some(run) = draft.run_by_name(self.project, name).cloned() else {
                continue;
            };
            match run.status {
                RunStatus::Terminating if self.abort => hasten(draft, &run),
                RunStatus::Terminating => {}
                status if status.is_finished() => {}
                _ => super::terminate_run::terminate(draft, &run, reason)?,
            }
        }
        Ok(Reply::None)
    }
}

/// Abort after stop: no more grace.
fn hasten(draft: &mut Draft, run: &Arc<Run>) {
    if run.termination_reason != Some(RunReason::StoppedByUser) {
        return;
    }
    let changed = Run {
        termination_reason: Some(RunReason::AbortedByUser),
        last_processed_at: draft.at,
        ..run.as_ref().clone()
    };
    draft.put_run(changed);
    let waiting: Vec<_> = draft
        .submissions_of(run.id)
        .filter(|s| s.status == JobStatus::Terminating)
        .cloned()
        .collect();
    for submission in waiting {
        if submission.termination_reason != Some(JobReason::TerminatedByUser) {
            continue;
        }
        let mut submission = submission.as_ref().clone();
        submission.termination_reason = Some(JobReason::AbortedByUser);
        submission.graceful = false;
        submission.last_processed_at = draft.at;
        draft.put_submission(submission);
    }
}
