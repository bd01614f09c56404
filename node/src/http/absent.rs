//! What upstream has and this server does not: lists are empty, single things do not exist, and
//! making one is refused in words. Answers instead of 404, because the released client asks for
//! these lists in its completion and its tables.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use dstack_api::http::gateways::GetGateway;
use dstack_api::http::volumes::GetVolume;
use serde_json::Value;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::errors::HttpError;
use crate::context::Context;

type Nothing = Vec<Value>;

/// Project-scoped lists.
pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    _body: MaybeBody<Value>,
) -> Outcome<Nothing> {
    let scope = Scope::enter(&context, &caller, &project, Need::MemberOrPublic).await?;
    Ok(Answer::new(Vec::new(), scope.view.revision))
}

/// Lists over all projects.
pub async fn list_all(_caller: Caller, _body: MaybeBody<Value>) -> Json<Nothing> {
    Json(Vec::new())
}

pub async fn get_volume(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(_request): Body<GetVolume>,
) -> Outcome<()> {
    Scope::enter(&context, &caller, &project, Need::Member).await?;
    Err(HttpError::absent("Volume not found"))
}

pub async fn get_gateway(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(_request): Body<GetGateway>,
) -> Outcome<()> {
    Scope::enter(&context, &caller, &project, Need::MemberOrPublic).await?;
    Err(HttpError::absent("Gateway not found"))
}

/// Deleting what does not exist: unknown names are ignored, as upstream does.
pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    _body: MaybeBody<Value>,
) -> Outcome<()> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    Ok(Answer::done(scope.view.revision))
}

macro_rules! refusals {
    ($($name:ident: $message:literal),+ $(,)?) => {$(
        pub async fn $name(
            State(context): State<Context>,
            caller: Caller,
            Path(project): Path<String>,
            _body: MaybeBody<Value>,
        ) -> Result<Json<()>, HttpError> {
            Scope::enter(&context, &caller, &project, Need::Member).await?;
            Err(HttpError::refused($message))
        }
    )+};
}

refusals! {
    no_volumes: "This server does not support volumes. Use `instance_path` mounts of the host instead.",
    no_gateways: "This server does not support gateways.",
    no_exports: "Exports are not supported",
    no_imports: "Imports are not supported",
}

/// Paths nobody serves: 405 for `POST`, as upstream's own server answers, else 404.
pub async fn unknown(method: axum::http::Method) -> axum::response::Response {
    use axum::http::StatusCode;
    use dstack_api::http::errors::PlainBody;
    let (status, text) = if method == axum::http::Method::POST {
        (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
    } else {
        (StatusCode::NOT_FOUND, "Not Found")
    };
    (status, Json(PlainBody::new(text))).into_response()
}

/// A path that exists, with another method.
pub async fn wrong_method() -> axum::response::Response {
    use axum::http::StatusCode;
    use dstack_api::http::errors::PlainBody;
    (
        StatusCode::METHOD_NOT_ALLOWED,
        Json(PlainBody::new("Method Not Allowed")),
    )
        .into_response()
}
