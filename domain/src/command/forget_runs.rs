//! Finished runs leave memory; their rows move to history, where they are paged from disk.

use super::{Outcome, Reply};
use crate::ids::RunId;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgetRuns {
    pub runs: Vec<RunId>,
}

impl ForgetRuns {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        for id in &self.runs {
            if draft.run(*id).is_some_and(|run| run.status.is_finished()) {
                draft.archive_run(*id);
            }
        }
        Ok(Reply::None)
    }
}
