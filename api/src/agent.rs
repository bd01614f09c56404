//! The agent protocol, generated from `proto/agent.proto`.

#![allow(clippy::pedantic, clippy::nursery, missing_docs)]

tonic::include_proto!("dstack.agent.v1");

/// The phases an agent reports in [`ObservedJob::phase`].
pub mod phase {
    pub const ACCEPTED: &str = "accepted";
    pub const WAITING_ARCHIVES: &str = "waiting-archives";
    pub const PULLING: &str = "pulling";
    pub const CREATING: &str = "creating";
    pub const RUNNING: &str = "running";
    pub const EXITED: &str = "exited";
}

/// The streams a job has: its output, what agent and runner say about it, and what it uses
/// ([`crate::agent_metrics`]).
pub mod stream {
    pub const JOB: &str = "job";
    pub const RUNNER: &str = "runner";
    pub const METRICS: &str = "metrics";
    pub const ALL: [&str; 3] = [JOB, RUNNER, METRICS];
}
