//! Sources of machines of a project. Credentials arrive sealed, and were tried before.

use super::{Outcome, Reply, events};
use crate::access;
use crate::ids::{IntentId, ProjectId};
use crate::model::{Backend, ProjectRole, Sealed};
use crate::rejection::Rejection;
use crate::spec::BackendType;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetBackend {
    pub project: ProjectId,
    pub kind: BackendType,
    /// Without `creds`.
    pub config: serde_json::Value,
    pub creds: Sealed,
    /// Whether one that is there is to be changed, or a new one made; `None` does either.
    pub exists: Option<bool>,
}

impl SetBackend {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::Admin)?;
        let project = draft.project(self.project).cloned();
        let project = project.ok_or_else(|| Rejection::not_exists("Project not found"))?;
        let kind = self.kind;
        let is_there = draft.backend(self.project, kind).is_some();
        match (self.exists, is_there) {
            (Some(false), true) => {
                return Err(Rejection::exists(format!(
                    "The project has a backend {kind}"
                )));
            }
            (Some(true), false) => {
                return Err(Rejection::not_exists(format!("Backend {kind} not found")));
            }
            _ => {}
        }
        self.check_account(draft)?;
        let updated_at = draft.at;
        draft.put_backend(Backend {
            project_id: self.project,
            kind,
            config: self.config.clone(),
            creds: self.creds.clone(),
            updated_at,
        });
        let verb = if is_there { "updated" } else { "created" };
        let target = events::project(&project);
        draft.emit(format!("Backend {kind} {verb}"), vec![target], &[]);
        Ok(Reply::None)
    }
}

/// The backend goes, and with it what was only watched in its account.
pub(super) fn forget(draft: &mut Draft, project: ProjectId, kind: BackendType) {
    draft.remove_backend(project, kind);
    let strays: Vec<IntentId> = draft.strays_of(project, kind).map(|one| one.id).collect();
    for stray in strays {
        draft.remove_intent(stray);
    }
}

/// What is still in its account, in words.
fn still_there(draft: &Draft, project: ProjectId, kind: BackendType) -> Option<String> {
    let all = draft.intents();
    let ours = all.filter(|one| one.project_id == project && one.backend == kind);
    // Strays are nobody's.
    let mut there = ours.filter(|one| one.fleet_id.is_some());
    let first = there.next()?.key.clone();
    Some(match there.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    })
}

impl SetBackend {
    /// In another account nothing of ours would be found, and all of it believed gone.
    fn check_account(&self, draft: &Draft) -> Result<(), Rejection> {
        let account = |config: &serde_json::Value| {
            ["project_id", "endpoint"].map(|key| config.get(key).cloned())
        };
        let old = draft.backend(self.project, self.kind);
        let moves = old.is_some_and(|old| account(&old.config) != account(&self.config));
        match still_there(draft, self.project, self.kind).filter(|_| moves) {
            Some(things) => Err(Rejection::error(format!(
                "Backend {} cannot change its account: {things} would be lost sight of",
                self.kind
            ))
            .hint("Delete the fleets that use it first: `dstack fleet delete`.")),
            None => Ok(()),
        }
    }
}

/// Names that are not there are ignored, as upstream does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteBackends {
    pub project: ProjectId,
    pub kinds: Vec<BackendType>,
}

impl DeleteBackends {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::Admin)?;
        let project = draft.project(self.project).cloned();
        let project = project.ok_or_else(|| Rejection::not_exists("Project not found"))?;
        for kind in &self.kinds {
            if let Some(things) = still_there(draft, self.project, *kind) {
                return Err(Rejection::error(format!(
                    "Backend {kind} cannot be deleted: {things} would be lost sight of"
                ))
                .hint("Delete the fleets that use it first: `dstack fleet delete`."));
            }
            if draft.backend(self.project, *kind).is_some() {
                forget(draft, self.project, *kind);
                let target = events::project(&project);
                draft.emit(format!("Backend {kind} deleted"), vec![target], &[]);
            }
        }
        Ok(Reply::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::DeleteProjects;
    use crate::rejection::Code;
    use crate::state::{State, Table};
    use crate::testing::Lab;
    use serde_json::json;

    fn set(lab: &Lab, account: &str, exists: Option<bool>) -> SetBackend {
        SetBackend {
            project: lab.project,
            kind: BackendType::Crusoe,
            config: json!({"type": "crusoe", "project_id": account}),
            creds: Sealed(format!("sealed {account}")),
            exists,
        }
    }

    fn account(state: &State, lab: &Lab) -> Option<String> {
        let backend = state.backend(lab.project, BackendType::Crusoe)?;
        Some(backend.config["project_id"].as_str().unwrap().to_owned())
    }

    fn reloaded(lab: &Lab) -> State {
        let rows = lab
            .rows
            .iter()
            .filter(|((table, _), _)| *table == Table::Live);
        State::load(rows.map(|((table, key), value)| (*table, key.clone(), value.clone()))).unwrap()
    }

    #[test]
    fn a_backend_is_made_changed_and_deleted_by_an_administrator() {
        let mut lab = Lab::new();
        let command = set(&lab, "one", Some(true));
        assert_eq!(
            lab.admin(command).unwrap_err().code,
            Code::ResourceNotExists
        );
        let command = set(&lab, "one", Some(false));
        lab.admin(command.clone()).unwrap();
        assert_eq!(lab.admin(command).unwrap_err().code, Code::ResourceExists);
        let command = set(&lab, "two", Some(true));
        assert!(lab.ann(command.clone()).is_err());
        lab.admin(command).unwrap();
        assert_eq!(account(&lab.state, &lab).as_deref(), Some("two"));
        assert_eq!(account(&reloaded(&lab), &lab).as_deref(), Some("two"));
        let delete = DeleteBackends {
            project: lab.project,
            kinds: vec![BackendType::Crusoe, BackendType::Aws],
        };
        lab.admin(delete).unwrap();
        assert_eq!(account(&lab.state, &lab), None);
        assert_eq!(account(&reloaded(&lab), &lab), None);
    }

    #[test]
    fn credentials_go_with_their_project() {
        let mut lab = Lab::new();
        let command = set(&lab, "one", None);
        lab.admin(command).unwrap();
        lab.admin(DeleteProjects {
            names: vec!["main".into()],
        })
        .unwrap();
        let kept = |(table, key): &(Table, Vec<u8>)| *table == Table::Live && key[0] == b'b';
        assert_eq!(lab.rows.keys().filter(|place| kept(place)).count(), 0);
        assert_eq!(lab.state.backends_of(lab.project).count(), 0);
    }
}
