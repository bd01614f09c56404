//! Answers, with the log index they reflect in a header.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use dstack_api::http::cluster::REVISION_HEADER;
use schemars::JsonSchema;
use serde::Serialize;

use super::errors::HttpError;
use super::openapi;

/// What a handler returns.
pub type Outcome<T> = Result<Answer<T>, HttpError>;

/// A list, or on request the list with the number of rows on all pages.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Listed<T, C> {
    Plain(Vec<T>),
    Counted(C),
}

/// A 200.
#[derive(Debug)]
pub struct Answer<T> {
    value: T,
    revision: u64,
}

impl<T> Answer<T> {
    pub fn new(value: T, revision: u64) -> Self {
        Self { value, revision }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }
}

impl Answer<()> {
    /// Done, nothing to say: the JSON literal `null`.
    pub fn done(revision: u64) -> Self {
        Self {
            value: (),
            revision,
        }
    }
}

impl<T: JsonSchema> OperationOutput for Answer<T> {
    type Inner = T;

    fn inferred_responses(
        context: &mut GenContext,
        _call: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        vec![openapi::answer::<T>(context, 200, "Done")]
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.value).into_response();
        response
            .headers_mut()
            .insert(REVISION_HEADER, HeaderValue::from(self.revision));
        response
    }
}
