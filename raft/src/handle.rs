//! What the node holds of its replica.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dstack_storage::Rows;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use tokio::sync::{Semaphore, watch};

use crate::context::{Context, Running};
use crate::error::{ProposeError, ReadError, Stopped, TransferError};
use crate::leadership::Leadership;
use crate::peers::Peers;
use crate::status::{self, Status};
use crate::types::{Metrics, Payload, term_of};
use crate::{NodeId, read};

/// A proposal that has no outcome by then is reported as unknown.
const PROPOSE: Duration = Duration::from_secs(10);
const CATCH_UP: Duration = Duration::from_secs(5);
const SHUTDOWN: Duration = Duration::from_secs(10);

/// A proposal that was committed and applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    pub index: u64,
    pub term: u64,
    pub reply: Bytes,
}

/// One replica. Clones are the same replica.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub ctx: Arc<Context>,
    /// Of the core's life; kept after shutdown so that answers say why.
    pub running: parking_lot::RwLock<Option<Arc<Running>>>,
    pub applied: watch::Receiver<u64>,
    pub broken: watch::Receiver<Option<String>>,
    pub leadership: watch::Receiver<Leadership>,
    pub recovered: watch::Receiver<bool>,
    pub admission: Semaphore,
    pub ended: watch::Sender<Option<String>>,
    pub tasks: parking_lot::Mutex<Vec<tokio::task::JoinHandle<()>>>,
    pub listener: parking_lot::Mutex<Option<Listener>>,
    pub election_max: Duration,
}

pub(crate) struct Listener {
    pub stop: tokio::sync::oneshot::Sender<()>,
    pub task: tokio::task::JoinHandle<()>,
}

impl Handle {
    pub(crate) fn running(&self) -> Result<Arc<Running>, Stopped> {
        let running = self.inner.running.read().clone();
        running.ok_or_else(|| Stopped {
            reason: "it was shut down".to_owned(),
        })
    }

    pub(crate) fn metrics(&self) -> Result<Metrics, Stopped> {
        // Cloned at once: holding the borrow over an await would stop the core.
        Ok(self.running()?.raft.metrics().borrow_watched().clone())
    }

    pub(crate) fn stopped(&self) -> Stopped {
        let reason = self
            .inner
            .ended
            .borrow()
            .clone()
            .or_else(|| self.inner.broken.borrow().clone());
        Stopped {
            reason: reason.unwrap_or_else(|| "its core does not answer".to_owned()),
        }
    }

    /// Puts a payload into the log and waits until it is applied here. With a `fence`, only under the
    /// leadership of that term (see [`Leadership::established`]).
    ///
    /// Dropping the future does not take the proposal back.
    pub async fn propose(
        &self,
        payload: Bytes,
        fence: Option<u64>,
    ) -> Result<Proposed, ProposeError> {
        let _permit = self
            .inner
            .admission
            .try_acquire()
            .map_err(|_| ProposeError::Busy)?;
        let running = self.running()?;
        let (responder, answer) = ProgressResponder::complete_only();
        let mut write = running.raft.write(Payload(payload)).responder(responder);
        if let Some(term) = fence {
            write = write.with_leader(term);
        }
        write.await.map_err(|_| self.stopped())?;
        let answer = match tokio::time::timeout(PROPOSE, answer).await {
            Ok(Ok(answer)) => answer,
            // Dropped without an answer: the core ended, or the leadership did.
            Ok(Err(_)) | Err(_) => return Err(ProposeError::Unknown),
        };
        match answer {
            Ok(done) => Ok(Proposed {
                index: done.log_id.index,
                term: term_of(&done.log_id),
                reply: done.data,
            }),
            Err(ClientWriteError::ForwardToLeader(_)) if fence.is_some() => {
                Err(ProposeError::Fenced)
            }
            Err(ClientWriteError::ForwardToLeader(f)) => Err(ProposeError::NotLeader {
                leader: f.leader_id,
            }),
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// A linearizable read barrier: when this returns, rows and views here hold everything that was
    /// acknowledged anywhere before the call. Returns the index they were waited for at.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        let index = read::index(&self.inner.ctx).await?;
        if self.wait_applied(index, CATCH_UP).await {
            Ok(index)
        } else {
            Err(ReadError::Behind)
        }
    }

    /// Whether this replica has applied `index`, waiting for it at most so long.
    pub async fn wait_applied(&self, index: u64, timeout: Duration) -> bool {
        let mut applied = self.inner.applied.clone();
        let reached = applied.wait_for(|at| *at >= index);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }

    /// The last index that is applied and published here.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Turns true once this replica holds again what it had applied before its restart (S9). Local
    /// reads before that may be older than reads served before the restart.
    pub fn recovered(&self) -> watch::Receiver<bool> {
        self.inner.recovered.clone()
    }

    /// Hands leadership to the voter with the longest log, and to the next one if that fails.
    /// Returns who leads then.
    pub async fn transfer_leadership(&self) -> Result<NodeId, TransferError> {
        let metrics = self.metrics()?;
        let Some(replication) = metrics.replication.as_ref() else {
            return Err(TransferError::NotLeader);
        };
        let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
        let mut candidates: Vec<(u64, NodeId)> = replication
            .iter()
            .filter(|(id, _)| **id != metrics.id && voters.contains(id))
            .filter_map(|(id, matched)| matched.as_ref().map(|m| (m.index, *id)))
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        if candidates.is_empty() {
            return Err(TransferError::NoCandidate);
        }
        for (_, id) in candidates {
            self.running()?
                .raft
                .trigger()
                .transfer_leader(id)
                .await
                .map_err(|_| self.stopped())?;
            if let Some(leader) = self.other_leads(metrics.current_term).await {
                return Ok(leader);
            }
        }
        Err(TransferError::TimedOut)
    }

    async fn other_leads(&self, old_term: u64) -> Option<NodeId> {
        let mut leadership = self.inner.leadership.clone();
        let taken =
            leadership.wait_for(|l| l.term > old_term && l.leader.is_some_and(|id| id != l.me));
        let patience = self.inner.election_max * 2;
        match tokio::time::timeout(patience, taken).await {
            Ok(Ok(now)) => now.leader,
            _ => None,
        }
    }

    pub fn status(&self) -> Result<Status, Stopped> {
        let running = self.running()?;
        Ok(status::of(&self.inner.ctx, &running, &self.metrics()?))
    }

    /// Reads of the state that is live now. Take it anew for each request: an installed snapshot is
    /// seen by new handles only.
    pub fn rows(&self) -> Result<Arc<dyn Rows>, Stopped> {
        Ok(self.running()?.state.rows())
    }

    pub fn peers(&self) -> Peers {
        Peers {
            ctx: self.inner.ctx.clone(),
        }
    }

    pub fn me(&self) -> NodeId {
        self.inner.ctx.me()
    }

    pub fn cluster_id(&self) -> String {
        self.inner
            .ctx
            .identity()
            .map(|i| i.cluster_id.clone())
            .unwrap_or_default()
    }

    /// Takes a snapshot soon, whatever the rules say.
    pub async fn snapshot_now(&self) -> Result<(), Stopped> {
        self.running()?
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|_| self.stopped())
    }

    /// Resolves with a reason when the core has ended by itself: the process must exit then (S11,
    /// S14). It does not resolve for an orderly [`Handle::shutdown`].
    pub fn fatal(&self) -> impl Future<Output = String> + Send + 'static {
        let mut broken = self.inner.broken.clone();
        let mut ended = self.inner.ended.subscribe();
        async move {
            let said = |reason: &Option<String>| reason.is_some();
            let first = tokio::select! {
                Ok(reason) = broken.wait_for(said) => reason.clone(),
                Ok(reason) = ended.wait_for(said) => reason.clone(),
                else => None,
            };
            match first {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops the core and the listener. Leadership is not handed over here; see
    /// [`Handle::transfer_leadership`].
    pub async fn shutdown(&self) {
        let running = self.inner.running.write().take();
        let tasks: Vec<_> = self.inner.tasks.lock().drain(..).collect();
        for task in tasks {
            task.abort();
            // One that is writing a file ends after it: nothing touches the data after a shutdown.
            let _ = task.await;
        }
        if let Some(running) = running {
            // A core that has failed already has nothing left to stop, and one whose disk hangs does
            // not get to: the process ends either way.
            let _ = tokio::time::timeout(SHUTDOWN, running.raft.shutdown()).await;
        }
        self.inner.ctx.set_running(None);
        self.inner.ctx.services.write().clear();
        let listener = self.inner.listener.lock().take();
        if let Some(Listener { stop, mut task }) = listener {
            let _ = stop.send(());
            if tokio::time::timeout(Duration::from_secs(1), &mut task)
                .await
                .is_err()
            {
                task.abort();
            }
        }
    }
}
