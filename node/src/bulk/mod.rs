//! Uploaded archives (code, files): content addressed, stored by a majority, fetched from whoever has them.
//!
//! The replicated log knows an archive by its SHA-256 alone. A file under `archives/` has its checksum as its name
//! and is complete, or it does not exist: it is written aside, synced, and renamed.

mod disk;
mod store;
mod wire;

#[cfg(test)]
mod tests;

pub use disk::BulkError;
pub use store::Bulk;
