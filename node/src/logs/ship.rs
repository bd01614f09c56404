//! Keeping one other replica's copy of one stream up to date: reads our file from where the other one ends,
//! sends, and goes on until both end alike. One such task per replica and stream, started by an append, gone
//! when idle.

use super::Key;
use super::store::Inner;
use super::wire::{Answer, Question, SERVICE};
use dstack_raft::NodeId;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// How much travels at once.
const PIECE: usize = 1 << 20;
/// Includes the other side's fsync, on a disk that may be busy.
const ANSWER: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// After so long without an append the task ends; the next append starts another.
const IDLE: Duration = Duration::from_secs(30);

/// Where the other replica's copy is known to end.
pub(super) struct Shipper {
    pub stored: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Shipper {
    pub fn start(
        store: &Arc<Inner>,
        peer: NodeId,
        key: Key,
        written: watch::Receiver<u64>,
    ) -> Self {
        let (stored, receiver) = watch::channel(0);
        let task = tokio::spawn(run(Arc::downgrade(store), peer, key, written, stored));
        Self {
            stored: receiver,
            task,
        }
    }

    /// Whether the task is there; told by its end of the channel, which it drops before it counts as finished.
    pub fn is_running(&self) -> bool {
        self.stored.has_changed().is_ok()
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    store: Weak<Inner>,
    peer: NodeId,
    key: Key,
    mut written: watch::Receiver<u64>,
    stored: watch::Sender<u64>,
) {
    let mut pause = FIRST_PAUSE;
    // Unknown until it answers; an empty append at our end asks.
    let mut theirs: Option<u64> = None;
    loop {
        let ours = *written.borrow_and_update();
        if theirs.is_some_and(|theirs| theirs >= ours) {
            match tokio::time::timeout(IDLE, written.changed()).await {
                Ok(Ok(())) => continue,
                _ => return,
            }
        }
        let Some(strong) = store.upgrade() else {
            return;
        };
        if !strong.mesh.others().contains(&peer) {
            return;
        }
        let sent = send(&strong, peer, key, theirs).await;
        drop(strong);
        match sent {
            Some(end) => {
                stored.send_if_modified(|seen| std::mem::replace(seen, end) != end);
                theirs = Some(end);
                pause = FIRST_PAUSE;
            }
            None => {
                theirs = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// Sends the next piece; answers where the other copy ends now.
async fn send(store: &Arc<Inner>, peer: NodeId, key: Key, theirs: Option<u64>) -> Option<u64> {
    let question = match theirs {
        None => Question::end(key),
        Some(from) => {
            let (at, frames) = store.read_local(key, from, PIECE).await.ok()?;
            if frames.is_empty() {
                return None;
            }
            // A hole in ours is a hole everywhere.
            Question::append(key, at, at > from, frames)
        }
    };
    let answer = store
        .mesh
        .call(peer, SERVICE, question.encode(), ANSWER)
        .await
        .ok()?;
    match postcard::from_bytes(&answer).ok()? {
        Answer::End(end) => Some(end),
        Answer::Frames { .. } => None,
    }
}
