//! What a replica asks of its disk.
//!
//! Two engines, because their durability differs. The [`LogEngine`] is fsynced before anything is promised
//! to another replica. The [`StateEngine`] is not: whatever a power cut takes from it is replayed from the
//! log, which is sound because the applied marker travels in the same batch as its effects (S8).
//!
//! Values are opaque bytes here. Two implementations exist: [`crate::rocks`] for disks, [`crate::twin`]
//! for simulations that need a disk to lose power at a chosen operation.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::StorageError;
use crate::manifest::Manifest;
use crate::table::Table;

/// Result of every storage call.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Told once, and never before the bytes it speaks for are on disk (S2).
/// Callbacks of one engine are called in the order in which their calls were made.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// What the log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogBounds {
    /// First entry that can be read.
    pub first: Option<u64>,
    /// Last entry that can be read.
    pub last: Option<u64>,
    /// The last purged index with the marker given to [`LogEngine::purge_to`].
    pub purged: Option<(u64, Bytes)>,
}

/// The Raft log, the vote and the committed marker, in one write-ahead log: nothing of it is reordered (S4).
///
/// After the first I/O error every call answers with an error (S11): the disk's state is no longer known,
/// so the process has to end and start again.
pub trait LogEngine: Send + Sync + 'static {
    /// First, last and purged index. Answered from memory.
    fn bounds(&self) -> LogBounds;

    /// The last readable entry.
    fn last(&self) -> Result<Option<(u64, Bytes)>>;

    /// Consecutive entries of `range`, as many as fit into `max_bytes`, but at least one when the range
    /// holds any. Starts at the first entry the range shares with the log.
    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<(u64, Bytes)>>;

    /// Adds consecutive entries behind the last one. They are readable when this returns (S3); `done` is
    /// called after the fsync (S2). On `Err` nothing was written and `done` is dropped uncalled.
    fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) -> Result<()>;

    /// Removes every entry behind `keep`, or all of them. Durable with the next synced write (S6).
    fn truncate_after(&self, keep: Option<u64>) -> Result<()>;

    /// Removes every entry up to and with `index` and stores the marker in the same write (S5). The index may
    /// lie behind the last entry (after a snapshot install): the log is then empty and continues at `index + 1`.
    fn purge_to(&self, index: u64, marker: Bytes) -> Result<()>;

    /// Stores the vote; `done` is called after the fsync. The vote takes the same queue as appends (S1, S4).
    fn save_vote(&self, vote: Bytes, done: Done) -> Result<()>;

    /// The last vote given to [`LogEngine::save_vote`].
    fn vote(&self) -> Result<Option<Bytes>>;

    /// Stores the committed marker without an fsync; the next synced write carries it (S9).
    fn save_committed(&self, committed: Bytes) -> Result<()>;

    /// The last committed marker.
    fn committed(&self) -> Result<Option<Bytes>>;

    /// `done` is called once everything written so far is on disk.
    fn sync(&self, done: Done) -> Result<()>;
}

/// One change of one row. No value: the row is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub table: Table,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Rows that change together with the marker that says up to where the log is in them (S8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub writes: Vec<Write>,
    /// Kept under [`APPLIED`]. `None` leaves it as it is.
    pub applied: Option<Bytes>,
    /// Kept under [`MEMBERSHIP`]. `None` leaves it as it is.
    pub membership: Option<Bytes>,
}

/// Name of the applied marker, for [`StateEngine::meta`].
pub const APPLIED: &str = "applied";
/// Name of the membership, for [`StateEngine::meta`].
pub const MEMBERSHIP: &str = "membership";

/// Which rows to visit.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    pub table: Table,
    /// First key, included.
    pub from: &'a [u8],
    /// Key to stop before; `None` goes to the end of the table.
    pub to: Option<&'a [u8]>,
    /// From the last key to the first.
    pub reverse: bool,
    /// At most so many rows; `usize::MAX` for all.
    pub limit: usize,
}

impl<'a> Scan<'a> {
    /// Every row of a table, in key order.
    pub fn all(table: Table) -> Self {
        Scan {
            table,
            from: &[],
            to: None,
            reverse: false,
            limit: usize::MAX,
        }
    }

    /// The rows with keys in `from..to`, in key order.
    pub fn range(table: Table, from: &'a [u8], to: &'a [u8]) -> Self {
        Scan {
            table,
            from,
            to: Some(to),
            reverse: false,
            limit: usize::MAX,
        }
    }
}

/// Called for each row with key and value; `Break` ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Reads of the state that was live when the handle was taken. It sees later batches, but not a later
/// install: take a new handle after [`Incoming::install`].
pub trait Rows: Send + Sync {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>>;

    /// Visits rows of one moment: batches written during the scan are not seen.
    fn scan(&self, scan: Scan<'_>, visit: Visit<'_>) -> Result<()>;
}

/// The tables of the replicated state, and its snapshots.
pub trait StateEngine: Send + Sync + 'static {
    /// A handle for reads.
    fn rows(&self) -> Arc<dyn Rows>;

    /// All of the batch or nothing, without an fsync (S8).
    fn write(&self, batch: Batch) -> Result<()>;

    /// A row of the meta table: [`APPLIED`], [`MEMBERSHIP`] or a name of the caller's.
    fn meta(&self, name: &str) -> Result<Option<Bytes>>;

    /// Returns after everything written is on disk. Blocks.
    fn sync(&self) -> Result<()>;

    /// Takes a consistent copy of this moment, to be made a snapshot by [`Checkpoint::finish`].
    /// Short: hold your apply lock over it, and release the lock before `finish`.
    /// The name orders snapshots (the newest sorts last): letters, digits, `-`, `_`, `.`.
    fn checkpoint(&self, name: &str) -> Result<Box<dyn Checkpoint>>;

    /// Finished snapshots, newest last.
    fn snapshots(&self) -> Vec<Arc<dyn Snapshot>>;

    /// The newest finished snapshot.
    fn current_snapshot(&self) -> Option<Arc<dyn Snapshot>> {
        self.snapshots().pop()
    }

    /// Unlists all but the newest `keep` snapshots. The files of one that somebody still holds go when it
    /// is released.
    fn retain_snapshots(&self, keep: usize) -> Result<()>;

    /// Starts to receive a snapshot made elsewhere. Dropping the receiver forgets what came.
    fn receive(&self, manifest: Manifest) -> Result<Box<dyn Incoming>>;
}

/// A copy that has been taken but is not a snapshot yet.
pub trait Checkpoint: Send {
    /// Checksums, writes and fsyncs the copy; it is a snapshot, and the state it covers is on disk,
    /// when this returns (S7). `hash` is the caller's hash of the state, kept in the manifest. Blocks.
    fn finish(self: Box<Self>, hash: u64) -> Result<Arc<dyn Snapshot>>;
}

/// A finished snapshot. Its files stay readable as long as somebody holds it.
pub trait Snapshot: Send + Sync {
    fn manifest(&self) -> &Manifest;

    /// Up to `max` bytes of a file of the manifest from `offset`; empty at its end. Blocks.
    fn read(&self, file: &str, offset: u64, max: usize) -> Result<Bytes>;
}

/// A snapshot on its way in.
pub trait Incoming: Send {
    fn manifest(&self) -> &Manifest;

    /// The next bytes of a file of the manifest. Each file's bytes come in order. Blocks.
    fn write(&mut self, file: &str, chunk: &[u8]) -> Result<()>;

    /// Checks every file against the manifest, then replaces the whole state with it. After a crash there
    /// is either the old or the new state, never a mix; afterwards this is the only snapshot (S10). Blocks.
    fn install(self: Box<Self>) -> Result<Arc<dyn Snapshot>>;
}
