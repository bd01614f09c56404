//! The instance agent: one reconciler that owns the host's jobs, and a gRPC service on a unix
//! socket through which servers tell it what they want.
//!
//! Rules of a link, beyond the message shapes in `agent.proto`:
//! - A `Desired` with the highest epoch seen makes its link the active one; the one before is
//!   closed with a `Refused`. Only the active link gets log chunks.
//! - The first `LogAck` of a stream on a link says where to begin; before it nothing is sent. Later
//!   ones only move forward. At most a window of bytes is under way unacknowledged.
//! - Every link gets `Observed` at once and after each change.

mod accept;
mod acts;
mod archives;
mod entry;
mod guest_keys;
mod latecomers;
mod launch;
mod link;
mod observed;
mod pump;
mod reconciler;
mod service;

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;

pub use observed::Snapshot;
pub use reconciler::{Handles, Message, Reconciler};
pub use service::AgentService;

use crate::home::Home;
use crate::runtime::Runtime;
use dstack_api::agent::agent_server::AgentServer;

/// The longest path the kernel takes for a socket.
const SOCKET_PATH_MAX: usize = 107;
/// An order with its archives' names, environment and keys; far above any real one.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// Another agent serves this home.
#[derive(Debug, thiserror::Error)]
#[error("another agent (pid {pid}) already serves {home}")]
pub struct AlreadyServed {
    pub pid: String,
    pub home: String,
}

/// Holds the home for this process.
pub struct HomeLock {
    _file: Flock<fs::File>,
}

/// Takes the home, or says who has it.
pub fn lock_home(home: &Home) -> anyhow::Result<HomeLock> {
    let path = home.lock();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            let pid = fs::read_to_string(&path)
                .unwrap_or_default()
                .trim()
                .to_owned();
            return Err(AlreadyServed {
                pid,
                home: home.root().display().to_string(),
            }
            .into());
        }
        Err((_, error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    };
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(HomeLock { _file: file })
}

/// Serves until told to stop. Jobs are left running.
///
/// `guests`: the `authorized_keys` file that lets attached users through, if it is not the host user's own.
pub async fn serve(
    home: Home,
    runtime: Arc<dyn Runtime>,
    guests: Option<PathBuf>,
) -> anyhow::Result<()> {
    let listener = listen(&home.socket())?;
    let (reconciler, handle) = Reconciler::open(home.clone(), runtime.clone(), guests)?;
    let service = AgentService::new(home, runtime.name(), handle);
    let stopped = service.stopped();
    let reconciler = tokio::spawn(reconciler.run());
    let server = tonic::transport::Server::builder()
        .add_service(AgentServer::new(service).max_decoding_message_size(MESSAGE_MAX))
        .serve_with_incoming(UnixListenerStream::new(listener));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = server => result.context("the agent's socket failed")?,
        result = reconciler => return result.context("the reconciler died").and(Err(anyhow::anyhow!("the reconciler ended"))),
        () = stopped => tracing::info!("shut down by the server"),
        _ = terminate.recv() => tracing::info!("SIGTERM: the agent leaves, jobs stay"),
        _ = interrupt.recv() => tracing::info!("SIGINT: the agent leaves, jobs stay"),
    }
    Ok(())
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        anyhow::bail!(
            "the socket path {} has {length} bytes, and the kernel takes {SOCKET_PATH_MAX}; choose a shorter home",
            path.display()
        );
    }
    // The lock is held, so whatever lies here was left by an agent that is gone.
    crate::durable::remove_file(path)?;
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
