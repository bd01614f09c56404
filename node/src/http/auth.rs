//! Who asks.
//!
//! The order is upstream's: token (401, 403), then whether the project exists (404), then the
//! role (403). Tokens are looked up by their SHA-256; the token itself is nowhere in the open.

use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response};
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use dstack_api::http::errors::{DenialBody, PlainBody};
use dstack_domain::command::Actor;
use dstack_domain::ids::UserId;
use dstack_domain::model::{GlobalRole, User};
use sha2::{Digest, Sha256};

use super::errors::HttpError;
use super::openapi;
use crate::context::Context;
use crate::limits;
use crate::view::View;

/// The user a token belongs to.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: Arc<User>,
    token_hash: String,
}

impl Caller {
    pub fn id(&self) -> UserId {
        self.user.id
    }

    pub fn actor(&self) -> Actor {
        Actor::User(self.user.id)
    }

    pub fn is_global_admin(&self) -> bool {
        self.user.global_role == GlobalRole::Admin
    }

    /// A view that holds every acknowledged write, with the caller's own record from it: a token
    /// that was withdrawn through another replica a moment ago must not work here.
    pub async fn fresh(&self, context: &Context) -> Result<(Caller, Arc<View>), HttpError> {
        let view = fresh(context).await?;
        let caller = identify(&view, &self.token_hash).ok_or(HttpError::InvalidToken)?;
        Ok((caller, view))
    }
}

/// Waits for a leader as long as a write would.
pub async fn fresh(context: &Context) -> Result<Arc<View>, HttpError> {
    context
        .views
        .fresh_within(limits::PARK)
        .await
        .ok_or_else(|| {
            HttpError::Unavailable(
                "the cluster has no leader; `dstack cluster status` shows which replicas answer"
                    .to_owned(),
            )
        })
}

/// The view that shows what was just done. It is done in any case; only this replica may lie
/// behind, and then another one is to be asked rather than something older shown.
pub async fn showing(context: &Context, revision: u64) -> Result<Arc<View>, HttpError> {
    let shown = tokio::time::timeout(limits::PARK, context.views.at(revision)).await;
    shown.map_err(|_| {
        HttpError::Unavailable(
            "it was done, but this replica does not show it yet; ask another one".to_owned(),
        )
    })
}

impl FromRequestParts<Context> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, HttpError> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(bearer).ok_or(HttpError::NotAuthenticated)?;
        let hash = hash(token);
        if let Some(caller) = identify(&context.views.now(), &hash) {
            return Ok(caller);
        }
        // This replica may lie behind the one that made the token.
        identify(&*fresh(context).await?, &hash).ok_or(HttpError::InvalidToken)
    }
}

impl OperationInput for Caller {
    fn operation_input(_context: &mut GenContext, call: &mut Operation) {
        let token = [(openapi::SECURITY.to_owned(), Vec::new())];
        call.security.push(token.into_iter().collect());
    }

    fn inferred_early_responses(
        context: &mut GenContext,
        _call: &mut Operation,
    ) -> Vec<(Option<u16>, Response)> {
        vec![
            openapi::answer::<PlainBody>(context, 401, "No token"),
            openapi::answer::<DenialBody>(context, 403, "A token nobody has, or not the role"),
        ]
    }
}

fn identify(view: &View, hash: &str) -> Option<Caller> {
    let user = view
        .state
        .user_by_token_hash(hash)
        .filter(|user| user.active)?;
    Some(Caller {
        user: user.clone(),
        token_hash: hash.to_owned(),
    })
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What a token is stored and found as.
pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_count() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("abc"), None);
    }
}
