//! Job output, kept outside the replicated log: decisions travel through Raft, bytes do not.
//!
//! Each replica has files of frames per (submission, stream), identical bytes at identical offsets everywhere.
//! The leader appends what an agent sends, ships it to the others and acknowledges it to the agent once a
//! majority has it on disk (each fsyncs before it answers). Offsets make everything idempotent: whoever
//! repeats, overlaps or arrives late changes nothing, so no fence is needed, and a replica that missed a part
//! says where it ends and is filled up from there.

mod disk;
mod retention;
mod segments;
mod ship;
mod store;
mod wire;

#[cfg(test)]
mod tests;

pub use disk::{Disk, LogError};
pub use retention::{Limits, Swept};
pub use store::{LogStore, Page};

use dstack_domain::ids::SubmissionId;
use std::fmt;
use std::str::FromStr;

/// The streams of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// What the job itself writes.
    Job,
    /// What the agent and the runner say about it (`dstack logs -d`).
    Runner,
    /// What the job uses, a sample at a time.
    Metrics,
}

impl Stream {
    pub const ALL: [Self; 3] = [Self::Job, Self::Runner, Self::Metrics];
    pub fn word(self) -> &'static str {
        match self {
            Self::Job => dstack_api::agent::stream::JOB,
            Self::Runner => dstack_api::agent::stream::RUNNER,
            Self::Metrics => dstack_api::agent::stream::METRICS,
        }
    }
}

impl FromStr for Stream {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.word() == word)
            .ok_or(())
    }
}

/// One sequence of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub submission: SubmissionId,
    pub stream: Stream,
}

impl Key {
    pub fn new(submission: SubmissionId, stream: Stream) -> Self {
        Self { submission, stream }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.submission, self.stream.word())
    }
}
