//! Who may do what. Rules are upstream's; every answer names the rule.

use crate::command::Actor;
use crate::ids::{ProjectId, UserId};
use crate::model::{GlobalRole, Project, ProjectRole, User};
use crate::rejection::Rejection;
use crate::state::State;
use std::sync::Arc;

/// The role a user has in a project. Global administrators count as administrators everywhere.
pub fn role_in(state: &State, user: UserId, project: &Project) -> Option<ProjectRole> {
    match state.user(user) {
        Some(user) if user.global_role == GlobalRole::Admin => Some(ProjectRole::Admin),
        _ => project.role_of(user),
    }
}

/// Whether the user may see the project at all.
pub fn can_see(state: &State, user: UserId, project: &Project) -> bool {
    project.is_public || role_in(state, user, project).is_some()
}

/// Secrets are for project administrators.
pub fn can_manage_secrets(state: &State, user: UserId, project: &Project) -> bool {
    role_in(state, user, project) == Some(ProjectRole::Admin)
}

pub fn is_global_admin(state: &State, user: UserId) -> bool {
    state
        .user(user)
        .is_some_and(|user| user.global_role == GlobalRole::Admin)
}

pub fn can_create_projects(_state: &State, user: &User) -> bool {
    user.active
}

/// The project, when the actor has at least this role in it. Checked again when a command is
/// applied, because membership may have changed since the request was authenticated.
pub(crate) fn require(
    state: &State,
    actor: Actor,
    project: ProjectId,
    least: ProjectRole,
) -> Result<Arc<Project>, Rejection> {
    let found = state
        .project(project)
        .ok_or_else(|| Rejection::not_exists("Project not found"))?;
    let allowed = match actor {
        Actor::System => true,
        Actor::User(user) => role_in(state, user, found).is_some_and(|role| role >= least),
    };
    if allowed {
        return Ok(found.clone());
    }
    let role = match least {
        ProjectRole::User => "a member",
        ProjectRole::Manager => "a manager",
        ProjectRole::Admin => "an administrator",
    };
    Err(Rejection::forbidden(format!(
        "Access denied: this needs {role} of project {}",
        found.name
    )))
}

pub(crate) fn require_global_admin(state: &State, actor: Actor) -> Result<(), Rejection> {
    match actor {
        Actor::System => Ok(()),
        Actor::User(user) if is_global_admin(state, user) => Ok(()),
        Actor::User(_) => Err(Rejection::forbidden(
            "Access denied: this needs a global administrator",
        )),
    }
}

/// The user behind a person's command.
pub(crate) fn require_person(state: &State, actor: Actor) -> Result<Arc<User>, Rejection> {
    match actor {
        Actor::User(id) => state
            .user(id)
            .cloned()
            .ok_or_else(|| Rejection::forbidden("The user is gone")),
        Actor::System => Err(Rejection::error(
            "This command needs a user, the system cannot issue it",
        )),
    }
}
