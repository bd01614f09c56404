//! Trying again: one replica at once, or the whole run after a delay.

use super::{Outcome, Reply, jobs, set_run_status, terminate_run};
use crate::ids::RunId;
use crate::model::{JobReason, Run, RunStatus};
use crate::rejection::Rejection;
use crate::state::Draft;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const MESSAGE: &str = "Run is to be resubmitted";

/// New submissions for all jobs of one replica, while others of the run go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResubmitJobs {
    pub run: RunId,
    pub replica: u32,
}

impl ResubmitJobs {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let run = active(draft, self.run)?;
        terminate_run::end_jobs(
            draft,
            &run,
            JobReason::TerminatedByServer,
            Some(MESSAGE),
            |s| s.replica_num == self.replica,
        )?;
        let replica: Vec<_> = run
            .jobs
            .iter()
            .filter(|job| job.replica_num == self.replica)
            .cloned()
            .collect();
        for job in replica {
            jobs::submit(draft, &run, &job, "Job created on retry. Status: SUBMITTED");
        }
        Ok(Reply::None)
    }
}

/// Everything needs another try: the run waits, its jobs end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelayRun {
    pub run: RunId,
    pub retry_at: Timestamp,
}

impl DelayRun {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let run = active(draft, self.run)?;
        let mut changed = run.as_ref().clone();
        changed.resubmission_attempt = changed.resubmission_attempt.saturating_add(1);
        changed.retry_at = Some(self.retry_at);
        set_run_status::set(draft, &mut changed, RunStatus::Pending)?;
        changed.fleet_id = None;
        draft.put_run(changed);
        terminate_run::end_jobs(
            draft,
            &run,
            JobReason::TerminatedByServer,
            Some(MESSAGE),
            |_| true,
        )?;
        Ok(Reply::None)
    }
}

/// A pending run starts: its schedule or its delay came round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRun {
    pub run: RunId,
}

impl StartRun {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.run(self.run).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        if draft
            .submissions_of(run.id)
            .any(|submission| !submission.status.is_finished())
        {
            return Err(Rejection::stale(format!(
                "Jobs of run {} have not ended yet",
                run.name
            )));
        }
        let retried = run.retry_at.is_some();
        let mut changed = run.as_ref().clone();
        changed.retry_at = None;
        set_run_status::set(draft, &mut changed, RunStatus::Submitted)?;
        let message = if retried {
            "Job created on retry. Status: SUBMITTED"
        } else {
            "Job created. Status: SUBMITTED"
        };
        jobs::submit_all(draft, &changed, message);
        draft.put_run(changed);
        Ok(Reply::None)
    }
}

fn active(draft: &Draft, id: RunId) -> Result<Arc<Run>, Rejection> {
    let run = draft
        .run(id)
        .cloned()
        .ok_or_else(|| Rejection::stale("The run is gone"))?;
    if !run.status.is_active() {
        return Err(Rejection::stale(format!("Run {} is not active", run.name)));
    }
    Ok(run)
}
