//! How a refusal looks.
//!
//! The released client shows a message to its user in one case only: HTTP 400 whose `detail` is a
//! list of exactly one object with the keys `msg` and `code` and a code it knows. Everything a
//! user should read is therefore sent that way; other statuses keep upstream's fixed bodies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The codes the released client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Everything without a code of its own.
    Error,
    ResourceExists,
    /// Clients rely on this one: it ends their waiting for a deletion.
    ResourceNotExists,
    InvalidCredentials,
    BackendNotAvailable,
    RepoDoesNotExist,
    GatewayError,
}

/// The body of a 400.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalBody {
    pub detail: Vec<Refusal>,
}

/// What was refused and why. No other key may be added: the released client would crash on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    pub msg: String,
    pub code: Option<ErrorCode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
}

impl RefusalBody {
    pub fn new(code: ErrorCode, msg: impl Into<String>) -> Self {
        let refusal = Refusal {
            msg: msg.into(),
            code: Some(code),
            fields: None,
        };
        Self {
            detail: vec![refusal],
        }
    }
}

/// The body of 403 and 404.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DenialBody {
    pub detail: Denial,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Denial {
    pub msg: String,
    pub code: Option<ErrorCode>,
}

impl DenialBody {
    pub fn new(msg: impl Into<String>) -> Self {
        Self {
            detail: Denial {
                msg: msg.into(),
                code: None,
            },
        }
    }
}

/// The body of 401 and 405.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlainBody {
    pub detail: String,
}

impl PlainBody {
    pub fn new(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
        }
    }
}

/// The body of a 422: the request does not have the form the endpoint asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MalformedBody {
    pub detail: Vec<Malformed>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Malformed {
    /// A word for programs, such as `extra_forbidden` or `missing`.
    pub r#type: String,
    /// Where: `["body", "plan", "run_spec", "configuration"]`; list positions are numbers.
    #[serde(default)]
    pub loc: Vec<Value>,
    pub msg: String,
    #[serde(default)]
    pub input: Value,
}

impl Malformed {
    /// The place in words: `plan.run_spec.configuration`.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for part in self.loc.iter().skip(1) {
            match part {
                Value::Number(index) => path.push_str(&format!("[{index}]")),
                other => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(other.as_str().unwrap_or_default());
                }
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_the_captured_ones() {
        let refusal = RefusalBody::new(ErrorCode::ResourceNotExists, "Run not found");
        assert_eq!(
            serde_json::to_string(&refusal).unwrap(),
            r#"{"detail":[{"msg":"Run not found","code":"resource_not_exists"}]}"#
        );
        assert_eq!(
            serde_json::to_string(&DenialBody::new("Invalid token")).unwrap(),
            r#"{"detail":{"msg":"Invalid token","code":null}}"#
        );
        assert_eq!(
            serde_json::to_string(&PlainBody::new("Not authenticated")).unwrap(),
            r#"{"detail":"Not authenticated"}"#
        );
    }

    #[test]
    fn a_place_reads_as_a_path() {
        let malformed = Malformed {
            r#type: "missing".into(),
            loc: vec![
                "body".into(),
                "plan".into(),
                "jobs".into(),
                2.into(),
                "env".into(),
            ],
            msg: String::new(),
            input: Value::Null,
        };
        assert_eq!(malformed.path(), "plan.jobs[2].env");
    }
}
