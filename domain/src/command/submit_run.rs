//! Submitting a new run: the run, its jobs and their first submissions in one entry.

use super::{Outcome, Reply, events, jobs};
use crate::access;
use crate::ids::{ProjectId, RunId};
use crate::model::{ClusterKey, ProjectRole, Run, RunStatus};
use crate::rejection::{Code, Rejection};
use crate::spec::{RunSpec, names};
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The repository id of runs without a repository.
const NO_REPO: &str = "none";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitRun {
    pub run: RunId,
    pub project: ProjectId,
    /// Effective: defaults filled in.
    pub spec: RunSpec,
    /// For a name, when the specification has none.
    pub name_seed: u64,
    /// The key pair by which the nodes reach each other.
    pub cluster_key: Option<ClusterKey>,
}

impl SubmitRun {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let user = access::require_person(draft, draft.actor)?;
        if draft.run(self.run).is_some() {
            return Err(Rejection::exists("A run with this id exists"));
        }
        let name = self.name(draft);
        self.make_way(draft, &name)?;
        check_references(draft, self.project, &self.spec)?;
        let mut spec = self.spec.clone();
        spec.run_name = Some(name.clone());
        let jobs = jobs::expand(&name, &spec)?;
        let next_triggered_at = jobs::next_trigger(&spec, draft.at)?;
        let scheduled = next_triggered_at.is_some();
        let run = Run {
            id: self.run,
            project_id: self.project,
            user_id: user.id,
            name,
            priority: jobs::priority(&spec),
            spec: Arc::new(spec),
            jobs: Arc::new(jobs),
            submitted_at: draft.at,
            last_processed_at: draft.at,
            finished_at: None,
            status: if scheduled {
                RunStatus::Pending
            } else {
                RunStatus::Submitted
            },
            termination_reason: None,
            fleet_id: None,
            deployment_num: 0,
            resubmission_attempt: 0,
            retry_at: None,
            next_triggered_at,
            deleted: false,
            cluster_key: self.cluster_key.clone(),
        };
        let target = events::run(draft, &run);
        let status = if scheduled { "PENDING" } else { "SUBMITTED" };
        draft.emit(
            format!("Run submitted. Status: {status}"),
            vec![target],
            &[run.id.bytes()],
        );
        if !scheduled {
            jobs::submit_all(
                draft,
                &run,
                "Job created on run submission. Status: SUBMITTED",
            );
        }
        draft.put_run_whole(run);
        Ok(Reply::Run(self.run))
    }

    fn name(&self, draft: &Draft) -> String {
        match &self.spec.run_name {
            Some(name) => name.clone(),
            None => names::generate_run_name(self.name_seed, |name| {
                draft.run_by_name(self.project, name).is_some()
            }),
        }
    }

    /// A finished run of the same name is deleted softly; an active one stays.
    fn make_way(&self, draft: &mut Draft, name: &str) -> Result<(), Rejection> {
        let Some(old) = draft.run_by_name(self.project, name).cloned() else {
            return Ok(());
        };
        if !old.status.is_finished() {
            return Err(
                Rejection::error("Cannot override active run. Stop the run first.")
                    .hint(format!("Stop it with `dstack stop {name}`.")),
            );
        }
        super::delete_runs::delete(draft, &old);
        Ok(())
    }
}

/// Repository and archives must be known.
pub(super) fn check_references(
    draft: &Draft,
    project: ProjectId,
    spec: &RunSpec,
) -> Result<(), Rejection> {
    if let Some(repo) = spec.repo_id.as_deref().filter(|id| *id != NO_REPO)
        && draft.repo(project, repo).is_none()
    {
        return Err(Rejection::new(
            Code::RepoDoesNotExist,
            format!("Repo {repo} does not exist"),
        )
        .hint("Initialise it with `dstack init`."));
    }
    for archive in &spec.file_archives {
        if draft.archive(archive.id.into()).is_none() {
            return Err(Rejection::error(format!(
                "Archive {} for {} was not uploaded",
                archive.id, archive.path
            )));
        }
    }
    Ok(())
}
