//! The end of a run whose jobs have all ended. A scheduled run that nobody stopped waits for its
//! next turn instead.

use super::{Outcome, Reply, jobs, set_run_status};
use crate::ids::RunId;
use crate::model::{RunReason, RunStatus};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishRun {
    pub run: RunId,
}

impl FinishRun {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.run(self.run).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        if run.status != RunStatus::Terminating {
            return Err(Rejection::stale(format!("Run {} is not ending", run.name)));
        }
        if draft
            .submissions_of(run.id)
            .any(|submission| !submission.status.is_finished())
        {
            return Err(Rejection::stale(format!(
                "Jobs of run {} have not ended yet",
                run.name
            )));
        }
        let reason = run.termination_reason.unwrap_or(RunReason::ServerError);
        let mut changed = run.as_ref().clone();
        let next = if reason.by_user() {
            None
        } else {
            jobs::next_trigger(&run.spec, draft.at).unwrap_or(None)
        };
        match next {
            Some(at) => {
                set_run_status::set(draft, &mut changed, RunStatus::Pending)?;
                changed.next_triggered_at = Some(at);
                changed.fleet_id = None;
                changed.termination_reason = None;
                changed.resubmission_attempt = 0;
            }
            None => {
                set_run_status::set(draft, &mut changed, reason.final_status())?;
                changed.finished_at = Some(draft.at);
                changed.next_triggered_at = None;
            }
        }
        draft.put_run(changed);
        Ok(Reply::None)
    }
}
