//! What a replica has applied, for everybody who reads.
//!
//! A view is a cheap clone of the state after some log index. It is published after the batch that made it
//! was written, so nobody ever reads what a crash could take back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dstack_domain::state::State;
use dstack_raft::{Handle, ReadError, Stopped};
use dstack_storage::Rows;
use tokio::sync::{mpsc, oneshot, watch};

use crate::limits;

/// The state after the entry at `revision`.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub state: State,
    pub revision: u64,
}

impl View {
    /// Whether the cluster has had its first start.
    pub fn founded(&self) -> bool {
        self.state.cluster().is_some()
    }
}

/// Where the machine publishes; made before the raft core is, because the core owns the machine.
#[derive(Clone)]
pub struct Board {
    view: Arc<ArcSwap<View>>,
    revision: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Board {
            view: Arc::new(ArcSwap::from_pointee(View::default())),
            revision: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Shows a new view and wakes whoever waits for one.
    pub(crate) fn publish(&self, view: View) {
        let revision = view.revision;
        self.view.store(Arc::new(view));
        self.revision.send_replace(revision);
    }

    pub(crate) fn now(&self) -> Arc<View> {
        self.view.load_full()
    }
}

/// The readers' side. Cheap to clone.
#[derive(Clone)]
pub struct Views {
    board: Board,
    raft: Handle,
    barriers: mpsc::UnboundedSender<oneshot::Sender<u64>>,
}

impl Views {
    /// Starts the task that asks for read barriers.
    pub fn start(board: Board, raft: Handle) -> Views {
        let (barriers, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve_barriers(raft.clone(), asked));
        Views {
            board,
            raft,
            barriers,
        }
    }

    /// What this replica has applied so far; may lie behind the leader.
    pub fn now(&self) -> Arc<View> {
        self.board.now()
    }

    /// A view that holds every write acknowledged before the call, by any replica. Waits while there is no
    /// leader, and until the cluster is founded, without end: a client that no longer wants the answer drops
    /// the call.
    pub async fn fresh(&self) -> Arc<View> {
        loop {
            let (answer, barrier) = oneshot::channel();
            if self.barriers.send(answer).is_err() {
                // Only when the runtime is going down; nobody reads the answer.
                return std::future::pending().await;
            }
            if let Ok(index) = barrier.await {
                let view = self.at(index).await;
                return if view.founded() {
                    view
                } else {
                    self.first().await
                };
            }
        }
    }

    /// The first view with users and projects in it.
    pub async fn first(&self) -> Arc<View> {
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            let view = self.now();
            if view.founded() {
                return view;
            }
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// As [`Views::fresh`], but gives up after `limit`.
    pub async fn fresh_within(&self, limit: Duration) -> Option<Arc<View>> {
        tokio::time::timeout(limit, self.fresh()).await.ok()
    }

    /// The first view published that holds the entry at `index`.
    pub async fn at(&self, index: u64) -> Arc<View> {
        let mut revision = self.changed();
        // The sender lives in `self.board`, so this waits for the index and nothing else.
        let _ = revision.wait_for(|revision| *revision >= index).await;
        self.now()
    }

    /// The revision of the newest view; changes with each one.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.board.revision.subscribe()
    }

    /// History and events, which live on disk only.
    pub fn rows(&self) -> Result<Arc<dyn Rows>, Stopped> {
        self.raft.rows()
    }
}

/// One read barrier at a time, shared by all who asked before it began: a barrier that began earlier would
/// miss writes acknowledged in between, and one for each reader would cost a round trip to a majority each.
async fn serve_barriers(raft: Handle, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<u64>>) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, limits::DOOR_IN_FLIGHT).await > 0 {
        waiting.retain(|answer| !answer.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let Some(index) = barrier(&raft).await else {
            return;
        };
        for answer in waiting.drain(..) {
            let _ = answer.send(index);
        }
    }
}

/// Asks until there is an answer; none once this replica has stopped.
async fn barrier(raft: &Handle) -> Option<u64> {
    let mut leadership = raft.leadership();
    let mut pause = limits::RETRY_FIRST;
    loop {
        leadership.mark_unchanged();
        let answer = tokio::select! {
            answer = raft.read_index() => answer,
            // A leader that fell silent would keep us waiting for longer than its successor needs.
            _ = leadership.changed() => continue,
        };
        match answer {
            Ok(index) => return Some(index),
            Err(ReadError::Stopped(_)) => return None,
            Err(error) => tracing::debug!(%error, "no read barrier yet"),
        }
        let _ = tokio::time::timeout(pause, leadership.changed()).await;
        pause = (pause * 2).min(limits::RETRY_LAST);
    }
}
