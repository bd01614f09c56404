//! Why a call failed, sorted by what its caller can do about it.

use crate::http::errors::{ErrorCode, Malformed};

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server understood and refused; the message is for the user as it is.
    #[error("{message}")]
    Refused {
        code: Option<ErrorCode>,
        message: String,
        fields: Option<Vec<String>>,
    },
    /// The token is missing, wrong, or not allowed to do this.
    #[error("{url}: access denied: {message}")]
    Denied { url: String, message: String },
    /// The project, or the path, does not exist.
    #[error("{url}: {message}")]
    NotFound { url: String, message: String },
    /// The server does not know the form of the request.
    #[error("the server does not accept the form of the request{}", places(.details))]
    Malformed { details: Vec<Malformed> },
    /// No replica answered in time.
    #[error("no server answered{}", reasons(.tried))]
    Unavailable {
        /// URL and reason of each, the last try of it.
        tried: Vec<(String, String)>,
    },
    #[error("{url} answered {status}: {body}")]
    Unexpected {
        url: String,
        status: u16,
        body: String,
    },
    /// The answer is not what this client knows. A proxy in between, or another version.
    #[error("{url} gave an answer that cannot be read")]
    Unreadable {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{url}` is not an http or https address")]
    BadUrl { url: String },
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

impl ApiError {
    /// The thing asked about does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Some(ErrorCode::ResourceNotExists),
                ..
            }
        )
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => *code,
            _ => None,
        }
    }
}

fn places(details: &[Malformed]) -> String {
    let mut text = String::new();
    for detail in details {
        let path = detail.path();
        text.push_str(if text.is_empty() { ": " } else { "; " });
        if !path.is_empty() {
            text.push_str(&path);
            text.push_str(": ");
        }
        text.push_str(&detail.msg);
    }
    text
}

fn reasons(tried: &[(String, String)]) -> String {
    let mut text = String::new();
    for (url, reason) in tried {
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(&format!("{url}: {reason}"));
    }
    text
}
