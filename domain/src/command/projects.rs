//! Projects: creating, changing, deleting.

use super::{Outcome, Reply, events};
use crate::access;
use crate::ids::{ProjectId, UserId};
use crate::model::{GlobalRole, Member, Project, ProjectRole, Sealed};
use crate::rejection::Rejection;
use crate::spec::names;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

/// How many projects a user who is not an administrator may own.
const OWNED_MOST: usize = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateProject {
    pub id: ProjectId,
    pub name: String,
    pub is_public: bool,
    pub ssh_public_key: String,
    pub ssh_private_key: Sealed,
}

impl CreateProject {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let owner = access::require_person(draft, draft.actor)?;
        let owned = draft
            .projects()
            .filter(|project| project.owner == owner.id)
            .count();
        if owner.global_role != GlobalRole::Admin && owned >= OWNED_MOST {
            return Err(
                Rejection::error("User project quota exceeded").hint(format!(
                    "A user may own {OWNED_MOST} projects. Ask an administrator."
                )),
            );
        }
        self.insert(draft, owner.id)
    }

    pub(super) fn insert(&self, draft: &mut Draft, owner: UserId) -> Outcome {
        names::check_project_name(&self.name).map_err(Rejection::error)?;
        if draft.project_by_name(&self.name).is_some() || draft.project(self.id).is_some() {
            return Err(Rejection::exists("Project exists"));
        }
        let project = Project {
            id: self.id,
            name: self.name.clone(),
            owner,
            created_at: draft.at,
            is_public: self.is_public,
            members: vec![Member {
                user: owner,
                role: ProjectRole::Admin,
            }],
            ssh_public_key: self.ssh_public_key.clone(),
            ssh_private_key: self.ssh_private_key.clone(),
        };
        let target = events::project(&project);
        draft.put_project(project);
        draft.emit("Project created", vec![target], &[]);
        Ok(Reply::Project(self.id))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateProject {
    pub project: ProjectId,
    pub is_public: bool,
}

impl UpdateProject {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let project = access::require(draft, draft.actor, self.project, ProjectRole::Admin)?;
        let project = Project {
            is_public: self.is_public,
            ..project.as_ref().clone()
        };
        let target = events::project(&project);
        draft.put_project(project);
        draft.emit("Project updated", vec![target], &[]);
        Ok(Reply::Project(self.project))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteProjects {
    pub names: Vec<String>,
}

impl DeleteProjects {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        for name in &self.names {
            let found = draft.project_by_name(name).map(|project| project.id);
            let id =
                found.ok_or_else(|| Rejection::not_exists(format!("Project {name} not found")))?;
            let project = access::require(draft, draft.actor, id, ProjectRole::Admin)?;
            if draft.fleets_of(id).next().is_some() {
                return Err(
                    Rejection::error(format!("Project {name} has active fleets"))
                        .hint("Delete the fleets first: `dstack fleet delete`."),
                );
            }
            if draft.unfinished_runs().any(|run| run.project_id == id) {
                return Err(Rejection::error(format!("Project {name} has active runs"))
                    .hint("Stop the runs first: `dstack stop`."));
            }
            draft.emit("Project deleted", vec![events::project(&project)], &[]);
            delete_contents(draft, id);
            draft.remove_project(id);
        }
        Ok(Reply::None)
    }
}

fn delete_contents(draft: &mut Draft, project: ProjectId) {
    let runs: Vec<_> = draft
        .finished_runs()
        .filter(|run| run.project_id == project)
        .map(|run| run.id)
        .collect();
    for run in runs {
        draft.archive_run(run);
    }
    let secrets: Vec<_> = draft
        .secrets_of(project)
        .map(|secret| secret.name.clone())
        .collect();
    for name in secrets {
        draft.remove_secret(project, &name);
    }
    let backends: Vec<_> = draft
        .backends_of(project)
        .map(|backend| backend.kind)
        .collect();
    for kind in backends {
        super::backends::forget(draft, project, kind);
    }
    let repos: Vec<_> = draft
        .repos_of(project)
        .map(|repo| repo.repo_id.clone())
        .collect();
    for repo in repos {
        draft.remove_repo(project, &repo);
    }
}
