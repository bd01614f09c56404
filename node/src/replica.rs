//! One replica, from its folder to its socket: everything is made here, in order, and ended here, in reverse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dstack_raft::{Handle, Leadership, Options, StartError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::clouds::Clouds;
use crate::cluster::Cluster;
use crate::config_file::{Clerk, ConfigFile};
use crate::context::Context;
use crate::credentials::{self, DirLock};
use crate::door::Door;
use crate::failure::{Failure, Kind};
use crate::first_start;
use crate::hands::{Deps, Hands};
use crate::hash_watch;
use crate::http;
use crate::limits;
use crate::listen::{self, Closing};
use crate::machine::{ControlPlane, Hashes};
use crate::membership::Membership;
use crate::reconcile::Reconciler;
use crate::sealing::Sealer;
use crate::settings::{Settings, Token};
use crate::view::{Board, Views};
use crate::watchdog::{self, Pulse};

/// Clients learn within this time that they should come back on another connection.
const LEAVING: Duration = Duration::from_millis(500);

/// A running replica.
pub struct Replica {
    pub addr: SocketAddr,
    raft: Handle,
    views: Views,
    sealer: Sealer,
    hands: Arc<Hands>,
    pulse: Pulse,
    closing: Closing,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    reconciling: JoinHandle<()>,
    founding: JoinHandle<Result<Option<Zeroizing<String>>, Failure>>,
    diverged: JoinHandle<String>,
    _lock: DirLock,
}

/// Why a running replica ends.
pub enum End {
    /// It was asked to.
    Asked,
    /// It cannot go on.
    Broken(Failure),
}

fn watched(raft: &Handle) -> Result<Pulse, Failure> {
    let pulse = Pulse::default();
    let started = watchdog::watch(pulse.clone(), raft.clone());
    started.map_err(|error| {
        Failure::new(Kind::Fatal, "the watchdog could not be started").source(error)
    })?;
    Ok(pulse)
}

impl Replica {
    /// Starts everything. The socket is bound first, so that requests wait instead of being refused.
    pub async fn start(settings: Settings) -> Result<Replica, Failure> {
        let listener = listen::bind(&settings.host, settings.port)?;
        let addr = local_addr(&listener)?;
        let lock = credentials::open_dir(&settings.dir)?;
        let (identity, sealer) = credentials::load(&settings)?;
        let board = Board::default();
        let hashes = Hashes::default();
        let machine = ControlPlane::new(board.clone(), hashes.clone());
        let raft = dstack_raft::start(options(&settings, identity), machine)
            .await
            .map_err(|error| start_failure(&settings, error))?;
        let views = Views::start(board, raft.clone());
        let door = Door::open(raft.clone(), views.clone());
        let config = ConfigFile::read(&settings.dir)?;
        let clouds = Clouds::new(sealer.clone());
        let deps = Deps {
            raft: raft.clone(),
            door: door.clone(),
            views: views.clone(),
            sealer: sealer.clone(),
            clouds: clouds.clone(),
            data: settings.dir.join("data"),
            events_kept: settings.events_kept,
            agent_binary: settings.agent_binary.clone(),
        };
        let hands = Hands::start(deps).map_err(folders_failure)?;
        let pulse = watched(&raft)?;
        let context = Context {
            door: door.clone(),
            views: views.clone(),
            sealer: sealer.clone(),
            logs: hands.logs(),
            bulk: hands.bulk(),
            clouds,
            cluster: Cluster::open(raft.clone()),
            membership: Membership::open(raft.clone()),
            settings: Arc::new(settings.http.clone()),
        };
        if let Some(file) = config {
            carry_out(file, &context);
        }
        let reconciler = reconciler(&raft, &context, &hands, &pulse);
        let router = http::router(context);
        let (closing, stop) = (Closing::default(), CancellationToken::new());
        tokio::spawn(readdress(raft.clone(), settings.peer_address()));
        Ok(Replica {
            addr,
            serving: tokio::spawn(listen::serve(listener, router, closing.clone())),
            reconciling: tokio::spawn(reconciler.run(stop.clone())),
            founding: tokio::spawn(found(
                raft.clone(),
                door,
                views.clone(),
                sealer.clone(),
                settings.token,
            )),
            diverged: tokio::spawn(hash_watch::watch(raft.clone(), hashes)),
            raft,
            views,
            sealer,
            hands,
            pulse,
            closing,
            stop,
            _lock: lock,
        })
    }

    /// Runs until `asked` resolves or the replica cannot go on. `founded` is called with the admin's token
    /// if this replica founded the cluster.
    pub async fn run(
        &mut self,
        asked: impl Future<Output = ()>,
        mut founded: impl FnMut(&str),
    ) -> End {
        let fatal = self.raft.fatal();
        tokio::pin!(fatal, asked);
        let mut founding = true;
        loop {
            tokio::select! {
                () = &mut asked => return End::Asked,
                reason = &mut fatal => {
                    return End::Broken(Failure::new(Kind::Fatal, "this replica cannot go on").source(reason)
                        .hint("start it again; if it ends again, look at the disk and at the log above"));
                }
                Ok(reason) = &mut self.diverged => {
                    return End::Broken(Failure::new(Kind::Diverged, reason));
                }
                outcome = &mut self.founding, if founding => match outcome {
                    Ok(Ok(token)) => {
                        founding = false;
                        if let Some(token) = token {
                            founded(&token);
                        }
                    }
                    Ok(Err(failure)) => return End::Broken(failure),
                    Err(error) => {
                        return End::Broken(Failure::new(Kind::Fatal, "the first start broke off").source(error));
                    }
                },
            }
        }
    }

    /// The admin's token, as far as this replica can open it.
    pub fn admin_token(&self) -> Option<Zeroizing<String>> {
        let view = self.views.now();
        let admin = view.state.user_by_name(first_start::ADMIN)?;
        self.sealer.open(&admin.token).ok().map(Zeroizing::new)
    }

    /// Ends in order: clients are told to come back elsewhere, leadership moves, open requests finish,
    /// then the core stops.
    pub async fn end(self) {
        self.closing.leaving.cancel();
        let left = tokio::time::Instant::now() + LEAVING;
        self.hand_over().await;
        self.stop.cancel();
        tokio::time::sleep_until(left).await;
        self.closing.closed.cancel();
        let _ = self.serving.await;
        tracing::debug!("open requests have finished");
        let _ = tokio::time::timeout(limits::TRANSFER, self.reconciling).await;
        self.hands.shutdown().await;
        self.pulse.retire();
        self.diverged.abort();
        self.founding.abort();
        tracing::debug!("the loop and the hands have stopped");
        self.raft.shutdown().await;
        tracing::debug!("the core has stopped");
    }

    async fn hand_over(&self) {
        let leadership = self.raft.leadership().borrow().clone();
        if leadership.leader != Some(leadership.me) {
            return;
        }
        match tokio::time::timeout(limits::TRANSFER, self.raft.transfer_leadership()).await {
            Ok(Ok(leader)) => tracing::info!(leader, "leadership was handed over"),
            Ok(Err(error)) => tracing::info!(%error, "leadership was not handed over"),
            Err(_) => tracing::warn!("leadership could not be handed over in time"),
        }
    }
}

fn reconciler(raft: &Handle, context: &Context, hands: &Arc<Hands>, pulse: &Pulse) -> Reconciler {
    Reconciler {
        raft: raft.clone(),
        door: context.door.clone(),
        views: context.views.clone(),
        hands: hands.clone(),
        pulse: pulse.clone(),
    }
}

/// In the background: a cloud may take its time to answer.
fn carry_out(file: ConfigFile, context: &Context) {
    let clerk = Clerk {
        door: context.door.clone(),
        views: context.views.clone(),
        sealer: context.sealer.clone(),
        clouds: context.clouds.clone(),
    };
    tokio::spawn(async move { clerk.carry_out(file).await });
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| {
        Failure::new(Kind::Address, "the API's address is not known").source(error)
    })
}

fn options(settings: &Settings, identity: dstack_raft::tls::Identity) -> Options {
    let mut options = Options::new(
        settings.dir.join("data"),
        &settings.node_name,
        settings.peer_listen,
        identity,
    );
    if let Some(advertise) = &settings.peer_advertise {
        options.advertise = advertise.clone();
    }
    options.initial = settings.initial.clone();
    options.join = settings.join.clone();
    options.dial = settings.dial.iter().cloned().collect();
    options
}

fn folders_failure(error: std::io::Error) -> Failure {
    Failure::new(
        Kind::Data,
        "the folders for logs and archives cannot be used",
    )
    .source(error)
}

fn start_failure(settings: &Settings, error: StartError) -> Failure {
    let unusable = || {
        let dir = settings.dir.display();
        Failure::new(Kind::Data, format!("the data in {dir} cannot be used"))
    };
    let error = match error {
        StartError::Storage(cause) => return unusable().source(cause),
        error => error,
    };
    let failure = match &error {
        StartError::Options(_) | StartError::Formation(_) => Failure::new(
            Kind::Usage,
            "this replica cannot take its place in the cluster",
        ),
        StartError::Listen { .. } => {
            Failure::new(Kind::Address, "the other replicas could not reach this one")
                .hint("choose another address with --peer-listen, or stop the program that uses it")
        }
        StartError::Tls(_) => {
            Failure::new(Kind::Credentials, "this replica cannot prove who it is")
                .hint("make new certificates with `dstack-server init-ca`")
        }
        StartError::Storage(_) | StartError::State(_) | StartError::File { .. } => unusable(),
        StartError::Stopped(_) => {
            Failure::new(Kind::Fatal, "this replica stopped while it started")
        }
    };
    failure.source(error)
}

/// A single voter that was started without an address for its peers can be given one at a later start, and
/// then it can grow.
async fn readdress(raft: Handle, addr: Option<String>) {
    let Some(addr) = addr else { return };
    let mut leadership = raft.leadership();
    let leads = |now: &Leadership| now.established && now.leader == Some(now.me);
    if leadership.wait_for(leads).await.is_err() {
        return;
    }
    let Ok(status) = raft.status() else { return };
    let [alone] = &status.members[..] else { return };
    if alone.addr == addr {
        return;
    }
    match raft.readdress(&addr).await {
        Ok(()) => tracing::info!(
            addr,
            "peers reach this replica at another address from now on"
        ),
        Err(error) => tracing::warn!(%error, addr, "the address for peers was not changed"),
    }
}

async fn found(
    raft: Handle,
    door: Door,
    views: Views,
    sealer: Sealer,
    token: Option<Token>,
) -> Result<Option<Zeroizing<String>>, Failure> {
    first_start::found(&raft, &door, &views, &sealer, token)
        .await
        .map_err(|error| {
            Failure::new(Kind::Fatal, "the cluster could not be founded").source(error)
        })
}
