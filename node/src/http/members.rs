//! Members of projects. Who may do it is checked where it happens, in the command.

use axum::extract::{Path, State};
use dstack_api::http::projects::{MemberSetting, Project, RemoveMembers, SetMembers};
use dstack_domain::command::{self, Command, MemberOrder};
use dstack_domain::ids::ProjectId;

use super::access::{Need, Scope};
use super::answer::Outcome;
use super::auth::Caller;
use super::body::Body;
use super::errors::HttpError;
use super::projects::shown;
use super::request_id::ClientRequest;
use crate::context::Context;

fn orders(members: Vec<MemberSetting>) -> Vec<MemberOrder> {
    members
        .into_iter()
        .map(|member| MemberOrder {
            username: member.username,
            role: member.project_role,
        })
        .collect()
}

pub async fn set(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<SetMembers>,
) -> Outcome<Project> {
    let scope = Scope::enter(&context, &caller, &project, Need::Manager).await?;
    let command = command::SetMembers {
        project: scope.project_id(),
        members: orders(request.members),
    };
    change(&context, scope, &request_id, command.into()).await
}

/// A manager, or anybody who joins a public project.
pub async fn add(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<SetMembers>,
) -> Outcome<Project> {
    let scope = Scope::enter(&context, &caller, &project, Need::MemberOrPublic).await?;
    let command = command::AddMembers {
        project: scope.project_id(),
        members: orders(request.members),
    };
    change(&context, scope, &request_id, command.into()).await
}

/// A manager, or a member who leaves.
pub async fn remove(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<RemoveMembers>,
) -> Outcome<Project> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let command = command::RemoveMembers {
        project: scope.project_id(),
        usernames: request.usernames,
    };
    change(&context, scope, &request_id, command.into()).await
}

async fn change(
    context: &Context,
    mut scope: Scope,
    request_id: &ClientRequest,
    command: Command,
) -> Result<super::answer::Answer<Project>, HttpError> {
    let project: ProjectId = scope.project_id();
    let user = scope.user_id();
    scope.submit(context, request_id.id(user), command).await?;
    shown(&scope.view, project)
}
