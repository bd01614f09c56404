//! Replicas of the echo machine on loopback addresses of their own, under one authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use dstack_raft::echo::Echo;
use dstack_raft::tls::Ca;
use dstack_raft::{Handle, NodeId, Options, ProposeError, Proposed, SnapshotRules, StartError};
use futures::future::join_all;
use tempfile::TempDir;

/// How long a condition may take to come true before a test gives up on it. Not a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

static NEXT: AtomicU8 = AtomicU8::new(1);

/// An address that no other test process uses: the process id picks the network.
pub fn address() -> SocketAddr {
    let pid = std::process::id();
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from((
        [127, (10 + pid % 200) as u8, (pid / 200 % 250) as u8, host],
        7101,
    ))
}

pub struct Replica {
    pub handle: Handle,
    pub echo: Echo,
}

pub struct Lab {
    pub dir: TempDir,
    pub ca: Ca,
    pub members: Vec<(String, SocketAddr)>,
    pub snapshots: SnapshotRules,
}

impl Lab {
    pub fn new(names: &[&str]) -> Self {
        Lab {
            dir: tempfile::tempdir().unwrap(),
            ca: Ca::create("lab").unwrap(),
            members: names
                .iter()
                .map(|name| ((*name).to_owned(), address()))
                .collect(),
            snapshots: SnapshotRules::default(),
        }
    }

    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A single voter, on an address of its own unless the lab knows one for the name.
    pub fn alone(&self, name: &str) -> Options {
        let known = self
            .members
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, addr)| *addr);
        let identity = self.ca.issue(name, &[]).unwrap();
        let mut options = Options::new(
            self.data_dir(name),
            name,
            known.unwrap_or_else(address),
            identity,
        );
        options.snapshots = self.snapshots;
        options
    }

    /// A member of the initial cluster.
    pub fn options(&self, name: &str) -> Options {
        let mut options = self.alone(name);
        options.initial = self
            .members
            .iter()
            .map(|(n, addr)| (n.clone(), addr.to_string()))
            .collect();
        options
    }

    /// The initial cluster, all at once.
    pub async fn start_all(&self) -> Vec<Replica> {
        let started = self
            .members
            .iter()
            .map(|(name, _)| start(self.options(name)));
        join_all(started)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect()
    }
}

/// Starts a replica; one that stopped in this process a moment ago may still hold its files.
pub async fn start(options: Options) -> Result<Replica, StartError> {
    let began = Instant::now();
    loop {
        let echo = Echo::new();
        match dstack_raft::start(options.clone(), echo.clone()).await {
            Ok(handle) => return Ok(Replica { handle, echo }),
            Err(StartError::Storage(_) | StartError::Listen { .. })
                if began.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Waits until a replica says of itself that it may act.
pub async fn leader(replicas: &[Replica]) -> usize {
    until("a leader is established", || async {
        replicas
            .iter()
            .position(|r| r.handle.leadership().borrow().established)
    })
    .await
}

/// Asks again until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Proposes wherever the leader is, until it is done. What is proposed here may be done twice.
pub async fn put(replicas: &[Replica], text: &str) -> Proposed {
    until("a proposal is accepted", || async {
        for replica in replicas {
            match replica.handle.propose(text.to_owned().into(), None).await {
                Ok(done) => return Some(done),
                Err(
                    ProposeError::NotLeader { .. }
                    | ProposeError::Unknown
                    | ProposeError::Stopped(_),
                ) => {}
                Err(e) => panic!("{e}"),
            }
        }
        None
    })
    .await
}

/// Waits until all replicas have applied what the first has, and checks that they are the same.
pub async fn agree(replicas: &[Replica], index: u64) {
    for replica in replicas {
        assert!(
            replica.handle.wait_applied(index, PATIENCE).await,
            "replica {} lags",
            replica.handle.me()
        );
    }
    let first = until("all replicas are at one index", || async {
        let at: Vec<_> = replicas.iter().map(|r| r.echo.memory()).collect();
        at.iter()
            .all(|m| m.applied == at[0].applied)
            .then(|| at[0].clone())
    })
    .await;
    for replica in replicas {
        let memory = replica.echo.memory();
        assert_eq!(
            (memory.hash, &memory.map),
            (first.hash, &first.map),
            "replica {}",
            replica.handle.me()
        );
    }
}

pub fn ids(replicas: &[Replica]) -> Vec<NodeId> {
    replicas.iter().map(|r| r.handle.me()).collect()
}
