//! What the job uses, sampled beside it: one more stream of its spool, which reaches the replicas as its output does.
//!
//! The runner does this and not the agent: it lives as long as the job, and inside a container it sees what the
//! container sees.

mod gpus;
mod processes;
mod unused;
mod usage;
mod watch;

pub use usage::Source;
pub use watch::watch;
