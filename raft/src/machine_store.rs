//! openraft's state machine over a [`StateEngine`] and a [`Machine`].
//!
//! One batch of entries is one call of [`Machine::apply`] and one write: rows, applied marker and
//! membership together (S8). Proposers are answered after that write, each exactly once (S13).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dstack_storage::{APPLIED, Batch, Checkpoint, MEMBERSHIP, StateEngine};
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use crate::encoding;
use crate::machine::{Committed, Machine, MachineError};
use crate::snapshot::SnapshotData;
use crate::types::{
    Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, term_of,
};

/// Entries applied and written together at most.
const APPLY_BATCH: usize = 512;

/// What others may know of the machine without waiting for it.
#[derive(Clone)]
pub struct Progress {
    applied: watch::Sender<u64>,
    applied_term: Arc<AtomicU64>,
    state_hash: Arc<AtomicU64>,
    broken: watch::Sender<Option<String>>,
}

impl Progress {
    fn new() -> Self {
        Progress {
            applied: watch::Sender::new(0),
            applied_term: Arc::default(),
            state_hash: Arc::default(),
            broken: watch::Sender::new(None),
        }
    }

    /// The last index whose effects are written and published.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The term of the last applied entry.
    pub fn applied_term(&self) -> u64 {
        self.applied_term.load(Ordering::Acquire)
    }

    pub fn state_hash(&self) -> u64 {
        self.state_hash.load(Ordering::Acquire)
    }

    /// Why the machine stopped, once it has. openraft does not notice a panic in here (S14).
    pub fn broken(&self) -> watch::Receiver<Option<String>> {
        self.broken.subscribe()
    }

    fn publish(&self, at: &LogId, hash: u64) {
        self.applied_term.store(term_of(at), Ordering::Release);
        self.state_hash.store(hash, Ordering::Release);
        self.applied.send_replace(at.index);
    }
}

/// Tells the rest of the process when apply was left by a panic or an error.
struct Alarm<'a> {
    progress: &'a Progress,
    disarmed: bool,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if !self.disarmed && std::thread::panicking() {
            self.progress
                .broken
                .send_replace(Some("the state machine panicked".to_owned()));
        }
    }
}

pub struct MachineStore {
    engine: Arc<dyn StateEngine>,
    // A mutex only to be Sync, as openraft asks; every access has `&mut self`.
    machine: parking_lot::Mutex<Box<dyn Machine>>,
    applied: Option<LogId>,
    membership: StoredMembership,
    progress: Progress,
}

impl MachineStore {
    /// Reads the markers and lets the machine rebuild its memory from the rows.
    pub fn open(engine: Arc<dyn StateEngine>, machine: Box<dyn Machine>) -> io::Result<Self> {
        let mut store = MachineStore {
            engine,
            machine: parking_lot::Mutex::new(machine),
            applied: None,
            membership: StoredMembership::default(),
            progress: Progress::new(),
        };
        store.reload()?;
        Ok(store)
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn reload(&mut self) -> io::Result<()> {
        let applied = self.engine.meta(APPLIED)?;
        self.applied = applied
            .map(|raw| encoding::decode_log_id(&raw))
            .transpose()?;
        let membership = self.engine.meta(MEMBERSHIP)?;
        self.membership = membership
            .map(|raw| encoding::decode_membership(&raw))
            .transpose()?
            .unwrap_or_default();
        let index = self.applied.map_or(0, |id| id.index);
        let rows = self.engine.rows();
        let machine = self.machine.get_mut();
        machine.load(rows.as_ref(), index).map_err(stopped)?;
        machine.published(index);
        if let Some(at) = self.applied {
            self.progress.publish(&at, machine.state_hash());
        }
        Ok(())
    }

    fn apply_batch(&mut self, batch: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut alarm = Alarm {
            progress: &self.progress,
            disarmed: false,
        };
        let Some(at) = batch.last().map(|(entry, _)| entry.log_id) else {
            return Ok(());
        };
        let work = Work::of(batch);
        let machine = self.machine.get_mut();
        let replies = if work.committed.is_empty() {
            Vec::new()
        } else {
            machine
                .apply(&work.committed, self.engine.rows().as_ref())
                .map_err(stopped)?
        };
        if replies.len() != work.committed.len() {
            let reason = format!(
                "answered {} of {} entries",
                replies.len(),
                work.committed.len()
            );
            return Err(stopped(MachineError::new(reason)));
        }
        let mut answers = Vec::with_capacity(replies.len());
        let mut writes = Vec::new();
        for applied in replies {
            answers.push(applied.reply);
            writes.extend(applied.writes);
        }
        self.engine.write(Batch {
            writes,
            applied: Some(encoding::encode_log_id(&at)),
            membership: work.membership.as_ref().map(encoding::encode_membership),
        })?;
        self.applied = Some(at);
        if let Some(membership) = work.membership {
            self.membership = membership;
        }
        machine.published(at.index);
        self.progress.publish(&at, machine.state_hash());
        work.waiting.answer(answers);
        alarm.disarmed = true;
        Ok(())
    }
}

fn stopped(e: MachineError) -> io::Error {
    io::Error::other(e)
}

/// A batch taken apart.
struct Work {
    committed: Vec<Committed>,
    membership: Option<StoredMembership>,
    waiting: Waiting,
}

/// Who waits: for the answer of the n-th committed payload, or only to hear that the entry is in.
struct Waiting(Vec<(Option<usize>, ApplyResponder<TypeConfig>)>);

impl Work {
    fn of(batch: Vec<EntryResponder<TypeConfig>>) -> Self {
        let mut work = Work {
            committed: Vec::with_capacity(batch.len()),
            membership: None,
            waiting: Waiting(Vec::new()),
        };
        for (entry, responder) in batch {
            let slot = work.take(entry);
            if let Some(responder) = responder {
                work.waiting.0.push((slot, responder));
            }
        }
        work
    }

    fn take(&mut self, entry: Entry) -> Option<usize> {
        let at = entry.log_id;
        match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(Payload(payload)) => {
                self.committed.push(Committed {
                    index: at.index,
                    term: term_of(&at),
                    payload,
                });
                Some(self.committed.len() - 1)
            }
            EntryPayload::Membership(m) => {
                self.membership = Some(StoredMembership::new(Some(at), m));
                None
            }
        }
    }
}

impl Waiting {
    fn answer(self, answers: Vec<Bytes>) {
        for (slot, responder) in self.0 {
            let reply = slot
                .and_then(|n| answers.get(n).cloned())
                .unwrap_or_default();
            responder.send(reply);
        }
    }
}

impl RaftStateMachine<TypeConfig> for MachineStore {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_BATCH);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<Result<Vec<_>, _>>()?;
            if let Err(e) = self.apply_batch(batch) {
                self.progress
                    .broken
                    .send_replace(Some(crate::error::chain(&e)));
                return Err(e);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    /// The view is taken here, between two batches; checksums and fsyncs wait for `build_snapshot`.
    async fn get_snapshot_builder(&mut self) -> Builder {
        let (index, term) = self.applied.map_or((0, 0), |id| (id.index, term_of(&id)));
        let checkpoint = self.engine.checkpoint(&format!("{index:020}-{term:010}"));
        Builder {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            hash: self.machine.get_mut().state_hash(),
            engine: self.engine.clone(),
            checkpoint: parking_lot::Mutex::new(Some(checkpoint.map_err(io::Error::from))),
        }
    }

    /// The whole state is replaced at once (S10), then the machine rebuilds its memory from it.
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        snapshot.check_covers(meta)?;
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || snapshot.install(engine.as_ref()))
            .await
            .map_err(io::Error::other)??;
        self.reload()
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some(snapshot) = self.engine.current_snapshot() else {
            return Ok(None);
        };
        let meta = crate::snapshot::meta_of(snapshot.manifest())?;
        Ok(Some(openraft::Snapshot {
            meta,
            snapshot: SnapshotData::Held(snapshot),
        }))
    }
}

pub struct Builder {
    meta: SnapshotMeta,
    hash: u64,
    engine: Arc<dyn StateEngine>,
    // A mutex only to be Sync, as openraft asks.
    checkpoint: parking_lot::Mutex<Option<io::Result<Box<dyn Checkpoint>>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    /// Ok only when the snapshot and what it covers are on disk (S7): the log behind it may go then.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let checkpoint = self
            .checkpoint
            .get_mut()
            .take()
            .ok_or_else(|| io::Error::other("a snapshot builder builds once"))??;
        let (engine, hash) = (self.engine.clone(), self.hash);
        let snapshot = tokio::task::spawn_blocking(move || {
            let snapshot = checkpoint.finish(hash)?;
            engine.retain_snapshots(2)?;
            Ok::<_, dstack_storage::StorageError>(snapshot)
        })
        .await
        .map_err(io::Error::other)??;
        Ok(openraft::Snapshot {
            meta: self.meta.clone(),
            snapshot: SnapshotData::Held(snapshot),
        })
    }
}
