//! What the listener, the network and the handle of one replica share. It exists before the replica
//! has an identity, because the first question of a forming cluster must be answered already.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use dstack_storage::{Identity, StateEngine};
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::{Mutex, RwLock};
use tonic::transport::Channel;

use crate::NodeId;
use crate::machine_store::Progress;
use crate::met::Met;
use crate::peers::PeerService;
use crate::proto;
use crate::proto::peer_client::PeerClient;
use crate::transport::caller;
use crate::transport::dial::Dialer;
use crate::types::{Member, Raft, StoredMembership};

/// The core with what belongs to it; gone again after shutdown.
pub struct Running {
    pub raft: Raft,
    pub state: Arc<dyn StateEngine>,
    pub progress: Progress,
}

pub struct Context {
    pub name: String,
    /// The cluster in the certificates; not the random id, which is drawn when a cluster is formed.
    pub cluster_label: String,
    /// `name=addr`, sorted.
    pub initial: Vec<String>,
    pub dialer: Dialer,
    pub met: Mutex<Met>,
    pub services: RwLock<HashMap<&'static str, Arc<dyn PeerService>>>,
    identity: OnceLock<Identity>,
    running: ArcSwapOption<Running>,
    /// Connections for calls, by peer and address.
    callers: Mutex<BTreeMap<(NodeId, String), PeerClient<Channel>>>,
}

impl Context {
    pub fn new(
        name: String,
        cluster_label: String,
        initial: Vec<String>,
        dialer: Dialer,
        met: Met,
    ) -> Self {
        Context {
            name,
            cluster_label,
            initial,
            dialer,
            met: Mutex::new(met),
            services: RwLock::default(),
            identity: OnceLock::new(),
            running: ArcSwapOption::empty(),
            callers: Mutex::default(),
        }
    }

    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// An identity is for life: a second one is ignored.
    pub fn set_identity(&self, identity: Identity) {
        let _ = self.identity.set(identity);
    }

    pub fn me(&self) -> NodeId {
        self.identity().map_or(0, |identity| identity.node_id)
    }

    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.load_full()
    }

    pub fn set_running(&self, running: Option<Running>) {
        self.running.store(running.map(Arc::new));
    }

    /// The newest membership this replica has in its log, committed or not.
    pub fn membership(&self) -> Arc<StoredMembership> {
        match self.running() {
            Some(running) => running.membership(),
            None => Arc::default(),
        }
    }

    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.membership().membership().get_node(&id).cloned()
    }

    /// The connection that calls to a member share, apart from replication and heartbeats.
    pub fn caller(&self, id: NodeId, member: &Member) -> PeerClient<Channel> {
        let mut callers = self.callers.lock();
        let key = (id, member.addr.clone());
        callers
            .entry(key)
            .or_insert_with(|| self.dialer.client(&member.name, &member.addr))
            .clone()
    }

    /// Asks a peer who it is. `None`: no answer in time.
    pub async fn hello(
        &self,
        client: &mut PeerClient<Channel>,
        patience: Duration,
    ) -> Result<proto::HelloReply, tonic::Status> {
        let question = proto::HelloRequest {
            name: self.name.clone(),
            initial: self.initial.clone(),
        };
        let request = caller::stamped(self, None, question);
        match tokio::time::timeout(patience, client.hello(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded("no answer in time")),
        }
    }
}

impl Running {
    pub fn membership(&self) -> Arc<StoredMembership> {
        // Cloned at once: holding the borrow over an await would stop the core.
        self.raft
            .metrics()
            .borrow_watched()
            .membership_config
            .clone()
    }
}
