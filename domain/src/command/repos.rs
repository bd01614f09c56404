//! Repositories known to a project, with per-user credentials.

use super::{Outcome, Reply};
use crate::access;
use crate::ids::ProjectId;
use crate::model::{ProjectRole, Repo, RepoCreds, Sealed};
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Idempotent. On a remote repository no credentials means: forget the stored ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitRepo {
    pub project: ProjectId,
    pub repo_id: String,
    pub info: serde_json::Value,
    pub creds: Option<Sealed>,
}

impl InitRepo {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let user = access::require_person(draft, draft.actor)?;
        let old = draft.repo(self.project, &self.repo_id).cloned();
        let mut creds: BTreeMap<_, _> = old
            .as_ref()
            .map(|repo| repo.creds.clone())
            .unwrap_or_default();
        match &self.creds {
            Some(sealed) => creds.insert(
                user.id,
                RepoCreds {
                    creds: sealed.clone(),
                },
            ),
            None => creds.remove(&user.id),
        };
        let repo = Repo {
            project_id: self.project,
            repo_id: self.repo_id.clone(),
            info: self.info.clone(),
            creds,
        };
        if old.as_deref() != Some(&repo) {
            draft.put_repo(repo);
        }
        Ok(Reply::None)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteRepos {
    pub project: ProjectId,
    pub repo_ids: Vec<String>,
}

impl DeleteRepos {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        for repo in &self.repo_ids {
            draft.remove_repo(self.project, repo);
        }
        Ok(Reply::None)
    }
}
