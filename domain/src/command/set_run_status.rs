//! The status of an active run, derived from its jobs.

use super::{Outcome, Reply, events};
use crate::ids::RunId;
use crate::model::{Lawful, Run, RunStatus};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetRunStatus {
    pub run: RunId,
    pub status: RunStatus,
}

impl SetRunStatus {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.run(self.run).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        if !self.status.is_active() || !run.status.is_active() {
            return Err(Rejection::stale(format!(
                "Run {} is {}; only the active statuses are derived from jobs, not {}",
                run.name,
                run.status.shout(),
                self.status.shout()
            )));
        }
        let mut changed = run.as_ref().clone();
        if self.status != RunStatus::Submitted {
            changed.resubmission_attempt = 0;
        }
        set(draft, &mut changed, self.status)?;
        draft.put_run(changed);
        Ok(Reply::None)
    }
}

/// Moves a run along its table and says so.
pub(super) fn set(draft: &mut Draft, run: &mut Run, next: RunStatus) -> Result<(), Rejection> {
    let status = run.status;
    if !status.may_become(next) {
        return Err(Rejection::stale(format!(
            "Run {} is {} and cannot become {}",
            run.name,
            status.shout(),
            next.shout()
        )));
    }
    run.status = next;
    run.last_processed_at = draft.at;
    let mut message = format!("Run status changed {} -> {}", status.shout(), next.shout());
    if let Some(reason) = run
        .termination_reason
        .filter(|_| next == RunStatus::Terminating)
    {
        message.push_str(&format!(
            ". Termination reason: {}",
            reason.as_str().to_ascii_uppercase()
        ));
    }
    let target = events::run(draft, run);
    let mut scopes = vec![run.id.bytes()];
    scopes.extend(run.fleet_id.map(|fleet| fleet.bytes()));
    draft.emit(message, vec![target], &scopes);
    Ok(())
}
