//! What the world still lacks. One pure function of the state, the facts and the time; one file
//! per concern. Each proposed command is applied to a scratch copy before the next concern looks,
//! so two jobs never claim one machine in one pass, and a pass ends where the log will end.
//!
//! Nothing here is remembered between passes: whoever leads calls the same function on the same
//! memory, which is why a failover is not a special path. No chance is needed either: every id is
//! derived from the record it belongs to.

pub mod addresses;
pub mod cloud_offers;
mod desired;
mod fleets;
pub mod growth;
mod instances;
mod jobs;
mod ledger;
mod machines;
mod observe;
mod pass;
pub mod placement;
mod requirements;
mod retention;
mod retry;
mod runs;
mod whole;

pub use desired::{ClusterInfo, DesiredArchive, DesiredJob, DesiredPhase, DesiredSet};
pub use observe::{ObservedJob, ObservedJobs, ObservedPhase, observe};
pub use placement::NO_FLEETS;
pub use requirements::{blocks_needed, fits};
pub use retry::covers_no_capacity;
pub use whole::decide;
