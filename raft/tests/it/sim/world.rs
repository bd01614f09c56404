//! Three replicas, some clients, and what befalls them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dstack_raft::SnapshotRules;
use dstack_raft::echo::Echo;
use dstack_raft::testing::{LogStore, MachineStore, Member, Payload, Raft};
use dstack_storage::twin::{Disk, SyncMode, TwinLog, TwinState};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::{Ledger, Shared, Watched};
use super::net::Net;

const NODES: u64 = 3;
const CLIENTS: u64 = 2;
const BLOWS: u32 = 10;
/// How long after the last blow the cluster may take to be whole again, in simulated time.
const HEALING: Duration = Duration::from_secs(30);

struct Node {
    raft: Raft,
    echo: Echo,
    log: Arc<TwinLog>,
    syncer: tokio::task::JoinHandle<()>,
}

pub struct World {
    seed: u64,
    mode: SyncMode,
    random: ChaCha8Rng,
    net: Net,
    ledger: Shared,
    disks: BTreeMap<u64, Disk>,
    nodes: BTreeMap<u64, Node>,
    stop: Arc<AtomicBool>,
    serial: Arc<AtomicU64>,
    acknowledged: Arc<AtomicU64>,
}

fn config() -> Config {
    // The settings of a replica, except that snapshots come often enough to matter here.
    let rules = SnapshotRules {
        every: 40,
        keep: 5,
        lag: 50,
        purge_batch: 1,
    };
    Config {
        heartbeat_interval: 100,
        election_timeout_min: 300,
        election_timeout_max: 500,
        install_snapshot_timeout: 10_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(rules.every),
        max_in_snapshot_log_to_keep: rules.keep,
        replication_lag_threshold: rules.lag,
        purge_batch_size: rules.purge_batch,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        quorum_loss_probe_interval: Some(1000),
        ..Config::default()
    }
}

impl World {
    pub fn new(seed: u64, mode: SyncMode) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        World {
            seed,
            mode,
            random: ChaCha8Rng::seed_from_u64(seed),
            net: Net::new(seed, ledger.clone()),
            ledger,
            disks: (1..=NODES).map(|id| (id, Disk::new())).collect(),
            nodes: BTreeMap::new(),
            stop: Arc::default(),
            serial: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    /// One history from birth to the last check.
    pub async fn live(mut self) {
        for id in 1..=NODES {
            self.start(id).await;
        }
        let voters: BTreeMap<u64, Member> = (1..=NODES).map(|id| (id, Member::default())).collect();
        self.nodes[&1].raft.initialize(voters).await.unwrap();
        let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(self.client(n))).collect();
        for _ in 0..BLOWS {
            let pause = self.random.random_range(100..900);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.check();
            self.strike().await;
        }
        self.heal().await;
        self.whole_again().await;
        self.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        self.same_everywhere().await;
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.syncer.abort();
            node.raft.shutdown().await.unwrap();
        }
    }

    async fn start(&mut self, id: u64) {
        let disk = &self.disks[&id];
        let log = Arc::new(TwinLog::open(disk, self.mode).unwrap());
        let state = Arc::new(TwinState::open(disk).unwrap());
        let echo = Echo::new();
        let machine = Watched {
            echo: echo.clone(),
            ledger: self.ledger.clone(),
        };
        let store = MachineStore::open(state, Box::new(machine)).unwrap();
        let syncer = tokio::spawn(sync_now_and_then(log.clone(), self.random.random()));
        let config = Arc::new(config().validate().unwrap());
        let raft = Raft::new(
            id,
            config,
            self.net.from(id),
            LogStore::new(log.clone()),
            store,
        )
        .await;
        let raft = raft.unwrap_or_else(|e| panic!("replica {id} does not come up again: {e}"));
        self.net.weather.lock().nodes.insert(id, raft.clone());
        self.nodes.insert(
            id,
            Node {
                raft,
                echo,
                log,
                syncer,
            },
        );
    }

    /// The power goes at `id`, or only its process.
    async fn crash(&mut self, id: u64, power: bool) {
        let Some(node) = self.nodes.remove(&id) else {
            return;
        };
        self.net.weather.lock().nodes.remove(&id);
        node.syncer.abort();
        if power {
            self.disks[&id].crash(self.random.random());
        } else {
            self.disks[&id].kill();
        }
        // Its handles are dead by now: whoever waits for a sync hears that, and whatever the core does
        // on its way out reaches no disk.
        node.log.complete();
        let ended = tokio::time::timeout(HEALING, node.raft.shutdown()).await;
        ended
            .expect("a replica whose disk is gone does not end")
            .unwrap();
    }

    async fn strike(&mut self) {
        let id = self.random.random_range(1..=NODES);
        match self.random.random_range(0..100) {
            0..=24 => self.crash(id, true).await,
            25..=34 => self.crash(id, false).await,
            35..=39 => {
                for id in 1..=NODES {
                    self.crash(id, true).await;
                }
            }
            40..=54 => self.partition(id),
            55..=64 => self.cut_one_way(id),
            65..=72 => self.net.weather.lock().cut.clear(),
            73..=80 => {
                let mut weather = self.net.weather.lock();
                weather.loss = [0, 20, 200][id as usize - 1];
                weather.slowest = Duration::from_millis([5, 40, 120][id as usize - 1]);
            }
            81..=88 => {
                if let Some(node) = self.nodes.get(&id) {
                    node.raft.trigger().snapshot().await.unwrap();
                }
            }
            _ => {
                for node in self.nodes.values() {
                    node.raft.trigger().transfer_leader(id).await.unwrap();
                }
            }
        }
        // Who is down comes back sooner or later.
        for id in 1..=NODES {
            if !self.nodes.contains_key(&id) && self.random.random_range(0..100) < 55 {
                self.start(id).await;
            }
        }
    }

    /// `alone` on one side, the others on the other.
    fn partition(&mut self, alone: u64) {
        let mut weather = self.net.weather.lock();
        weather.cut.clear();
        for other in (1..=NODES).filter(|other| *other != alone) {
            weather.cut.extend([(alone, other), (other, alone)]);
        }
    }

    /// Nobody hears `mute`, though it hears all; or one of the others does.
    fn cut_one_way(&mut self, mute: u64) {
        let all = self.random.random_range(0..2) == 0;
        let mut others: BTreeSet<u64> = (1..=NODES).filter(|other| *other != mute).collect();
        if all {
            others.pop_first();
        }
        self.net
            .weather
            .lock()
            .cut
            .extend(others.into_iter().map(|other| (mute, other)));
    }

    async fn heal(&mut self) {
        {
            let mut weather = self.net.weather.lock();
            weather.cut.clear();
            weather.loss = 0;
            weather.slowest = Duration::from_millis(5);
        }
        for id in 1..=NODES {
            if !self.nodes.contains_key(&id) {
                self.start(id).await;
            }
        }
    }

    /// What can be checked of living replicas at any moment.
    fn check(&self) {
        for (id, node) in &self.nodes {
            let metrics = node.raft.metrics().borrow_watched().clone();
            assert!(
                metrics.running_state.is_ok(),
                "replica {id} stopped: {:?}",
                metrics.running_state
            );
            if metrics.state == ServerState::Leader {
                self.ledger.lock().leads(metrics.current_term, *id);
            }
        }
    }

    /// Liveness: after healing, clients are served again.
    async fn whole_again(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        let served = async {
            while self.acknowledged.load(Ordering::Relaxed) < before + 10 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.check();
            }
        };
        let ok = tokio::time::timeout(HEALING, served).await.is_ok();
        assert!(
            ok,
            "nobody was served for {HEALING:?} after everything had healed (seed {})",
            self.seed
        );
    }

    /// All replicas come to the same state, and every acknowledged write is in it.
    async fn same_everywhere(&self) {
        let last = self
            .ledger
            .lock()
            .acknowledged
            .last_key_value()
            .map_or(0, |(index, _)| *index);
        let level = async {
            loop {
                let at: Vec<_> = self.nodes.values().map(|node| node.echo.memory()).collect();
                if at
                    .iter()
                    .all(|m| m.applied >= last && m.applied == at[0].applied)
                {
                    return at;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let memories = tokio::time::timeout(HEALING, level)
            .await
            .expect("replicas do not draw level");
        for memory in &memories {
            assert_eq!(
                (memory.hash, &memory.map),
                (memories[0].hash, &memories[0].map)
            );
        }
        let ledger = self.ledger.lock();
        assert!(
            !ledger.acknowledged.is_empty(),
            "nothing was acknowledged: the history shows nothing"
        );
        for (index, payload) in &ledger.acknowledged {
            let key = payload.slice(..payload.len() - 2);
            assert!(
                memories[0].map.contains_key(&key),
                "the write acknowledged at {index} is lost"
            );
        }
    }

    /// Writes until it is told to stop, each write once, at whatever replica comes up.
    fn client(&self, n: u64) -> impl Future<Output = ()> + Send + 'static {
        let (net, ledger, stop) = (self.net.clone(), self.ledger.clone(), self.stop.clone());
        let (serial, acknowledged) = (self.serial.clone(), self.acknowledged.clone());
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ (n + 1) << 32);
        async move {
            while !stop.load(Ordering::Relaxed) {
                let pause = random.random_range(10..80);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let id = random.random_range(1..=NODES);
                let raft = net.weather.lock().nodes.get(&id).cloned();
                let Some(raft) = raft else { continue };
                let payload = Bytes::from(format!("k{}=v", serial.fetch_add(1, Ordering::Relaxed)));
                let write = raft.client_write(Payload(payload.clone()));
                // Whatever else comes back, the write may be there or not.
                if let Ok(Ok(done)) = tokio::time::timeout(Duration::from_secs(3), write).await {
                    assert_eq!(
                        done.data,
                        format!(
                            "k{}=v@{}",
                            &String::from_utf8_lossy(&payload[1..payload.len() - 2]),
                            done.log_id.index
                        )
                    );
                    ledger.lock().acknowledges(done.log_id.index, &payload);
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// The group-commit thread of the simulation: syncs after a while, and calls back then.
async fn sync_now_and_then(log: Arc<TwinLog>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    loop {
        let slow = random.random_range(0..20) == 0;
        let pause = random.random_range(1_000..if slow { 60_000 } else { 10_000 });
        tokio::time::sleep(Duration::from_micros(pause)).await;
        log.complete();
    }
}
