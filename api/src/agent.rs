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

/// The two streams of output a job has: its own, and what the agent has to say about it.
pub mod stream {
    pub const JOB: &str = "job";
    pub const RUNNER: &str = "runner";
}
