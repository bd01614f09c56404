//! Sources of machines of a project. A configuration is tried before it is kept, and its credentials are sealed before
//! they leave this replica.

use axum::extract::{Path, State};
use dstack_api::http::backends::{BackendYaml, CrusoeBackend, DeleteBackends, NamedBackendYaml};
use dstack_domain::command;
use dstack_domain::spec::BackendType;
use serde_json::Value;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::errors::HttpError;
use super::request_id::ClientRequest;
use crate::clouds;
use crate::context::Context;

type Parts = (State<Context>, Caller, ClientRequest, Path<String>);

pub async fn create(
    state: State<Context>,
    caller: Caller,
    request: ClientRequest,
    project: Path<String>,
    Body(config): Body<Value>,
) -> Outcome<CrusoeBackend> {
    set(
        (state, caller, request, project),
        understand(config)?,
        false,
    )
    .await
}

pub async fn update(
    state: State<Context>,
    caller: Caller,
    request: ClientRequest,
    project: Path<String>,
    Body(config): Body<Value>,
) -> Outcome<CrusoeBackend> {
    set((state, caller, request, project), understand(config)?, true).await
}

pub async fn create_yaml(
    state: State<Context>,
    caller: Caller,
    request: ClientRequest,
    project: Path<String>,
    Body(body): Body<BackendYaml>,
) -> Outcome<()> {
    let config = understand(read(&body.config_yaml)?)?;
    let made = set((state, caller, request, project), config, false).await?;
    Ok(Answer::done(made.revision()))
}

pub async fn update_yaml(
    state: State<Context>,
    caller: Caller,
    request: ClientRequest,
    project: Path<String>,
    Body(body): Body<BackendYaml>,
) -> Outcome<()> {
    let config = understand(read(&body.config_yaml)?)?;
    let made = set((state, caller, request, project), config, true).await?;
    Ok(Answer::done(made.revision()))
}

async fn set(
    (State(context), caller, request, Path(project)): Parts,
    config: CrusoeBackend,
    exists: bool,
) -> Outcome<CrusoeBackend> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let cluster = scope.state().cluster().map(|cluster| cluster.id);
    let cluster = cluster.ok_or(HttpError::Internal)?;
    clouds::check(cluster, &config)
        .await
        .map_err(|error| HttpError::refused(format!("Backend {}: {error}", config.r#type)))?;
    let command = clouds::order(&context.sealer, scope.project_id(), &config, Some(exists));
    let command = command.map_err(|error| HttpError::internal("keep a backend", &error))?;
    let accepted = scope
        .submit(&context, request.id(caller.id()), command)
        .await?;
    Ok(Answer::new(config, accepted.revision))
}

fn understand(config: Value) -> Result<CrusoeBackend, HttpError> {
    clouds::understand(config).map_err(|error| HttpError::refused(error.to_string()))
}

fn read(yaml: &str) -> Result<Value, HttpError> {
    serde_saphyr::from_str(yaml)
        .map_err(|error| HttpError::refused(format!("The YAML cannot be read: {error}")))
}

pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request: ClientRequest,
    Path(project): Path<String>,
    Body(names): Body<DeleteBackends>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let command = command::DeleteBackends {
        project: scope.project_id(),
        kinds: names.backends_names,
    };
    let accepted = scope
        .submit(&context, request.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}

/// With credentials.
pub async fn config_info(
    State(context): State<Context>,
    caller: Caller,
    Path((project, kind)): Path<(String, String)>,
    _body: MaybeBody<Value>,
) -> Outcome<CrusoeBackend> {
    let scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let config = opened(&context, &scope, &kind)?;
    Ok(Answer::new(config, scope.view.revision))
}

pub async fn get_yaml(
    State(context): State<Context>,
    caller: Caller,
    Path((project, kind)): Path<(String, String)>,
    _body: MaybeBody<Value>,
) -> Outcome<NamedBackendYaml> {
    let scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let config = opened(&context, &scope, &kind)?;
    let yaml = serde_saphyr::to_string(&config)
        .map_err(|error| HttpError::internal("write YAML", &error))?;
    let yaml = NamedBackendYaml {
        name: config.r#type,
        config_yaml: yaml,
    };
    Ok(Answer::new(yaml, scope.view.revision))
}

/// Tries a configuration that is kept: says nothing, or what is wrong. Ours alone.
pub async fn test(
    State(context): State<Context>,
    caller: Caller,
    Path((project, kind)): Path<(String, String)>,
    _body: MaybeBody<Value>,
) -> Outcome<()> {
    let scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let config = opened(&context, &scope, &kind)?;
    let cluster = scope.state().cluster().map(|cluster| cluster.id);
    let tried = clouds::check(cluster.ok_or(HttpError::Internal)?, &config).await;
    tried.map_err(|error| HttpError::refused(format!("Backend {kind}: {error}")))?;
    Ok(Answer::done(scope.view.revision))
}

fn opened(context: &Context, scope: &Scope, kind: &str) -> Result<CrusoeBackend, HttpError> {
    let found =
        BackendType::parse(kind).and_then(|kind| scope.state().backend(scope.project_id(), kind));
    let found = found.ok_or_else(|| HttpError::absent(format!("Backend {kind} not found")))?;
    let opened = context.clouds.opened(found);
    opened.map_err(|error| HttpError::internal("open a backend's credentials", &error))
}
