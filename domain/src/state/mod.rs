//! The replicated state: every live table and its indexes, in persistent ordered maps, so that a
//! clone costs a few reference counts. Fields are private to this module; `Draft` is the only
//! writer and is reachable only from `command`.

mod draft;
mod load;
mod query;
pub(crate) mod rows;
mod tables;

pub(crate) use draft::Draft;
pub use draft::Touched;
pub use load::LoadError;
pub use query::JobView;
pub use rows::{RowChange, RowKey, Table};
pub use tables::{Clock, Cluster, Remembered, State};
