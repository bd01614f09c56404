//! Membership of a project.

use super::{Actor, Outcome, Reply, events};
use crate::access;
use crate::ids::{ProjectId, UserId};
use crate::model::{Member, Project, ProjectRole};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberOrder {
    /// A user name or an e-mail address.
    pub username: String,
    pub role: ProjectRole,
}

/// Replaces all members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetMembers {
    pub project: ProjectId,
    pub members: Vec<MemberOrder>,
}

impl SetMembers {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let project = access::require(draft, draft.actor, self.project, ProjectRole::Manager)?;
        let members = resolve(draft, &self.members)?;
        save(draft, &project, members)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddMembers {
    pub project: ProjectId,
    pub members: Vec<MemberOrder>,
}

impl AddMembers {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let added = resolve(draft, &self.members)?;
        let project = match draft.project(self.project) {
            Some(project) if joins_public(draft.actor, project, &added) => project.clone(),
            _ => access::require(draft, draft.actor, self.project, ProjectRole::Manager)?,
        };
        let mut members = project.members.clone();
        for member in added {
            match members
                .iter_mut()
                .find(|existing| existing.user == member.user)
            {
                Some(existing) => existing.role = member.role,
                None => members.push(member),
            }
        }
        if joins_public(draft.actor, &project, &resolve(draft, &self.members)?) {
            return store(draft, &project, members);
        }
        save(draft, &project, members)
    }
}

/// Anybody may join a public project as a plain user.
fn joins_public(actor: Actor, project: &Project, added: &[Member]) -> bool {
    let Actor::User(me) = actor else { return false };
    project.is_public
        && project.role_of(me).is_none()
        && added
            .iter()
            .all(|member| member.user == me && member.role == ProjectRole::User)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveMembers {
    pub project: ProjectId,
    pub usernames: Vec<String>,
}

impl RemoveMembers {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let mut gone = Vec::new();
        for name in &self.usernames {
            gone.push(find(draft, name)?);
        }
        let leaves = draft.actor
            == Actor::User(gone.first().copied().unwrap_or(UserId(uuid::Uuid::nil())))
            && gone.len() == 1;
        let least = if leaves {
            ProjectRole::User
        } else {
            ProjectRole::Manager
        };
        let project = access::require(draft, draft.actor, self.project, least)?;
        let members: Vec<Member> = project
            .members
            .iter()
            .copied()
            .filter(|m| !gone.contains(&m.user))
            .collect();
        if leaves {
            store(draft, &project, members)
        } else {
            save(draft, &project, members)
        }
    }
}

fn find(draft: &Draft, name: &str) -> Result<UserId, Rejection> {
    let by_email = || {
        draft
            .users()
            .find(|user| user.email.as_deref() == Some(name))
    };
    let user = draft.user_by_name(name).or_else(by_email);
    user.map(|user| user.id)
        .ok_or_else(|| Rejection::not_exists(format!("User not found: {name}")))
}

fn resolve(draft: &Draft, orders: &[MemberOrder]) -> Result<Vec<Member>, Rejection> {
    orders
        .iter()
        .map(|order| {
            Ok(Member {
                user: find(draft, &order.username)?,
                role: order.role,
            })
        })
        .collect()
}

/// Checks that a manager does not touch administrators, then stores.
fn save(draft: &mut Draft, project: &Arc<Project>, members: Vec<Member>) -> Outcome {
    let is_admin = match draft.actor {
        Actor::System => true,
        Actor::User(user) => access::role_in(draft, user, project) == Some(ProjectRole::Admin),
    };
    let admins = |list: &[Member]| {
        let mut ids: Vec<UserId> = list
            .iter()
            .filter(|m| m.role == ProjectRole::Admin)
            .map(|m| m.user)
            .collect();
        ids.sort_unstable();
        ids
    };
    if !is_admin && admins(&project.members) != admins(&members) {
        return Err(Rejection::forbidden(
            "Access denied: only a project administrator may change administrators",
        ));
    }
    store(draft, project, members)
}

fn store(draft: &mut Draft, project: &Arc<Project>, members: Vec<Member>) -> Outcome {
    if !members
        .iter()
        .any(|member| member.role == ProjectRole::Admin)
    {
        return Err(Rejection::error("Cannot remove the last project admin")
            .hint("Make somebody else an administrator first."));
    }
    let project = Project {
        members,
        ..project.as_ref().clone()
    };
    let (id, target) = (project.id, events::project(&project));
    draft.put_project(project);
    draft.emit("Project members updated", vec![target], &[]);
    Ok(Reply::Project(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::UpdateProject;
    use crate::rejection::Code;
    use crate::testing::{Lab, ann};

    fn order(username: &str, role: ProjectRole) -> Vec<MemberOrder> {
        vec![MemberOrder {
            username: username.into(),
            role,
        }]
    }

    #[test]
    fn strangers_are_kept_out_unless_the_project_is_public() {
        let mut lab = Lab::new();
        let project = lab.project;
        let join = |role| AddMembers {
            project,
            members: order("ann", role),
        };
        assert_eq!(
            lab.ann(join(ProjectRole::User)).unwrap_err().code,
            Code::Forbidden
        );
        lab.admin(UpdateProject {
            project,
            is_public: true,
        })
        .unwrap();
        assert_eq!(
            lab.ann(join(ProjectRole::Admin)).unwrap_err().code,
            Code::Forbidden
        );
        lab.ann(join(ProjectRole::User)).unwrap();
        assert_eq!(
            lab.state.project(project).unwrap().role_of(ann()),
            Some(ProjectRole::User)
        );
    }

    #[test]
    fn a_manager_does_not_touch_administrators() {
        let mut lab = Lab::new();
        lab.join(ProjectRole::Manager);
        let project = lab.project;
        let promote = AddMembers {
            project,
            members: order("ann", ProjectRole::Admin),
        };
        assert_eq!(lab.ann(promote).unwrap_err().code, Code::Forbidden);
        lab.ann(RemoveMembers {
            project,
            usernames: vec!["ann".into()],
        })
        .unwrap();
        assert_eq!(lab.state.project(project).unwrap().role_of(ann()), None);
    }

    #[test]
    fn the_last_administrator_stays() {
        let mut lab = Lab::new();
        let remove = RemoveMembers {
            project: lab.project,
            usernames: vec!["admin".into()],
        };
        assert!(
            lab.admin(remove)
                .unwrap_err()
                .message
                .contains("last project admin")
        );
    }
}
