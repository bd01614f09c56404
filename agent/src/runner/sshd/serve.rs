//! Accepting clients.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::MethodKind;
use russh::server::Config;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::activity::Presence;
use super::connection::{Connection, House};
use super::incoming::WINDOW;
use super::keys::{self, Authorized};

/// Connections at a time, known or not.
const CONNECTIONS: usize = 128;
/// A client that is silent this long is asked, and given up on after four questions.
const ALIVE: Duration = Duration::from_secs(30);
const QUESTIONS: usize = 4;
/// Between a connection and a key that opens it.
const LOGIN: Duration = Duration::from_secs(30);

pub fn config(folder: &Path) -> io::Result<Arc<Config>> {
    Ok(Arc::new(Config {
        methods: (&[MethodKind::PublicKey][..]).into(),
        keys: vec![keys::host_key(folder)?],
        auth_rejection_time: Duration::from_millis(300),
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 20, // a client may offer every key its agent has
        inactivity_timeout: None,
        keepalive_interval: Some(ALIVE),
        keepalive_max: QUESTIONS,
        window_size: WINDOW,
        nodelay: true,
        ..Config::default()
    }))
}

/// Serves until dropped.
pub async fn serve(
    listeners: Vec<TcpListener>,
    config: Arc<Config>,
    house: Arc<House>,
    presence: Arc<Presence>,
) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.spawn(accept(
            listener,
            config.clone(),
            house.clone(),
            presence.clone(),
        ));
    }
    while accepting.join_next().await.is_some() {}
    Ok(())
}

async fn accept(
    listener: tokio::net::TcpListener,
    config: Arc<Config>,
    house: Arc<House>,
    presence: Arc<Presence>,
) {
    let mut sessions = JoinSet::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ALIVE / 100).await; // no descriptors left, for one
            continue;
        };
        while sessions.try_join_next().is_some() {}
        if presence.count() >= CONNECTIONS {
            continue;
        }
        let local = stream.local_addr().map_or(0, |address| address.port());
        let client = format!("{} {} {} {local}", peer.ip(), peer.port(), peer.ip());
        let connection = Connection::new(house.clone(), client, presence.enter());
        let config = config.clone();
        sessions.spawn(async move {
            let _ = stream.set_nodelay(true);
            let begun = russh::server::run_stream(config, stream, connection);
            if let Ok(Ok(session)) = tokio::time::timeout(LOGIN, begun).await {
                let _ = session.await;
            }
        });
    }
}

/// For clients that come when the job is over: they find its output, and nothing else.
pub struct Late {
    pub port: u16,
    /// The job's SSH folder, for the same host key.
    pub keys: PathBuf,
    pub authorized_keys: Vec<String>,
    pub spool: PathBuf,
}

/// Serves latecomers until dropped. The port may be taken meanwhile: then there is nobody to serve.
pub async fn late(late: Late) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", late.port))?;
    let (_, ended) = watch::channel(true);
    let house = House {
        authorized: Authorized::parse(&late.authorized_keys),
        plan: None,
        spool: late.spool,
        ended,
    };
    serve(
        vec![listener],
        config(&late.keys)?,
        Arc::new(house),
        Arc::default(),
    )
    .await
}
