//! The store as the rest of the replica sees it: append with a majority, read anywhere, follow anywhere.

use super::disk::{Appended, Disk, LogError};
use super::retention;
use super::ship::Shipper;
use super::wire::{Answer, Question, SERVICE, Service};
use super::{Key, Stream};
use crate::mesh::Mesh;
use bytes::Bytes;
use dstack_api::frames::Frames;
use dstack_domain::ids::SubmissionId;
use dstack_raft::{NodeId, PeerService};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// A file of a stream is followed by another once it is so long: what retention can give up at once.
const ROLLOVER: u64 = 64 << 20;
/// How long an append waits for a majority before it says so. The caller keeps the bytes and asks again.
const MAJORITY: Duration = Duration::from_secs(30);
/// How long another replica may take to say where its copy ends.
const ASK: Duration = Duration::from_secs(1);
/// For so long an answer about the others' copies is good enough for a reader.
const FRESH: Duration = Duration::from_millis(250);
/// A follower that heard nothing looks at the others' copies itself, so often.
const LOOK: Duration = Duration::from_millis(500);
const PIECE: u32 = 1 << 20;

/// A part of a stream.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where the frames begin: what was asked for, or the first byte behind it that still exists.
    pub from: u64,
    /// Whole frames.
    pub frames: Bytes,
    /// Where this replica's copy ends.
    pub end: u64,
}

impl Page {
    /// Where to go on reading.
    pub fn next(&self) -> u64 {
        self.from + self.frames.len() as u64
    }
}

pub(super) struct Inner {
    pub disk: Disk,
    pub mesh: Arc<dyn Mesh>,
    patience: Duration,
    ships: Mutex<HashMap<(NodeId, Key), Shipper>>,
    /// The furthest end among the others, when it was asked for.
    looked: Mutex<HashMap<Key, (Instant, u64)>>,
}

pub struct LogStore {
    inner: Arc<Inner>,
}

impl LogStore {
    /// Opens the store under `<data>/logs`. Register [`LogStore::service`] with the peer channel as [`LogStore::SERVICE`].
    pub fn open(data: &Path, mesh: Arc<dyn Mesh>) -> Arc<Self> {
        Self::with(data, mesh, ROLLOVER, MAJORITY)
    }

    pub const SERVICE: &'static str = SERVICE;

    /// For tests, which want several files without megabytes and no majority without half a minute.
    pub fn with(data: &Path, mesh: Arc<dyn Mesh>, rollover: u64, patience: Duration) -> Arc<Self> {
        let disk = Disk::new(data.join("logs"), rollover);
        let (ships, looked) = Default::default();
        Arc::new(Self {
            inner: Arc::new(Inner {
                disk,
                mesh,
                patience,
                ships,
                looked,
            }),
        })
    }

    pub fn service(&self) -> Arc<dyn PeerService> {
        Arc::new(Service {
            store: Arc::downgrade(&self.inner),
        })
    }

    /// Stores frames that begin at `offset`; done when a majority has them on disk. Answers where the stream
    /// ends now: everything below may be forgotten by the agent.
    pub async fn append(
        &self,
        submission: SubmissionId,
        stream: Stream,
        offset: u64,
        frames: Bytes,
    ) -> Result<u64, LogError> {
        let key = Key::new(submission, stream);
        let deadline = Instant::now() + self.inner.patience;
        let end = match self
            .inner
            .append_local(key, offset, frames.clone(), false)
            .await?
        {
            Appended::To(end) => end,
            Appended::Missing(_) => {
                self.append_behind_a_gap(key, offset, frames, deadline)
                    .await?
            }
        };
        self.inner.replicated(key, end, deadline).await?;
        Ok(end)
    }

    /// The agent continues behind our end: others may have what we lack. What a majority does not have is gone.
    async fn append_behind_a_gap(
        &self,
        key: Key,
        offset: u64,
        frames: Bytes,
        deadline: Instant,
    ) -> Result<u64, LogError> {
        let end = self.inner.catch_up_with_majority(key, deadline).await?;
        let jump = end < offset;
        if jump {
            tracing::error!(log = %key, from = end, to = offset, "output was lost: no replica has it and the agent has trimmed it");
        }
        match self.inner.append_local(key, offset, frames, jump).await? {
            Appended::To(end) | Appended::Missing(end) => Ok(end),
        }
    }

    /// For a new leader: brings this replica to where a majority is, and a majority to where this replica is.
    /// Answers the offset from which the agent should send.
    pub async fn resume(&self, submission: SubmissionId, stream: Stream) -> Result<u64, LogError> {
        let key = Key::new(submission, stream);
        let deadline = Instant::now() + self.inner.patience;
        let end = self.inner.catch_up_with_majority(key, deadline).await?;
        self.inner.replicated(key, end, deadline).await?;
        Ok(end)
    }

    /// Reads whole frames from `from` on, about `limit` bytes; from this replica, or through it from others when
    /// its own copy is behind.
    pub async fn read(
        &self,
        submission: SubmissionId,
        stream: Stream,
        from: u64,
        limit: usize,
    ) -> Result<Page, LogError> {
        let key = Key::new(submission, stream);
        let (mut at, mut frames) = self.inner.read_local(key, from, limit).await?;
        if frames.is_empty() {
            self.inner.refresh(key).await?;
            (at, frames) = self.inner.read_local(key, from, limit).await?;
        }
        let end = self.inner.end_local(key).await?;
        Ok(Page {
            from: at,
            frames: frames.into(),
            end,
        })
    }

    /// Waits until there is something behind `offset`; false when the time is up first.
    pub async fn wait_beyond(
        &self,
        submission: SubmissionId,
        stream: Stream,
        offset: u64,
        limit: Duration,
    ) -> Result<bool, LogError> {
        let key = Key::new(submission, stream);
        let deadline = Instant::now() + limit;
        let watch = || {
            let inner = self.inner.clone();
            blocking(move || inner.disk.watch(key))
        };
        let mut end = watch().await?;
        loop {
            let own = *end.borrow_and_update();
            if own <= offset {
                self.inner.refresh(key).await?;
            }
            if *end.borrow() > offset {
                return Ok(true);
            }
            let look = deadline.min(Instant::now() + LOOK);
            match timeout_at(look, end.changed()).await {
                Ok(Ok(())) => {}
                // Closed meanwhile, because nobody was at work on it.
                Ok(Err(_)) => {
                    tokio::time::sleep_until(look).await;
                    end = watch().await?;
                }
                Err(_) if Instant::now() >= deadline => return Ok(false),
                Err(_) => {}
            }
        }
    }

    /// The first offset whose frame is not older than `since`.
    pub async fn seek(
        &self,
        submission: SubmissionId,
        stream: Stream,
        since: Timestamp,
    ) -> Result<u64, LogError> {
        let mut at = 0;
        loop {
            let page = self.read(submission, stream, at, PIECE as usize).await?;
            let mut offset = page.from;
            for frame in Frames::new(&page.frames).map_while(Result::ok) {
                if frame.micros >= since.as_microsecond() {
                    return Ok(offset);
                }
                offset += frame.encoded_len() as u64;
            }
            if page.frames.is_empty() {
                return Ok(page.from);
            }
            at = page.next();
        }
    }

    /// Deletes what is too old or too much; see `retention`. `alive` says which submissions must be kept.
    pub async fn sweep(
        &self,
        alive: impl Fn(SubmissionId) -> bool + Send + 'static,
        limits: retention::Limits,
    ) -> Result<retention::Swept, LogError> {
        let inner = self.inner.clone();
        blocking(move || retention::sweep(&inner.disk, &alive, limits)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LogError::Stopped)?
}

impl Inner {
    async fn append_local(
        self: &Arc<Self>,
        key: Key,
        offset: u64,
        frames: Bytes,
        jump: bool,
    ) -> Result<Appended, LogError> {
        let inner = self.clone();
        blocking(move || inner.disk.append(key, offset, &frames, jump)).await
    }

    pub async fn read_local(
        self: &Arc<Self>,
        key: Key,
        from: u64,
        limit: usize,
    ) -> Result<(u64, Vec<u8>), LogError> {
        let inner = self.clone();
        blocking(move || inner.disk.read(key, from, limit)).await
    }

    async fn end_local(self: &Arc<Self>, key: Key) -> Result<u64, LogError> {
        let inner = self.clone();
        blocking(move || inner.disk.end(key)).await
    }

    /// Waits until a majority, this replica included, has everything below `end`.
    async fn replicated(
        self: &Arc<Self>,
        key: Key,
        end: u64,
        deadline: Instant,
    ) -> Result<(), LogError> {
        let need = self.mesh.majority();
        if need <= 1 || end == 0 {
            return Ok(());
        }
        let mut waiting = FuturesUnordered::new();
        for peer in self.mesh.others() {
            waiting.push(self.stored_by(peer, key, end));
        }
        let mut have = 1;
        while have < need {
            match timeout_at(deadline, waiting.next()).await {
                Ok(Some(stored)) => have += usize::from(stored?),
                Ok(None) | Err(_) => return Err(LogError::NoMajority { have, need }),
            }
        }
        Ok(())
    }

    /// Waits until a peer has everything below `end`; false when it is no peer any more.
    async fn stored_by(
        self: &Arc<Self>,
        peer: NodeId,
        key: Key,
        end: u64,
    ) -> Result<bool, LogError> {
        // A shipper may end under our hands, idle or because its file was let go: then another one goes on.
        while self.mesh.others().contains(&peer) {
            let mut stored = self.shipper(peer, key).await?;
            if stored.wait_for(|stored| *stored >= end).await.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn shipper(
        self: &Arc<Self>,
        peer: NodeId,
        key: Key,
    ) -> Result<tokio::sync::watch::Receiver<u64>, LogError> {
        let inner = self.clone();
        let written = blocking(move || inner.disk.watch(key)).await?;
        let mut ships = self.ships.lock();
        ships.retain(|_, ship| ship.is_running());
        let ship = ships
            .entry((peer, key))
            .or_insert_with(|| Shipper::start(self, peer, key, written));
        Ok(ship.stored.clone())
    }

    /// Where the others' copies end, of those that answer in time.
    async fn ends(&self, key: Key) -> Vec<(NodeId, u64)> {
        let asked = self.mesh.others().into_iter().map(|peer| async move {
            let answer = self
                .mesh
                .call(peer, SERVICE, Question::end(key).encode(), ASK);
            match postcard::from_bytes(&timeout(ASK, answer).await.ok()?.ok()?).ok()? {
                Answer::End(end) => Some((peer, end)),
                Answer::Frames { .. } => None,
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Any acknowledged byte is on a majority, so the furthest end in any majority covers all of them.
    async fn catch_up_with_majority(
        self: &Arc<Self>,
        key: Key,
        deadline: Instant,
    ) -> Result<u64, LogError> {
        loop {
            let ends = self.ends(key).await;
            let (have, need) = (ends.len() + 1, self.mesh.majority());
            if have >= need {
                return self.catch_up(key, &ends).await;
            }
            if Instant::now() >= deadline {
                return Err(LogError::NoMajority { have, need });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Fetches what the furthest of the others has and this replica lacks. Answers where the own copy ends then.
    async fn catch_up(self: &Arc<Self>, key: Key, ends: &[(NodeId, u64)]) -> Result<u64, LogError> {
        let mut own = self.end_local(key).await?;
        let Some((peer, goal)) = ends.iter().copied().max_by_key(|(_, end)| *end) else {
            return Ok(own);
        };
        while own < goal {
            let question = Question::read(key, own, PIECE).encode();
            let Ok(answer) = self.mesh.call(peer, SERVICE, question, ASK * 10).await else {
                break;
            };
            let Ok(Answer::Frames { from, frames }) = postcard::from_bytes(&answer) else {
                break;
            };
            if frames.is_empty() {
                break;
            }
            match self
                .append_local(key, from, frames.into(), from > own)
                .await?
            {
                Appended::To(end) if end > own => own = end,
                _ => break,
            }
        }
        Ok(own)
    }

    fn note(&self, key: Key, furthest: u64) {
        let mut looked = self.looked.lock();
        looked.retain(|_, (at, _)| at.elapsed() < FRESH);
        looked.insert(key, (Instant::now(), furthest));
    }

    /// Looks at the others' copies, unless that was done a moment ago, and fetches what they have more. The caller
    /// looks at its own copy again, whoever brought it on: another replica may be sending meanwhile.
    async fn refresh(self: &Arc<Self>, key: Key) -> Result<(), LogError> {
        let own = self.end_local(key).await?;
        let seen = self.looked.lock().get(&key).copied();
        if seen.is_some_and(|(at, end)| at.elapsed() < FRESH && end <= own) {
            return Ok(());
        }
        let ends = self.ends(key).await;
        let furthest = ends.iter().map(|(_, end)| *end).max().unwrap_or(0);
        self.note(key, furthest);
        self.catch_up(key, &ends).await.map(drop)
    }
}
