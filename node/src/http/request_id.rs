//! Which writes are the same write.
//!
//! Our own clients send `X-Request-Id` and keep it over retries. The released client sends none,
//! but sends a request again when its connection drops; for a named `runs/apply` the id is
//! therefore derived from who asks for what, so that the repetition finds the run it made.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{HeaderStyle, Operation, Parameter, ReferenceOr};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use dstack_api::http::cluster::REQUEST_ID_HEADER;
use dstack_domain::ids::{RequestId, UserId};

use super::errors::HttpError;
use super::openapi;
use crate::env;

/// Longer ids are hashed as well as short ones, but nobody has a reason to send one.
const LONGEST: usize = 200;

/// What the client sent to name its write, if anything.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    named: Option<String>,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ClientRequest {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        let header = parts
            .headers
            .get(REQUEST_ID_HEADER)
            .and_then(|value| value.to_str().ok());
        let named = header
            .map(str::trim)
            .filter(|text| !text.is_empty() && text.len() <= LONGEST);
        Ok(Self {
            named: named.map(str::to_owned),
            path: parts.uri.path().to_owned(),
        })
    }
}

impl OperationInput for ClientRequest {
    fn operation_input(_context: &mut GenContext, call: &mut Operation) {
        call.parameters.push(ReferenceOr::Item(Parameter::Header {
            parameter_data: openapi::text_parameter(REQUEST_ID_HEADER, false),
            style: HeaderStyle::Simple,
        }));
    }
}

impl ClientRequest {
    /// The id of this write. User and path are part of it: an id that another user guesses, or
    /// that a proxy uses for all the calls of one page, must not find a foreign answer.
    pub fn id(&self, user: UserId) -> RequestId {
        match &self.named {
            Some(named) => derived("client", user, &self.path, named.as_bytes()),
            None => fresh(),
        }
    }

    /// The same, but without a name of its own the write is recognised by what it asks for.
    pub fn id_by_content(&self, user: UserId, content: &[u8]) -> RequestId {
        match &self.named {
            Some(_) => self.id(user),
            None => derived("content", user, &self.path, content),
        }
    }

    /// Whether the client named the write itself.
    pub fn is_named(&self) -> bool {
        self.named.is_some()
    }
}

/// An id for a write that is not to be recognised again.
pub fn fresh() -> RequestId {
    RequestId::from(env::uuid())
}

/// For the name of a run or fleet whose author gave none.
pub fn seed() -> u64 {
    let (high, low) = env::uuid().as_u64_pair();
    high ^ low
}

fn derived(kind: &str, user: UserId, path: &str, rest: &[u8]) -> RequestId {
    RequestId::derived(kind, &[&user.bytes(), path.as_bytes(), rest])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(named: Option<&str>, path: &str) -> ClientRequest {
        ClientRequest {
            named: named.map(str::to_owned),
            path: path.to_owned(),
        }
    }

    #[test]
    fn a_repetition_has_the_same_id_and_nothing_else_has() {
        let (ada, bob) = (UserId::from_random([1; 16]), UserId::from_random([2; 16]));
        let named = request(Some("x"), "/a");
        assert_eq!(named.id(ada), named.id(ada));
        assert_ne!(named.id(ada), named.id(bob));
        assert_ne!(named.id(ada), request(Some("x"), "/b").id(ada));
        assert_ne!(named.id(ada), request(Some("y"), "/a").id(ada));

        let unnamed = request(None, "/a");
        assert_ne!(unnamed.id(ada), unnamed.id(ada));
        assert_eq!(
            unnamed.id_by_content(ada, b"spec"),
            unnamed.id_by_content(ada, b"spec")
        );
        assert_ne!(
            unnamed.id_by_content(ada, b"spec"),
            unnamed.id_by_content(ada, b"other")
        );
    }
}
