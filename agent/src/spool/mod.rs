//! The spool: what a job wrote, in log frames, on the host until the servers have it.
//!
//! One writer (the runner; before it starts and after it is gone, the agent) and any readers. The
//! stream is cut into segment files named after the offset of their first byte, so that what the
//! servers have stored can be given back to the disk while the job still writes.

mod reader;
mod segment;
mod writer;

pub use reader::{Bounds, SpoolReader, bounds, trim};
pub use writer::{Owner, SpoolWriter};
