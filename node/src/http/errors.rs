//! What a request is answered when it is not done.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dstack_api::http::errors::{
    DenialBody, ErrorCode, Malformed, MalformedBody, PlainBody, RefusalBody,
};
use dstack_domain::rejection::{Code, Rejection};

use super::openapi;
use crate::door::DoorError;

/// A refusal, by the status it gets. The bodies are upstream's to the letter.
#[derive(Debug, Clone)]
pub enum HttpError {
    /// 401: no token.
    NotAuthenticated,
    /// 403: a token nobody has.
    InvalidToken,
    /// 403: the caller lacks the role.
    AccessDenied(String),
    /// 404: no such project, or one that the caller cannot see.
    NotFound,
    /// 400, the one status whose message reaches the user.
    Refused { code: ErrorCode, message: String },
    /// 422: not the form the endpoint asks for.
    Malformed(Vec<Malformed>),
    /// 503: after the longest wait, still nobody could do it.
    Unavailable(String),
    /// 500. The cause is in the log, under the moment of the answer.
    Internal,
}

impl HttpError {
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused {
            code: ErrorCode::Error,
            message: message.into(),
        }
    }

    pub fn absent(message: impl Into<String>) -> Self {
        Self::Refused {
            code: ErrorCode::ResourceNotExists,
            message: message.into(),
        }
    }

    pub fn denied() -> Self {
        Self::AccessDenied("Access denied".to_owned())
    }

    /// 422 about one member of the body.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Malformed(vec![Malformed {
            r#type: "value_error".to_owned(),
            loc: vec!["body".into(), field.into()],
            msg: message.into(),
            input: serde_json::Value::Null,
        }])
    }

    /// Something on this replica broke: logged here, with its chain, and not shown.
    pub fn internal(what: &'static str, error: &dyn std::error::Error) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(what, error = chain, "a request failed on this replica");
        Self::Internal
    }
}

impl From<Rejection> for HttpError {
    fn from(rejection: Rejection) -> Self {
        let message = message(&rejection);
        let code = match rejection.code {
            Code::Forbidden => return Self::AccessDenied(message),
            Code::Error => ErrorCode::Error,
            Code::ResourceExists => ErrorCode::ResourceExists,
            Code::ResourceNotExists => ErrorCode::ResourceNotExists,
            Code::RepoDoesNotExist => ErrorCode::RepoDoesNotExist,
            Code::InvalidCredentials => ErrorCode::InvalidCredentials,
            Code::BackendNotAvailable => ErrorCode::BackendNotAvailable,
        };
        Self::Refused { code, message }
    }
}

/// The hint is a sentence after the message: the body has no place of its own for it.
fn message(rejection: &Rejection) -> String {
    match &rejection.hint {
        None => rejection.message.clone(),
        Some(hint) => {
            let message = rejection.message.trim_end();
            let stop = if message.ends_with(['.', '!', '?']) {
                ""
            } else {
                "."
            };
            format!("{message}{stop} {hint}")
        }
    }
}

impl From<DoorError> for HttpError {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Rejected(rejection) => rejection.into(),
            // A 400, so that the user reads which limit it was.
            DoorError::TooLarge { .. } => Self::refused(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let denial =
            |status: StatusCode, msg: String| (status, Json(DenialBody::new(msg))).into_response();
        match self {
            Self::NotAuthenticated => (
                StatusCode::UNAUTHORIZED,
                Json(PlainBody::new("Not authenticated")),
            )
                .into_response(),
            Self::InvalidToken => denial(StatusCode::FORBIDDEN, "Invalid token".to_owned()),
            Self::AccessDenied(message) => denial(StatusCode::FORBIDDEN, message),
            Self::NotFound => denial(StatusCode::NOT_FOUND, "Not found".to_owned()),
            Self::Refused { code, message } => (
                StatusCode::BAD_REQUEST,
                Json(RefusalBody::new(code, message)),
            )
                .into_response(),
            Self::Malformed(detail) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Json(MalformedBody { detail }),
            )
                .into_response(),
            Self::Unavailable(message) => {
                let retry = crate::door::RETRY_AFTER.as_secs().to_string();
                let headers = [(axum::http::header::RETRY_AFTER, retry)];
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    headers,
                    Json(PlainBody::new(message)),
                )
                    .into_response()
            }
            Self::Internal => {
                let body = PlainBody::new("Internal server error; the server's log says more");
                (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
            }
        }
    }
}

impl OperationOutput for HttpError {
    type Inner = Self;

    fn inferred_responses(
        context: &mut GenContext,
        _call: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        vec![
            openapi::answer::<RefusalBody>(context, 400, "Refused; the message is for the user"),
            openapi::answer::<DenialBody>(context, 404, "No such project"),
            openapi::answer::<PlainBody>(context, 503, "Nobody could do it in time"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_follows_its_message_as_a_sentence() {
        let rejection =
            Rejection::error("Run t2 is active").hint("Stop it first: `dstack stop t2`");
        assert_eq!(
            message(&rejection),
            "Run t2 is active. Stop it first: `dstack stop t2`"
        );
        let rejection = Rejection::error("It is active.").hint("Stop it.");
        assert_eq!(message(&rejection), "It is active. Stop it.");
    }

    #[test]
    fn a_forbidden_command_is_a_403_and_everything_else_a_400() {
        let status = |rejection: Rejection| HttpError::from(rejection).into_response().status();
        assert_eq!(status(Rejection::forbidden("no")), StatusCode::FORBIDDEN);
        assert_eq!(status(Rejection::error("no")), StatusCode::BAD_REQUEST);
        assert_eq!(status(Rejection::not_exists("no")), StatusCode::BAD_REQUEST);
        assert_eq!(status(Rejection::exists("no")), StatusCode::BAD_REQUEST);
    }
}
