//! Deleting finished runs, softly: they leave the lists of names but stay in history.

use super::{Outcome, Reply, events};
use crate::access;
use crate::ids::ProjectId;
use crate::model::{ProjectRole, Run};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Unknown names are ignored, as upstream does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteRuns {
    pub project: ProjectId,
    pub names: Vec<String>,
}

impl DeleteRuns {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let active: Vec<String> = self
            .names
            .iter()
            .filter(|name| {
                draft
                    .run_by_name(self.project, name)
                    .is_some_and(|run| !run.status.is_finished())
            })
            .map(|name| format!("'{name}'"))
            .collect();
        if !active.is_empty() {
            return Err(Rejection::error(format!(
                "Cannot delete active runs: [{}]",
                active.join(", ")
            ))
            .hint("Stop them first: `dstack stop`."));
        }
        for name in &self.names {
            match draft.run_by_name(self.project, name).cloned() {
                Some(run) => delete(draft, &run),
                // Perhaps a run that has left memory: its name in the index is freed all the same.
                None => draft.free_run_name(self.project, name),
            }
        }
        Ok(Reply::None)
    }
}

pub(super) fn delete(draft: &mut Draft, run: &Arc<Run>) {
    let target = events::run(draft, run);
    draft.emit("Run deleted", vec![target], &[run.id.bytes()]);
    draft.free_run_name(run.project_id, &run.name);
    draft.put_run(Run {
        deleted: true,
        ..run.as_ref().clone()
    });
}
