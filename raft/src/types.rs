//! The one place where openraft's generic types are given names. Nothing here is public.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a client proposes, opaque to consensus.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the membership remembers of a replica beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    pub addr: String,
}

#[cfg(not(feature = "testing"))]
type Runtime = openraft::TokioRuntime;
#[cfg(feature = "testing")]
type Runtime = crate::seeded::SeededRuntime;

// Standard leader ids: one leader per term, so a term alone is a fence.
openraft::declare_raft_types!(
    pub TypeConfig:
        D = Payload,
        R = Bytes,
        NodeId = u64,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

type LeaderId = <TypeConfig as openraft::RaftTypeConfig>::LeaderId;
/// Who led when an entry was proposed: with standard leader ids, just the term.
pub type Led = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub type LogId = openraft::LogId<Led>;
pub type Vote = openraft::Vote<LeaderId>;
pub type Entry = <TypeConfig as openraft::RaftTypeConfig>::Entry;
pub type Membership = openraft::Membership<u64, Member>;
pub type StoredMembership = openraft::StoredMembership<Led, u64, Member>;
pub type SnapshotMeta = openraft::SnapshotMeta<Led, u64, Member>;
pub type Snapshot = openraft::Snapshot<Led, u64, Member, crate::snapshot::SnapshotData>;
pub type Raft = openraft::Raft<TypeConfig, crate::machine_store::MachineStore>;
pub type Metrics = openraft::RaftMetrics<TypeConfig>;
pub type Fatal = openraft::errors::Fatal<TypeConfig>;
pub type RpcError = openraft::errors::RPCError<TypeConfig>;

/// A log id from its two numbers.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

/// The term in which an entry was proposed.
pub fn term_of(id: &LogId) -> u64 {
    id.committed_leader_id().term
}
