//! Reading JSON bodies, with refusals in upstream's form.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, ReferenceOr, Response};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use dstack_api::http::errors::{Malformed, MalformedBody};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::errors::HttpError;
use super::openapi;

/// A required JSON body. The content type is not looked at: what is not JSON is refused anyway.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A body that may be left out, for the default of its type.
#[derive(Debug)]
pub struct MaybeBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        let bytes = read(request, state).await?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        let bytes = read(request, state).await?;
        let text = bytes.trim_ascii();
        if text.is_empty() || text == b"null" {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(context: &mut GenContext, call: &mut Operation) {
        Json::<T>::operation_input(context, call);
    }

    fn inferred_early_responses(
        context: &mut GenContext,
        _call: &mut Operation,
    ) -> Vec<(Option<u16>, Response)> {
        vec![openapi::answer::<MalformedBody>(
            context,
            422,
            "Not the form this call asks for",
        )]
    }
}

impl<T: JsonSchema> OperationInput for MaybeBody<T> {
    fn operation_input(context: &mut GenContext, call: &mut Operation) {
        Json::<T>::operation_input(context, call);
        if let Some(ReferenceOr::Item(body)) = &mut call.request_body {
            body.required = false;
        }
    }

    fn inferred_early_responses(
        context: &mut GenContext,
        call: &mut Operation,
    ) -> Vec<(Option<u16>, Response)> {
        Body::<T>::inferred_early_responses(context, call)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, HttpError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
            HttpError::refused(format!(
                "The request is larger than {} bytes. Large files belong into `files` or a repo.",
                crate::limits::HTTP_BODY_BYTES
            ))
        } else {
            HttpError::refused(format!("The request could not be read: {rejection}"))
        }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpError> {
    if bytes.trim_ascii().is_empty() {
        return Err(malformed("missing", vec!["body".into()], "Field required"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| describe(&error))?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> HttpError {
    if !error.inner().is_data() {
        return not_json(error.inner());
    }
    let mut place: Vec<Value> = vec!["body".into()];
    for segment in error.path() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => place.push((*index).into()),
            serde_path_to_error::Segment::Map { key } => place.push(key.as_str().into()),
            serde_path_to_error::Segment::Enum { variant } => place.push(variant.as_str().into()),
            serde_path_to_error::Segment::Unknown => {}
        }
    }
    let text = plain(error.inner());
    if let Some(field) = quoted_after(&text, "missing field ") {
        place.push(field.into());
        return malformed("missing", place, "Field required");
    }
    let kind = if text.starts_with("unknown field ") {
        "extra_forbidden"
    } else {
        "value_error"
    };
    malformed(kind, place, text)
}

/// Without "at line 1 column 345", which nobody can look up in a body of one line.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn quoted_after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?
        .strip_prefix('`')?
        .split('`')
        .next()
}

fn not_json(error: &serde_json::Error) -> HttpError {
    let place = vec!["body".into(), error.column().into()];
    malformed(
        "json_invalid",
        place,
        format!("The body is not JSON: {error}"),
    )
}

fn malformed(kind: &str, loc: Vec<Value>, msg: impl Into<String>) -> HttpError {
    // `input` stays null: a body may hold keys and passwords, and answers end up in logs.
    HttpError::Malformed(vec![Malformed {
        r#type: kind.to_owned(),
        loc,
        msg: msg.into(),
        input: Value::Null,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_api::http::runs::{ListRuns, StopRuns};

    fn refused<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> Malformed {
        match parse::<T>(text.as_bytes()) {
            Err(HttpError::Malformed(mut details)) => details.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let unknown = refused::<ListRuns>(r#"{"zzz":1}"#);
        assert_eq!(
            (unknown.r#type.as_str(), unknown.path().as_str()),
            ("extra_forbidden", "zzz")
        );

        let missing = refused::<StopRuns>(r#"{"runs_names":[]}"#);
        assert_eq!(
            (missing.r#type.as_str(), missing.path().as_str()),
            ("missing", "abort")
        );

        let wrong = refused::<StopRuns>(r#"{"runs_names":["a",2],"abort":true}"#);
        assert_eq!(
            (wrong.r#type.as_str(), wrong.path().as_str()),
            ("value_error", "runs_names[1]")
        );

        assert_eq!(refused::<StopRuns>("{").r#type, "json_invalid");
        assert_eq!(refused::<StopRuns>("").r#type, "missing");
        assert_eq!(
            refused::<StopRuns>(r#"{"runs_names":[],"abort":true} x"#).r#type,
            "json_invalid"
        );
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        let wrong = refused::<StopRuns>(r#"{"runs_names":["a"],"abort":"hunter2"}"#);
        assert_eq!(wrong.input, Value::Null);
    }
}
