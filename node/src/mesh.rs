//! The other replicas, as the bulk stores and the liveness digests see them: questions and answers in bytes.
//!
//! A seam, so that these parts are tested with replicas that live in one process.

use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::{CallError, Handle, NodeId, PeerService};
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
pub trait Mesh: Send + Sync + 'static {
    /// Every replica but this one.
    fn others(&self) -> Vec<NodeId>;
    async fn call(
        &self,
        to: NodeId,
        service: &'static str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError>;

    /// How many replicas, this one included, must hold something for it to survive.
    fn majority(&self) -> usize {
        let all = self.others().len() + 1;
        all / 2 + 1
    }
}

/// The real ones, over the peer channel.
#[derive(Clone)]
pub struct PeerMesh {
    raft: Handle,
}

impl PeerMesh {
    pub fn new(raft: Handle) -> Arc<Self> {
        Arc::new(Self { raft })
    }

    pub fn register(&self, service: &'static str, answers: Arc<dyn PeerService>) {
        self.raft.peers().register(service, answers);
    }
}

#[async_trait]
impl Mesh for PeerMesh {
    fn others(&self) -> Vec<NodeId> {
        let peers = self.raft.peers();
        let me = peers.me();
        peers
            .list()
            .into_iter()
            .map(|peer| peer.id)
            .filter(|id| *id != me)
            .collect()
    }

    async fn call(
        &self,
        to: NodeId,
        service: &'static str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        self.raft.peers().call(to, service, body, limit).await
    }
}
