//! The same engines on a disk that does what disks do at the worst moment.
//!
//! A [`Disk`] is bytes in memory, each file with a line up to which it is fsynced. [`Disk::crash`] keeps that
//! much and a random part of the rest, the last record possibly torn or garbled; a [`Fault`] makes the n-th
//! operation fail. The engines on it write, frame and recover real bytes, so recovery is exercised too.
//! No threads, no clock, no randomness of its own: one seed, one history.

mod disk;
mod log;
mod record;
mod snapshot;
mod state;

pub use disk::{Disk, Fault, SyncMode};
pub use log::TwinLog;
pub use state::TwinState;
