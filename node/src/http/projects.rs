//! Projects.

use axum::extract::{Path, State};
use dstack_api::http::projects::{
    CreateProject, DeleteProjects, ListProjects, Project, ProjectsInfoList, UpdateProject,
};
use dstack_api::http::users::MOST_ROWS;
use dstack_domain::command;
use dstack_domain::ids::ProjectId;
use dstack_domain::model;
use dstack_domain::spec::names;

use super::access::{Need, Scope, allowed};
use super::answer::{Answer, Listed, Outcome};
use super::auth::{self, Caller};
use super::body::{Body, MaybeBody};
use super::convert::{self, Detail};
use super::errors::HttpError;
use super::paging::Page;
use super::request_id::ClientRequest;
use super::users::matches;
use crate::context::Context;
use crate::first_start::new_project;
use crate::view::View;

pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    MaybeBody(request): MaybeBody<ListProjects>,
) -> Outcome<Listed<Project, ProjectsInfoList>> {
    let (caller, view) = caller.fresh(&context).await?;
    let page = Page::new(
        request.prev_created_at,
        request.prev_id,
        request.limit,
        MOST_ROWS,
        request.ascending,
    )?;
    let mut rows: Vec<_> = view.state.projects().collect();
    let joined = |project: &model::Project| project.role_of(caller.id()).is_some();
    rows.retain(|project| match request.include_not_joined {
        true => allowed(&caller.user, project, Need::MemberOrPublic),
        false => joined(project),
    });
    rows.retain(|project| matches(&project.name, request.name_pattern.as_deref()));
    let mut detail = Detail::NoMembers;
    if let Some(username) = &request.username {
        let user = view.state.user_by_name(username).map(|user| user.id);
        rows.retain(|project| user.is_some_and(|user| project.role_of(user).is_some()));
        detail = Detail::Members;
    }
    let total = rows.len() as u64;
    let rows = page.take(rows, |project| (project.created_at, project.id.0));
    let projects: Vec<Project> = rows
        .into_iter()
        .filter_map(|project| convert::project(&view.state, project, detail))
        .collect();
    let listed = match request.return_total_count {
        false => Listed::Plain(projects),
        true => Listed::Counted(ProjectsInfoList {
            total_count: Some(total),
            projects,
        }),
    };
    Ok(Answer::new(listed, view.revision))
}

pub async fn get(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    _body: MaybeBody<serde_json::Value>,
) -> Outcome<Project> {
    let scope = Scope::enter(&context, &caller, &project, Need::MemberOrPublic).await?;
    shown(&scope.view, scope.project.id)
}

/// The project after a change, with its members.
pub fn shown(view: &View, project: ProjectId) -> Outcome<Project> {
    let found = view
        .state
        .project(project)
        .and_then(|found| convert::project(&view.state, found, Detail::Members));
    found
        .map(|project| Answer::new(project, view.revision))
        .ok_or(HttpError::NotFound)
}

pub async fn list_only_no_fleets(
    State(context): State<Context>,
    caller: Caller,
) -> Outcome<Vec<Project>> {
    let (caller, view) = caller.fresh(&context).await?;
    let state = &view.state;
    let bare = state.projects().filter(|project| {
        project.role_of(caller.id()).is_some() && state.fleets_of(project.id).next().is_none()
    });
    let projects = bare
        .filter_map(|project| convert::project(state, project, Detail::NoMembers))
        .collect();
    Ok(Answer::new(projects, view.revision))
}

pub async fn create(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<CreateProject>,
) -> Outcome<Project> {
    names::check_project_name(&request.project_name).map_err(HttpError::refused)?;
    let made = new_project(&context.sealer, &request.project_name);
    let command = command::CreateProject {
        is_public: request.is_public,
        ..made.map_err(|error| HttpError::internal("make a project", &error))?
    };
    let accepted = context
        .door
        .submit(caller.actor(), request_id.id(caller.id()), command.into())
        .await?;
    let view = auth::showing(&context, accepted.revision).await?;
    let id = view
        .state
        .project_by_name(&request.project_name)
        .map(|project| project.id);
    shown(&view, id.ok_or(HttpError::NotFound)?)
}

pub async fn update(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<UpdateProject>,
) -> Outcome<Project> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    if request.templates_repo.is_some() {
        return Err(HttpError::refused(
            "This server does not support template repositories.",
        ));
    }
    let Some(is_public) = request.is_public else {
        return shown(&scope.view, scope.project.id);
    };
    let command = command::UpdateProject {
        project: scope.project_id(),
        is_public,
    };
    scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    shown(&scope.view, scope.project.id)
}

pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<DeleteProjects>,
) -> Outcome<()> {
    let command = command::DeleteProjects {
        names: request.projects_names,
    };
    let accepted = context
        .door
        .submit(caller.actor(), request_id.id(caller.id()), command.into())
        .await?;
    Ok(Answer::done(accepted.revision))
}
