//! Answers, with the log index they reflect in a header.

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use dstack_api::http::cluster::REVISION_HEADER;
use serde::Serialize;

use super::errors::HttpError;

/// What a handler returns.
pub type Outcome<T> = Result<Answer<T>, HttpError>;

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

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.value).into_response();
        response
            .headers_mut()
            .insert(REVISION_HEADER, HeaderValue::from(self.revision));
        response
    }
}
