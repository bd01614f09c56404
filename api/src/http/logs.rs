//! The output of jobs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Moment;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollLogs {
    pub run_name: String,
    pub job_submission_id: Uuid,
    /// Exclusive: only what is strictly newer.
    #[serde(default)]
    pub start_time: Option<Moment>,
    #[serde(default)]
    pub end_time: Option<Moment>,
    #[serde(default)]
    pub descending: bool,
    #[serde(default)]
    pub next_token: Option<String>,
    #[serde(default = "default_limit")]
    pub limit: u32,
    /// The agent's diagnostics instead of the job's own output.
    #[serde(default)]
    pub diagnose: bool,
    /// Ours: wait up to this many seconds for something new instead of answering with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u32>,
    /// Ours: keep `next_token` at the end of what there is, so that a follower can go on from it.
    /// Without it the token becomes null there, which tells the released client to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// Lines in one answer, at most.
pub const MOST_LINES: u32 = 1000;

fn default_limit() -> u32 {
    100
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSubmissionLogs {
    pub logs: Vec<LogEvent>,
    pub external_url: Option<String>,
    /// Where to go on; null at the end.
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEvent {
    pub timestamp: Moment,
    pub log_source: LogSource,
    /// Base64; see [`LogEvent::bytes`].
    pub message: String,
}

impl LogEvent {
    pub fn new(timestamp: Moment, bytes: &[u8]) -> Self {
        Self {
            timestamp,
            log_source: LogSource::Stdout,
            message: STANDARD.encode(bytes),
        }
    }

    /// What the job wrote, newline included.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(&self.message)
    }
}
