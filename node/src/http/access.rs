//! What the caller may do in a project.

use std::sync::Arc;

use dstack_domain::command::Actor;
use dstack_domain::ids::{ProjectId, RequestId, UserId};
use dstack_domain::model::{Project, ProjectRole, User};
use dstack_domain::state::State;

use super::auth::{Caller, showing};
use super::errors::HttpError;
use crate::context::Context;
use crate::door::Accepted;
use crate::view::View;

/// The least a caller must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Anybody, when the project is public.
    MemberOrPublic,
    Member,
    Manager,
    Admin,
}

/// A request inside a project, after all checks.
#[derive(Debug, Clone)]
pub struct Scope {
    pub caller: Caller,
    pub project: Arc<Project>,
    /// Holds every write acknowledged before the request came.
    pub view: Arc<View>,
}

impl Scope {
    /// Finds the project and checks the role, on a fresh view.
    pub async fn enter(
        context: &Context,
        caller: &Caller,
        project: &str,
        need: Need,
    ) -> Result<Self, HttpError> {
        let (caller, view) = caller.fresh(context).await?;
        let project = view
            .state
            .project_by_name(project)
            .cloned()
            .ok_or(HttpError::NotFound)?;
        if !allowed(&caller.user, &project, need) {
            return Err(HttpError::denied());
        }
        Ok(Self {
            caller,
            project,
            view,
        })
    }

    pub fn state(&self) -> &State {
        &self.view.state
    }

    pub fn user(&self) -> &User {
        &self.caller.user
    }

    pub fn user_id(&self) -> UserId {
        self.caller.id()
    }

    pub fn project_id(&self) -> ProjectId {
        self.project.id
    }

    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// Gets a command of this caller applied; the view is then one that shows it.
    pub async fn submit(
        &mut self,
        context: &Context,
        request: RequestId,
        command: impl Into<dstack_domain::command::Command>,
    ) -> Result<Accepted, HttpError> {
        let accepted = context
            .door
            .submit(self.actor(), request, command.into())
            .await?;
        self.view = showing(context, accepted.revision).await?;
        Ok(accepted)
    }
}

/// Whether the caller is at least what is needed. A global admin passes everywhere.
pub fn allowed(user: &User, project: &Project, need: Need) -> bool {
    if user.global_role == dstack_domain::model::GlobalRole::Admin {
        return true;
    }
    let role = project.role_of(user.id);
    match need {
        Need::MemberOrPublic => project.is_public || role.is_some(),
        Need::Member => role.is_some(),
        Need::Manager => role.is_some_and(|role| role >= ProjectRole::Manager),
        Need::Admin => role.is_some_and(|role| role >= ProjectRole::Admin),
    }
}

/// The projects whose things the caller may see in lists.
pub fn visible<'a>(
    state: &'a State,
    user: &'a User,
) -> impl Iterator<Item = &'a Arc<Project>> + 'a {
    state
        .projects()
        .filter(|project| allowed(user, project, Need::Member))
}
