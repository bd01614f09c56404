//! Secrets. Sealed before they leave this replica, opened only to be shown to an administrator.

use axum::extract::{Path, State};
use dstack_api::http::secrets::{DeleteSecrets, GetSecret, Secret, SetSecret};
use dstack_domain::command;
use dstack_domain::ids::SecretId;
use dstack_domain::model;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::errors::HttpError;
use super::request_id::ClientRequest;
use crate::context::Context;
use crate::env;

const LONGEST_VALUE: usize = 5000;

/// Without the values.
pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    _body: MaybeBody<serde_json::Value>,
) -> Outcome<Vec<Secret>> {
    let scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let secrets = scope.state().secrets_of(scope.project_id());
    let shown = secrets.map(|secret| Secret {
        id: secret.id.0,
        name: secret.name.clone(),
        value: None,
    });
    Ok(Answer::new(shown.collect(), scope.view.revision))
}

pub async fn get(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetSecret>,
) -> Outcome<Secret> {
    let scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let found = scope.state().secret(scope.project_id(), &request.name);
    let secret =
        found.ok_or_else(|| HttpError::absent(format!("Secret {} not found", request.name)))?;
    Ok(Answer::new(opened(&context, secret)?, scope.view.revision))
}

fn opened(context: &Context, secret: &model::Secret) -> Result<Secret, HttpError> {
    let value = context
        .sealer
        .open(&secret.value)
        .map_err(|error| HttpError::internal("open a secret", &error))?;
    Ok(Secret {
        id: secret.id.0,
        name: secret.name.clone(),
        value: Some(value),
    })
}

pub async fn create_or_update(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<SetSecret>,
) -> Outcome<Secret> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let length = request.value.chars().count();
    if length > LONGEST_VALUE {
        return Err(HttpError::refused(format!(
            "The value of secret {} has {length} characters, the most is {LONGEST_VALUE}",
            request.name
        )));
    }
    let value = context
        .sealer
        .seal(&request.value)
        .map_err(|error| HttpError::internal("seal a secret", &error))?;
    let command = command::SetSecret {
        project: scope.project_id(),
        id: SecretId::from(env::uuid()),
        name: request.name.clone(),
        value,
    };
    scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    let found = scope.state().secret(scope.project_id(), &request.name);
    let secret =
        found.ok_or_else(|| HttpError::absent(format!("Secret {} not found", request.name)))?;
    Ok(Answer::new(opened(&context, secret)?, scope.view.revision))
}

pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<DeleteSecrets>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Admin).await?;
    let command = command::DeleteSecrets {
        project: scope.project_id(),
        names: request.secrets_names,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}
