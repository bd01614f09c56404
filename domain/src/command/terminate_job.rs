//! Ending one job, by the leader's decision.

use super::{Outcome, Reply, job_end};
use crate::ids::SubmissionId;
use crate::model::JobReason;
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TerminateJob {
    pub submission: SubmissionId,
    pub reason: JobReason,
    pub message: Option<String>,
}

impl TerminateJob {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.submission(self.submission).cloned();
        let submission = found.ok_or_else(|| Rejection::stale("The job is gone"))?;
        let found = draft.run(submission.run_id).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        job_end::begin(
            draft,
            &run,
            &submission,
            self.reason,
            self.message.as_deref(),
        )?;
        Ok(Reply::None)
    }
}
