//! Git repositories. Credentials are each user's own, sealed whole.

use axum::extract::{Multipart, Path, Query, State};
use axum::http::HeaderMap;
use dstack_api::http::repos::{
    DeleteRepos, GetRepo, InitRepo, RemoteRepoCreds, RepoHead, RepoHeadWithCreds, RepoInfo,
};
use dstack_domain::command;
use dstack_domain::model::{Repo, Sealed};
use schemars::JsonSchema;
use serde::Deserialize;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::errors::HttpError;
use super::files;
use super::request_id::ClientRequest;
use crate::context::Context;

pub async fn init(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<InitRepo>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let info = serde_json::to_value(&request.repo_info)
        .map_err(|error| HttpError::internal("write down a repo's kind", &error))?;
    // The released client does this before every run without a repo; it need not become a log entry each time.
    let known = scope.state().repo(scope.project_id(), &request.repo_id);
    let nothing_new =
        known.is_some_and(|repo| repo.info == info && !repo.creds.contains_key(&caller.id()));
    if nothing_new && request.repo_creds.is_none() {
        return Ok(Answer::done(scope.view.revision));
    }
    let creds = request
        .repo_creds
        .as_ref()
        .map(|creds| sealed(&context, creds))
        .transpose()?;
    let command = command::InitRepo {
        project: scope.project_id(),
        repo_id: request.repo_id,
        info,
        creds,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}

fn sealed(context: &Context, creds: &RemoteRepoCreds) -> Result<Sealed, HttpError> {
    let text = serde_json::to_string(creds)
        .map_err(|error| HttpError::internal("write down credentials", &error))?;
    context
        .sealer
        .seal(&text)
        .map_err(|error| HttpError::internal("seal credentials", &error))
}

pub async fn get(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetRepo>,
) -> Outcome<RepoHeadWithCreds> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let found = scope.state().repo(scope.project_id(), &request.repo_id);
    let repo = found.ok_or_else(|| HttpError::absent("Repo not found"))?;
    let own = repo
        .creds
        .get(&caller.id())
        .filter(|_| request.include_creds);
    let head = RepoHeadWithCreds {
        repo_id: repo.repo_id.clone(),
        repo_info: info(repo)?,
        repo_creds: own
            .map(|creds| opened(&context, &creds.creds))
            .transpose()?,
    };
    Ok(Answer::new(head, scope.view.revision))
}

fn opened(context: &Context, creds: &Sealed) -> Result<RemoteRepoCreds, HttpError> {
    let text = context
        .sealer
        .open(creds)
        .map_err(|error| HttpError::internal("open credentials", &error))?;
    serde_json::from_str(&text).map_err(|_| {
        // Not the parser's message: it may quote the text.
        tracing::error!("stored repo credentials are not in a form this version knows");
        HttpError::Internal
    })
}

fn info(repo: &Repo) -> Result<RepoInfo, HttpError> {
    serde_json::from_value(repo.info.clone())
        .map_err(|error| HttpError::internal("read a repo's kind", &error))
}

pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    _body: MaybeBody<serde_json::Value>,
) -> Outcome<Vec<RepoHead>> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let repos = scope.state().repos_of(scope.project_id());
    let heads: Result<Vec<_>, _> = repos
        .map(|repo| {
            info(repo).map(|repo_info| RepoHead {
                repo_id: repo.repo_id.clone(),
                repo_info,
            })
        })
        .collect();
    Ok(Answer::new(heads?, scope.view.revision))
}

pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<DeleteRepos>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let command = command::DeleteRepos {
        project: scope.project_id(),
        repo_ids: request.repos_ids,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub struct CodeOf {
    repo_id: String,
}

/// The changes of a dirty work tree, found again by their hash in the run's specification.
pub async fn upload_code(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Query(code): Query<CodeOf>,
    headers: HeaderMap,
    form: Multipart,
) -> Outcome<()> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    if scope
        .state()
        .repo(scope.project_id(), &code.repo_id)
        .is_none()
    {
        return Err(HttpError::Refused {
            code: dstack_api::http::errors::ErrorCode::RepoDoesNotExist,
            message: format!(
                "Repo {} does not exist. Run `dstack init` first.",
                code.repo_id
            ),
        });
    }
    let upload = files::receive(&context, &headers, form).await?;
    let revision = files::keep(&context, &caller, request_id.id(caller.id()), upload)
        .await?
        .1;
    Ok(Answer::done(revision))
}
