//! Replicas in one process, for tests: any of them can be cut off.

use crate::mesh::Mesh;
use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::{CallError, NodeId, PeerService};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

type Services = BTreeMap<(NodeId, &'static str), Arc<dyn PeerService>>;

#[derive(Default)]
pub struct Wires {
    services: Mutex<Services>,
    cut: Mutex<BTreeSet<NodeId>>,
}

impl Wires {
    pub fn register(&self, id: NodeId, service: &'static str, answers: Arc<dyn PeerService>) {
        self.services.lock().insert((id, service), answers);
    }

    pub fn cut(&self, id: NodeId) {
        self.cut.lock().insert(id);
    }

    pub fn mend(&self, id: NodeId) {
        self.cut.lock().remove(&id);
    }
}

/// One replica's end of the wires.
pub struct FakeMesh {
    pub me: NodeId,
    pub all: Vec<NodeId>,
    pub wires: Arc<Wires>,
}

#[async_trait]
impl Mesh for FakeMesh {
    fn others(&self) -> Vec<NodeId> {
        self.all
            .iter()
            .copied()
            .filter(|id| *id != self.me)
            .collect()
    }

    async fn call(
        &self,
        to: NodeId,
        service: &'static str,
        body: Bytes,
        _limit: Duration,
    ) -> Result<Bytes, CallError> {
        let cut = [to, self.me]
            .iter()
            .any(|id| self.wires.cut.lock().contains(id));
        let answers = self
            .wires
            .services
            .lock()
            .get(&(to, service))
            .cloned()
            .filter(|_| !cut);
        let answers = answers.ok_or_else(|| CallError::Unreachable("cut off".into()))?;
        answers
            .call(self.me, body)
            .await
            .map_err(CallError::Refused)
    }
}
