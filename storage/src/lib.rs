//! Durable bytes under keys: what a replica keeps on disk, knowing nothing of what the bytes mean.
//!
//! [`engine`] says what is promised, [`rocks`] keeps it on RocksDB, [`twin`] keeps it on a modelled disk
//! that loses power, tears tails and fails on command. The durability invariants S1 to S14 that comments
//! and tests here cite are explained in `ARCHITECTURE.md`.

pub mod engine;
mod error;
mod files;
mod identity;
mod manifest;
pub mod rocks;
mod rules;
mod table;
pub mod twin;

pub use engine::{
    APPLIED, Batch, Checkpoint, Done, Incoming, LogBounds, LogEngine, MEMBERSHIP, Result, Rows,
    Scan, Snapshot, StateEngine, Visit, Write,
};
pub use error::StorageError;
pub use identity::{DATA_FORMAT, Identity};
pub use manifest::{MANIFEST_FORMAT, Manifest, SnapshotFile};
pub use table::Table;
