//! Runs.

use std::sync::Arc;

use axum::extract::{Path, State};
use dstack_api::http::runs::{ApplyRun, DeleteRuns, GetRun, Run, RunSnapshot, StopRuns};
use dstack_domain::command::{self, Command, Reply};
use dstack_domain::ids::{RunId, SubmissionId};
use dstack_domain::model;
use dstack_domain::spec::RunSpec;
use jiff::Timestamp;
use uuid::Uuid;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::Body;
use super::convert::{self, Shown};
use super::errors::HttpError;
use super::past::{self, PastJobs};
use super::repetition::{self, Known};
use super::request_id::{self, ClientRequest};
use super::run_plans::effective;
use crate::context::Context;
use crate::{env, ssh_keys};

/// One run with everything.
fn whole(scope: &Scope, run: &model::Run) -> Run {
    convert::run(scope.state(), run, everything())
}

fn everything() -> Shown {
    Shown {
        jobs: true,
        submissions: usize::MAX,
        connection: true,
        now: env::now(),
    }
}

fn not_found() -> HttpError {
    HttpError::absent("Run not found")
}

/// By name never a deleted run, by id also that.
pub async fn get(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetRun>,
) -> Outcome<Run> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    if request.run_name.is_none() && request.id.is_none() {
        return Err(HttpError::refused("Either run_name or id must be given"));
    }
    let run = find(&context, &scope, request.run_name.as_deref(), request.id).await?;
    let run = run.ok_or_else(not_found)?;
    Ok(Answer::new(run, scope.view.revision))
}

/// A run of the project, in memory or past, with everything.
pub async fn find(
    context: &Context,
    scope: &Scope,
    name: Option<&str>,
    id: Option<Uuid>,
) -> Result<Option<Run>, HttpError> {
    let (project, state) = (scope.project_id(), scope.state());
    let in_memory = match (name, id) {
        (Some(name), _) => state.run_by_name(project, name),
        (None, Some(id)) => state
            .run(RunId::from(id))
            .filter(|run| run.project_id == project),
        (None, None) => None,
    };
    if let Some(run) = in_memory {
        return Ok(Some(whole(scope, run)));
    }
    let (rows, name) = (past::rows(context)?, name.map(str::to_owned));
    let past = past::blocking(move || match (name, id) {
        (Some(name), _) => past::run_by_name(rows.as_ref(), project, &name),
        (None, Some(id)) => past::run(rows.as_ref(), RunId::from(id)),
        (None, None) => Ok(None),
    });
    let past = past.await?.filter(|past| past.run.project_id == project);
    Ok(past.map(|past| {
        let jobs = PastJobs::of(&past);
        convert::run_with(state, &past.run, &jobs.views(&past), everything())
    }))
}

/// Submits a run, or updates an active one in place.
pub async fn apply(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<ApplyRun>,
) -> Outcome<Run> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let spec = effective(&scope, &request.plan.run_spec)?;
    let id = match known(&scope, &request_id, &spec, &request) {
        Known::Made(run) => return Ok(Answer::new(whole(&scope, &run), scope.view.revision)),
        Known::New(id) => id,
    };
    let command = command_for(&context, &scope, &spec, &request)?;
    let accepted = scope.submit(&context, id, command).await?;
    let Reply::Run(run) = accepted.reply else {
        return Err(HttpError::Internal);
    };
    let run = scope.state().run(run).ok_or_else(not_found)?;
    Ok(Answer::new(whole(&scope, run), scope.view.revision))
}

/// Unnamed runs get a name each time; only a named one can be recognised by its content.
fn known(
    scope: &Scope,
    request_id: &ClientRequest,
    spec: &RunSpec,
    request: &ApplyRun,
) -> Known<Arc<model::Run>> {
    if request_id.is_named() || spec.run_name.is_none() {
        return Known::New(request_id.id(scope.user_id()));
    }
    let content = serde_json::to_vec(request).unwrap_or_default();
    let state = scope.state();
    repetition::resolve(
        state,
        request_id.id_by_content(scope.user_id(), &content),
        |reply| match reply {
            Reply::Run(id) => state
                .run(*id)
                .filter(|run| *run.spec == *spec && is_recent(run, env::now()))
                .cloned(),
            _ => None,
        },
    )
}

/// Whether a run can be what this request made, rather than what an equal one made long ago. One
/// that has what was asked for needs no second update either.
fn is_recent(run: &model::Run, now: Timestamp) -> bool {
    let age = now.duration_since(run.submitted_at);
    !run.deleted && (!run.status.is_finished() || age < repetition::WINDOW)
}

fn command_for(
    context: &Context,
    scope: &Scope,
    spec: &RunSpec,
    request: &ApplyRun,
) -> Result<Command, HttpError> {
    let project = scope.project_id();
    let namesake = spec
        .run_name
        .as_deref()
        .and_then(|name| scope.state().run_by_name(project, name));
    if let Some(active) = namesake.filter(|run| !run.status.is_finished()) {
        let planned = request.plan.current_resource.as_ref();
        let update = command::UpdateRun {
            project,
            run: active.id,
            spec: spec.clone(),
            base_deployment: planned_for(scope, active, planned).then_some(active.deployment_num),
            force: request.force,
        };
        return Ok(update.into());
    }
    let submit = command::SubmitRun {
        run: RunId::from(env::uuid()),
        project,
        spec: spec.clone(),
        name_seed: request_id::seed(),
        cluster_key: Some(cluster_key(context)?),
    };
    Ok(submit.into())
}

/// Whether a plan was made for the run as it is: same id, same specification in normal form. The
/// client's copy is never compared byte by byte, it comes back rewritten.
fn planned_for(scope: &Scope, run: &model::Run, planned: Option<&RunSnapshot>) -> bool {
    planned.is_some_and(|planned| {
        planned.id == run.id.0
            && effective(scope, &planned.run_spec).is_ok_and(|spec| spec == *run.spec)
    })
}

/// By which the nodes of the run reach each other.
fn cluster_key(context: &Context) -> Result<model::ClusterKey, HttpError> {
    let pair = ssh_keys::generate("dstack_job")
        .map_err(|error| HttpError::internal("make a key pair", &error))?;
    let private = context
        .sealer
        .seal(&pair.private)
        .map_err(|error| HttpError::internal("seal a key", &error))?;
    Ok(model::ClusterKey {
        public: pair.public,
        private,
    })
}

/// Unknown and finished names are ignored.
pub async fn stop(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<StopRuns>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let command = command::StopRuns {
        project: scope.project_id(),
        names: request.runs_names,
        abort: request.abort,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}

pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<DeleteRuns>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let command = command::DeleteRuns {
        project: scope.project_id(),
        names: request.runs_names,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}

/// Whether a submission is one of a run of this project and name.
pub async fn owns(
    context: &Context,
    scope: &Scope,
    submission: SubmissionId,
    run_name: &str,
) -> Result<bool, HttpError> {
    let (project, state) = (scope.project_id(), scope.state());
    if let Some(found) = state.submission(submission) {
        let run = state.run(found.run_id);
        return Ok(run.is_some_and(|run| run.project_id == project && run.name == run_name));
    }
    let (rows, name) = (past::rows(context)?, run_name.to_owned());
    let past = past::blocking(move || past::run_by_name(rows.as_ref(), project, &name)).await?;
    Ok(past.is_some_and(|past| past.submissions.iter().any(|found| found.id == submission)))
}
