//! Changing an active run in place.

use super::{Outcome, Reply, events, jobs};
use crate::access;
use crate::ids::{ProjectId, RunId};
use crate::model::{ProjectRole, Run};
use crate::rejection::Rejection;
use crate::spec::RunSpec;
use crate::spec::diff::{Update, run_update};
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRun {
    pub project: ProjectId,
    pub run: RunId,
    /// Effective: defaults filled in.
    pub spec: RunSpec,
    /// The deployment the plan was made for; with `force` it does not matter.
    pub base_deployment: Option<u32>,
    pub force: bool,
}

impl UpdateRun {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let found = draft
            .run(self.run)
            .filter(|run| run.project_id == self.project && !run.deleted)
            .cloned();
        let run = found.ok_or_else(changed)?;
        if run.status.is_finished()
            || (!self.force && self.base_deployment != Some(run.deployment_num))
        {
            return Err(changed());
        }
        let mut spec = self.spec.clone();
        spec.run_name = Some(run.name.clone());
        if let Update::Impossible(changes) = run_update(&run.spec, &spec) {
            let fields: Vec<String> = changes.into_iter().map(|change| change.path).collect();
            return Err(Rejection::error("Cannot override active run. Stop the run first.").hint(format!(
                "These fields cannot be changed while it runs: {}. Stop it with `dstack stop {}`.",
                fields.join(", "),
                run.name
            )));
        }
        let jobs = jobs::expand(&run.name, &spec)?;
        let jobs = if jobs.len() == run.jobs.len() {
            Arc::new(jobs)
        } else {
            run.jobs.clone()
        };
        let updated = Run {
            priority: jobs::priority(&spec),
            spec: Arc::new(spec),
            jobs,
            deployment_num: run.deployment_num + 1,
            last_processed_at: draft.at,
            ..run.as_ref().clone()
        };
        let target = events::run(draft, &updated);
        let message = format!("Run updated. Deployment: {}", updated.deployment_num);
        draft.emit(message, vec![target], &[updated.id.bytes()]);
        draft.put_run_whole(updated);
        Ok(Reply::Run(run.id))
    }
}

fn changed() -> Rejection {
    Rejection::error(
        "Failed to apply plan. Resource has been changed. Try again or use force apply.",
    )
}
