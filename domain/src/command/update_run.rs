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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Lab;
    use serde_json::json;

    fn update(lab: &Lab, run: &Run, extra: serde_json::Value, base: Option<u32>) -> UpdateRun {
        let mut configuration = json!({"type": "task", "name": run.name, "commands": ["work"]});
        configuration
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let spec =
            serde_json::from_value(json!({"run_name": run.name, "configuration": configuration}))
                .unwrap();
        UpdateRun {
            project: lab.project,
            run: run.id,
            spec,
            base_deployment: base,
            force: false,
        }
    }

    #[test]
    fn the_priority_changes_in_place_and_nothing_else() {
        let mut lab = Lab::new();
        let run = lab.submit("train", json!({}));
        let command = update(&lab, &run, json!({"priority": 7}), Some(0));
        lab.admin(command).unwrap();
        assert_eq!(
            (lab.run("train").priority, lab.run("train").deployment_num),
            (7, 1)
        );
        let command = update(
            &lab,
            &run,
            json!({"priority": 7, "image": "ubuntu"}),
            Some(1),
        );
        let refusal = lab.admin(command).unwrap_err();
        assert_eq!(
            refusal.message,
            "Cannot override active run. Stop the run first."
        );
        assert!(refusal.hint.unwrap().contains("image"));
    }

    #[test]
    fn a_plan_for_an_older_deployment_is_refused() {
        let mut lab = Lab::new();
        let run = lab.submit("train", json!({}));
        let command = update(&lab, &run, json!({}), Some(0));
        lab.admin(command.clone()).unwrap();
        assert!(
            lab.admin(command.clone())
                .unwrap_err()
                .message
                .contains("Resource has been changed")
        );
        lab.admin(UpdateRun {
            force: true,
            ..command
        })
        .unwrap();
    }
}
