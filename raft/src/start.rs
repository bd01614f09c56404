//! Brings a replica up, in the order in which its parts need each other: listener, identity, stores,
//! core, membership. Bringing it down is [`crate::Handle::shutdown`].

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::{LogEngine, StateEngine};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tonic::transport::Server;

use crate::context::{Context, Running};
use crate::error::{StartError, Stopped, chain};
use crate::formation::{self, Formed};
use crate::handle::{Handle, Inner, Listener};
use crate::leadership::{self, Leadership};
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::machine_store::{MachineStore, Progress};
use crate::met::{self, Met};
use crate::network::Network;
use crate::options::Options;
use crate::transport::dial::Dialer;
use crate::transport::{listener, service};
use crate::types::Raft;

const MEET: Duration = Duration::from_secs(2);
/// Written once this replica has a membership in its log.
const FORMED: &str = "FORMED";

/// The two engines of a replica.
pub struct Engines {
    pub log: Arc<dyn LogEngine>,
    pub state: Arc<dyn StateEngine>,
}

/// Starts a replica on its data directory. Returns once it is a member of a cluster; forming one
/// takes as long as the others take to come. Dropping the future gives up.
pub async fn start(options: Options, machine: impl Machine) -> Result<Handle, StartError> {
    options.check()?;
    let dir = options.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || open(&dir)).await;
    let engines = opened.map_err(|e| StartError::State(io::Error::other(e)))??;
    start_on(options, engines, Box::new(machine)).await
}

fn open(data_dir: &Path) -> Result<Engines, StartError> {
    let shared = Arc::new(Shared::new()?);
    let log = RocksLog::open(data_dir, &shared)?;
    let state = RocksState::open(data_dir, shared)?;
    Ok(Engines {
        log: Arc::new(log),
        state: Arc::new(state),
    })
}

/// The same on engines that are open already.
pub async fn start_on(
    options: Options,
    engines: Engines,
    machine: Box<dyn Machine>,
) -> Result<Handle, StartError> {
    options.check()?;
    std::fs::create_dir_all(&options.data_dir).map_err(|source| StartError::File {
        path: options.data_dir.clone(),
        source,
    })?;
    let ctx = Arc::new(Context::new(
        options.node_name.clone(),
        options.tls.subject()?.cluster,
        formation::initial_lines(&options),
        Dialer::new(options.tls.client_config()?, options.dial.clone()),
        Met::load(&options.data_dir)?,
    ));
    let listening = listen(&ctx, &options).await?;
    let formed = formation::form(&ctx, &options).await?;
    ctx.set_identity(formed.identity.clone());
    let (raft, progress) = core(&ctx, &options, &engines, machine).await?;
    ctx.set_running(Some(Running {
        raft: raft.clone(),
        state: engines.state.clone(),
        progress: progress.clone(),
    }));
    initialise(&ctx, &raft, formed, &options).await?;
    Ok(handle(ctx, &options, raft, progress, listening.keep()))
}

/// Stops listening when a start is given up.
struct Listening(Option<Listener>);

impl Listening {
    fn keep(mut self) -> Option<Listener> {
        self.0.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(listener) = self.0.take() {
            listener.task.abort();
        }
    }
}

async fn listen(ctx: &Arc<Context>, options: &Options) -> Result<Listening, StartError> {
    let tls = options.tls.server_config()?;
    let failed = |source| StartError::Listen {
        addr: options.listen,
        source,
    };
    let tcp = TcpListener::bind(options.listen).await.map_err(failed)?;
    let incoming = listener::accept(tcp, tls);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(4)))
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .add_service(service::server(ctx.clone()));
    let task = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        if let Err(e) = server
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
        {
            tracing::error!(error = %chain(&e), "the peer listener ended");
        }
    });
    Ok(Listening(Some(Listener { stop, task })))
}

/// openraft's settings; why each, in `ARCHITECTURE.md`.
pub fn config(options: &Options) -> Config {
    let t = options.timings;
    Config {
        cluster_name: "dstack".to_owned(),
        heartbeat_interval: t.heartbeat,
        election_timeout_min: t.election_min,
        election_timeout_max: t.election_max,
        install_snapshot_timeout: 10 * 60 * 1000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshots.every),
        max_in_snapshot_log_to_keep: options.snapshots.keep,
        replication_lag_threshold: options.snapshots.lag,
        purge_batch_size: options.snapshots.purge_batch,
        enable_pre_vote: Some(true),
        // S9: a restarted leader stands again instead of going on from what may be the past.
        enable_leader_restore: Some(false),
        // With five voters a bridge node could otherwise keep a connected majority from electing.
        quorum_loss_probe_interval: Some(2 * t.election_max),
        ..Config::default()
    }
}

async fn core(
    ctx: &Arc<Context>,
    options: &Options,
    engines: &Engines,
    machine: Box<dyn Machine>,
) -> Result<(Raft, Progress), StartError> {
    let config = config(options)
        .validate()
        .map_err(|e| StartError::Options(e.to_string()))?;
    let state = engines.state.clone();
    let store = tokio::task::spawn_blocking(move || MachineStore::open(state, machine))
        .await
        .map_err(|e| StartError::State(io::Error::other(e)))?
        .map_err(StartError::State)?;
    let progress = store.progress();
    let log = LogStore::new(engines.log.clone());
    let raft = Raft::new(
        ctx.me(),
        Arc::new(config),
        Network::new(ctx.clone()),
        log,
        store,
    )
    .await;
    let raft = raft.map_err(|e| StartError::Stopped(Stopped { reason: chain(&e) }))?;
    Ok((raft, progress))
}

async fn initialise(
    ctx: &Context,
    raft: &Raft,
    formed: Formed,
    options: &Options,
) -> Result<(), StartError> {
    let stopped = |e: &dyn std::error::Error| StartError::Stopped(Stopped { reason: chain(e) });
    let marker = options.data_dir.join(FORMED);
    let initialised = raft.is_initialized().await.map_err(|e| stopped(&e))?;
    if !initialised && marker.exists() {
        return Err(StartError::Formation(format!(
            "replica {} was a member of cluster {}, but its log is empty. Under its old id it could break promises it made. Restore its data, or remove it from the cluster and add it anew",
            ctx.name, formed.identity.cluster_id
        )));
    }
    if let Some(voters) = formed.initialise.filter(|_| !initialised) {
        match raft.initialize(voters).await {
            // Somebody was quicker: then there is a membership, which is all that is wanted.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(e) => return Err(stopped(&e)),
        }
    }
    Ok(())
}

fn handle(
    ctx: Arc<Context>,
    options: &Options,
    raft: Raft,
    progress: Progress,
    listener: Option<Listener>,
) -> Handle {
    let (lead_tx, leadership) = watch::channel(Leadership {
        me: ctx.me(),
        ..Leadership::default()
    });
    let (recovered_tx, recovered) = watch::channel(false);
    let ended = watch::Sender::new(None);
    let lease = Duration::from_millis(2 * options.timings.election_max);
    let tasks = vec![
        tokio::spawn(leadership::watch(
            raft.clone(),
            progress.clone(),
            lead_tx,
            lease,
        )),
        tokio::spawn(watch_end(raft.clone(), ended.clone())),
        tokio::spawn(recover(raft.clone(), recovered_tx)),
        tokio::spawn(meet_members(
            ctx.clone(),
            raft,
            options.data_dir.join(FORMED),
        )),
    ];
    Handle {
        inner: Arc::new(Inner {
            running: parking_lot::RwLock::new(ctx.running()),
            ctx,
            applied: progress.applied(),
            broken: progress.broken(),
            leadership,
            recovered,
            admission: Semaphore::new(options.max_in_flight),
            ended,
            tasks: parking_lot::Mutex::new(tasks),
            listener: parking_lot::Mutex::new(listener),
            election_max: Duration::from_millis(options.timings.election_max),
        }),
    }
}

/// Says why the core ended, if it did by itself.
async fn watch_end(raft: Raft, ended: watch::Sender<Option<String>>) {
    let mut metrics = raft.metrics();
    loop {
        if let Err(e) = &metrics.borrow_watched().running_state {
            ended.send_replace(Some(chain(e)));
            return;
        }
        if metrics.changed().await.is_err() {
            ended.send_replace(Some("the consensus core is gone".to_owned()));
            return;
        }
    }
}

async fn recover(raft: Raft, recovered: watch::Sender<bool>) {
    // Without a limit it fails only when the core has ended.
    if raft.wait_for_recovery(None).await.is_ok() {
        recovered.send_replace(true);
    }
}

/// Writes down which members were met with an identity, and that this replica has a membership.
async fn meet_members(ctx: Arc<Context>, raft: Raft, marker: std::path::PathBuf) {
    loop {
        let membership = ctx.membership();
        if membership.log_id().is_some() && !marker.exists() {
            let written = met::write_durably(&marker, b"");
            warn_on(written, "cannot write down that the cluster is formed");
        }
        let nodes: Vec<_> = membership
            .membership()
            .nodes()
            .map(|(id, m)| (*id, m.clone()))
            .collect();
        for (id, member) in nodes {
            if id == ctx.me() || ctx.met.lock().has(id) {
                continue;
            }
            let answer = ctx.hello(&mut ctx.caller(id, &member), MEET).await;
            let Some(identity) = ctx.identity() else {
                continue;
            };
            if answer
                .is_ok_and(|reply| reply.cluster_id == identity.cluster_id && reply.node_id == id)
            {
                let added = ctx.met.lock().add(id);
                warn_on(added, "cannot write down which members were met");
            }
        }
        let mut metrics = raft.metrics();
        // A new membership is looked at soon, an unreachable member now and then.
        let _ = tokio::time::timeout(MEET, metrics.changed()).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn warn_on(result: io::Result<()>, what: &str) {
    if let Err(e) = result {
        tracing::warn!(error = %e, "{what}");
    }
}
