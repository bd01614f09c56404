//! The seam to the replicated state machine: the node puts `domain` behind [`Machine`].

use bytes::Bytes;
use dstack_storage::Rows;
pub use dstack_storage::Write;

/// A committed entry that carries a client's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub index: u64,
    pub term: u64,
    pub payload: Bytes,
}

/// What applying one entry came to: the answer to its proposer, and the rows it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub reply: Bytes,
    pub writes: Vec<Write>,
}

/// A refusal to go on. A command that is merely refused is a normal reply, never this: an error
/// here stops the replica, because its state can no longer be trusted.
#[derive(Debug, thiserror::Error)]
#[error("state machine stopped: {reason}")]
pub struct MachineError {
    pub reason: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl MachineError {
    pub fn new(reason: impl Into<String>) -> Self {
        MachineError {
            reason: reason.into(),
            source: None,
        }
    }
}

/// A deterministic state machine (S12): equal logs give equal writes, replies and hashes, whatever
/// the batches. It must not look at a clock, at chance or at the order of a hash map.
pub trait Machine: Send + 'static {
    /// Rebuilds memory from rows: once at start, and again after a snapshot was installed.
    /// `applied` is the index whose effects the rows hold.
    fn load(&mut self, rows: &dyn Rows, applied: u64) -> Result<(), MachineError>;

    /// Applies entries in order, one answer for each. It changes memory only; the writes are put
    /// down by the caller in one batch with the applied index (S8).
    fn apply(&mut self, batch: &[Committed], rows: &dyn Rows)
    -> Result<Vec<Applied>, MachineError>;

    /// The batch up to `index` is written: publish views, wake watchers. Also called for blank and
    /// membership entries, so that an index is never waited for in vain.
    fn published(&mut self, index: u64);

    /// The rolling hash of the state at the last applied index.
    fn state_hash(&self) -> u64;
}
