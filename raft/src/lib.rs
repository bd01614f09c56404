//! Agreement on bytes: a replicated log and state machine for the replicas of one cluster.
//!
//! This is the only crate that names the consensus library, and none of the library's types leave
//! it. Payloads are opaque; what they mean is decided behind [`Machine`]. [`start`] brings a replica
//! up and returns its [`Handle`]; [`Peers`] carries the node's own calls over the same authenticated
//! connections. The durability invariants S1 to S14 that comments and tests cite are explained in
//! `ARCHITECTURE.md`.

mod context;
pub mod echo;
mod encoding;
mod error;
mod formation;
mod handle;
mod leadership;
mod log_store;
mod machine;
mod machine_store;
mod members;
mod met;
mod network;
mod options;
mod peers;
mod read;
#[cfg(feature = "testing")]
mod seeded;
mod snapshot;
mod start;
mod status;
pub mod tls;
mod transport;
mod types;
mod wire;

#[allow(clippy::all, clippy::pedantic, unused_qualifications)]
mod proto {
    tonic::include_proto!("dstack.peer.v1");
}

/// Names a replica in its cluster, for life.
pub type NodeId = u64;

pub use error::{
    CallError, MembershipError, ProposeError, ReadError, StartError, Stopped, TransferError,
};
pub use handle::{Handle, Proposed};
pub use leadership::Leadership;
pub use machine::{Applied, Committed, Machine, MachineError, Write};
pub use options::{Options, SnapshotRules, Timings, parse_members};
pub use peers::{Peer, PeerService, Peers};
pub use start::{Engines, start, start_on};
pub use status::{MemberStatus, Role, Status};

/// The inside, for the simulator and the storage suite in `tests/`.
#[cfg(feature = "testing")]
pub mod testing {
    pub use crate::log_store::LogStore;
    pub use crate::machine_store::{MachineStore, Progress};
    pub use crate::seeded::seed_this_thread;
    pub use crate::snapshot::SnapshotData;
    pub use crate::start::config;
    pub use crate::types::*;
}
