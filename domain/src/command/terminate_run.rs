//! A run begins to end: it and all its unfinished jobs, in one entry.

use super::{Outcome, Reply, job_end, set_run_status};
use crate::ids::RunId;
use crate::model::{Run, RunReason, RunStatus};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TerminateRun {
    pub run: RunId,
    pub reason: RunReason,
}

impl TerminateRun {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.run(self.run).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        terminate(draft, &run, self.reason)?;
        Ok(Reply::None)
    }
}

pub(super) fn terminate(
    draft: &mut Draft,
    run: &Arc<Run>,
    reason: RunReason,
) -> Result<(), Rejection> {
    let mut changed = run.as_ref().clone();
    changed.termination_reason = Some(reason);
    changed.retry_at = None;
    set_run_status::set(draft, &mut changed, RunStatus::Terminating)?;
    draft.put_run(changed);
    end_jobs(draft, run, reason.job_reason(), None, |_| true)
}

/// Ends the active jobs that `which` picks.
pub(super) fn end_jobs(
    draft: &mut Draft,
    run: &Run,
    reason: crate::model::JobReason,
    message: Option<&str>,
    which: impl Fn(&crate::model::Submission) -> bool,
) -> Result<(), Rejection> {
    let active: Vec<_> = draft
        .submissions_of(run.id)
        .filter(|s| s.status.is_active() && which(s))
        .cloned()
        .collect();
    for submission in &active {
        job_end::begin(draft, run, submission, reason, message)?;
    }
    Ok(())
}
