//! Refusals. A refused command is a normal, replicated reply: the same on every replica and on
//! every retry of the same request.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Upstream's error codes, which its client switches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    Error,
    ResourceExists,
    ResourceNotExists,
    RepoDoesNotExist,
    InvalidCredentials,
    BackendNotAvailable,
    /// The actor may not do this; the HTTP layer answers 403.
    Forbidden,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Error => "error",
            Code::ResourceExists => "resource_exists",
            Code::ResourceNotExists => "resource_not_exists",
            Code::RepoDoesNotExist => "repo_does_not_exist",
            Code::InvalidCredentials => "invalid_credentials",
            Code::BackendNotAvailable => "backend_not_available",
            Code::Forbidden => "forbidden",
        }
    }
}

/// What was refused, why, and what to type next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub code: Code,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Rejection {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Code::Error, message)
    }

    pub fn not_exists(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceNotExists, message)
    }

    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExists, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, message)
    }

    /// The record moved on since the command was formed (a stale generation, a second report of
    /// the same thing). Nothing is wrong; the proposer looks again.
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(Code::Error, message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Rejection {}
