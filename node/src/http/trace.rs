//! One line for each answer: quiet when all is well, loud when this replica could not answer.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::env;

/// Logs method, path, status and time. Never the query, headers or bodies: they hold secrets.
pub async fn answers(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let start = env::monotonic();
    let response = next.run(request).await;
    let (status, ms) = (response.status().as_u16(), start.elapsed().as_millis());
    if response.status().is_server_error() {
        tracing::warn!(%method, path, status, ms, "a request was not answered");
    } else {
        tracing::debug!(%method, path, status, ms, "answered");
    }
    response
}
