//! The engines on RocksDB.
//!
//! Two databases in one data directory: `raft/` holds the log and the vote and is fsynced by one thread for
//! whole groups of writes; `state/` holds the rows and is never fsynced on the way of a request. A checkpoint
//! of `state/` must hold the state and nothing else, since a vote in a snapshot would let its receiver vote
//! twice.

mod current;
mod db;
mod group_commit;
mod incoming;
mod log;
mod options;
mod snapshot;
mod state;
mod watermark;

pub use log::RocksLog;
pub use options::Shared;
pub use state::RocksState;
