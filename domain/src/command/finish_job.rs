//! The final status of a terminating job.

use super::{Outcome, Reply, job_end};
use crate::ids::SubmissionId;
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishJob {
    pub submission: SubmissionId,
    /// Whether the agent vouched for the end of the job's processes.
    pub confirmed: bool,
}

impl FinishJob {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.submission(self.submission).cloned();
        let submission = found.ok_or_else(|| Rejection::stale("The job is gone"))?;
        let found = draft.run(submission.run_id).cloned();
        let run = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        job_end::finish(draft, &run, submission.as_ref().clone(), self.confirmed)?;
        Ok(Reply::None)
    }
}
