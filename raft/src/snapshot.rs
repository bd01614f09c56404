//! Snapshots in openraft's terms, and on their way to another replica.
//!
//! A snapshot is a checkpoint directory. It travels as `Manifest → (FileStart, Chunk*, FileEnd)* → End`;
//! any frame out of place fails the whole transfer, and nothing of it is installed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dstack_storage::{Incoming, Manifest, Snapshot, StateEngine};
use tokio::sync::mpsc;

use crate::encoding;
use crate::proto::snapshot_frame::{End, FileEnd, FileStart, Frame, Manifest as WireManifest};
use crate::proto::{self, SnapshotFrame};
use crate::types::{SnapshotMeta, Vote};
use crate::wire;

const CHUNK: usize = 1024 * 1024;
/// Bytes per second a transfer may take, so that it leaves room for replication beside it.
const RATE: u64 = 32 * 1024 * 1024;

/// What openraft hands around as a snapshot.
pub enum SnapshotData {
    /// A finished snapshot of ours.
    Held(Arc<dyn Snapshot>),
    /// One that came from a peer, complete but not installed.
    Received(Box<dyn Incoming>),
}

impl SnapshotData {
    fn manifest(&self) -> &Manifest {
        match self {
            SnapshotData::Held(snapshot) => snapshot.manifest(),
            SnapshotData::Received(incoming) => incoming.manifest(),
        }
    }

    /// Refuses content that is not what its sender announced.
    pub fn check_covers(&self, meta: &SnapshotMeta) -> io::Result<()> {
        let found = meta_of(self.manifest())?;
        if found.last_log_id == meta.last_log_id {
            return Ok(());
        }
        let reason = format!(
            "the snapshot was announced at {:?} and holds {:?}",
            meta.last_log_id, found.last_log_id
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// Replaces the state with it. Blocks.
    pub fn install(self, engine: &dyn StateEngine) -> io::Result<()> {
        let incoming = match self {
            SnapshotData::Received(incoming) => incoming,
            SnapshotData::Held(snapshot) => copy(snapshot.as_ref(), engine)?,
        };
        incoming.install()?;
        Ok(())
    }
}

fn copy(snapshot: &dyn Snapshot, engine: &dyn StateEngine) -> io::Result<Box<dyn Incoming>> {
    let mut incoming = engine.receive(snapshot.manifest().clone())?;
    for file in &snapshot.manifest().files {
        let mut offset = 0;
        loop {
            let chunk = snapshot.read(&file.name, offset, CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            incoming.write(&file.name, &chunk)?;
            offset += chunk.len() as u64;
        }
    }
    Ok(incoming)
}

/// What a snapshot covers, read from its own manifest.
pub fn meta_of(manifest: &Manifest) -> io::Result<SnapshotMeta> {
    let last_log_id = manifest
        .applied
        .as_deref()
        .map(encoding::decode_log_id)
        .transpose()?;
    let last_membership = manifest
        .membership
        .as_deref()
        .map(encoding::decode_membership)
        .transpose()?;
    Ok(SnapshotMeta {
        last_log_id,
        last_membership: last_membership.unwrap_or_default(),
    })
}

fn frame(frame: Frame) -> SnapshotFrame {
    SnapshotFrame { frame: Some(frame) }
}

/// Reads a snapshot into frames on a thread of its own. A read error ends the frames before `End`,
/// which the receiver takes for what it is: an incomplete transfer.
pub fn send(
    vote: Vote,
    meta: &SnapshotMeta,
    snapshot: Arc<dyn Snapshot>,
) -> mpsc::Receiver<SnapshotFrame> {
    let (tx, rx) = mpsc::channel(4);
    let manifest = WireManifest {
        vote: Some(wire::vote_to(&vote)),
        last_log: meta.last_log_id.as_ref().map(wire::log_id_to),
        membership: encoding::encode_membership(&meta.last_membership),
        storage: snapshot.manifest().encode().into(),
    };
    tokio::task::spawn_blocking(move || {
        if let Err(e) = send_files(manifest, snapshot.as_ref(), &tx) {
            tracing::warn!(error = %crate::error::chain(&e), "snapshot transfer ended early");
        }
    });
    rx
}

fn send_files(
    manifest: WireManifest,
    snapshot: &dyn Snapshot,
    tx: &mpsc::Sender<SnapshotFrame>,
) -> io::Result<()> {
    let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the receiver is gone");
    tx.blocking_send(frame(Frame::Manifest(manifest)))
        .map_err(gone)?;
    let mut pace = Pace::new();
    for file in &snapshot.manifest().files {
        let start = FileStart {
            name: file.name.clone(),
            size: file.size,
        };
        tx.blocking_send(frame(Frame::Start(start))).map_err(gone)?;
        let mut crc = crc32fast::Hasher::new();
        let mut offset = 0;
        loop {
            let chunk = snapshot.read(&file.name, offset, CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            crc.update(&chunk);
            offset += chunk.len() as u64;
            pace.spend(chunk.len() as u64);
            tx.blocking_send(frame(Frame::Chunk(chunk))).map_err(gone)?;
        }
        tx.blocking_send(frame(Frame::FileEnd(FileEnd {
            crc32: crc.finalize(),
        })))
        .map_err(gone)?;
    }
    let files = snapshot.manifest().files.len() as u32;
    tx.blocking_send(frame(Frame::End(End { files })))
        .map_err(gone)
}

struct Pace {
    since: Instant,
    spent: u64,
}

impl Pace {
    fn new() -> Self {
        Pace {
            since: Instant::now(),
            spent: 0,
        }
    }

    fn spend(&mut self, bytes: u64) {
        self.spent += bytes;
        let due = Duration::from_micros(self.spent.saturating_mul(1_000_000) / RATE);
        if let Some(ahead) = due.checked_sub(self.since.elapsed()) {
            std::thread::sleep(ahead);
        }
    }
}

/// A snapshot that arrived whole.
pub struct Arrived {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub data: SnapshotData,
}

/// Why a transfer was refused by its receiver.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("snapshot stream: {0}")]
    Protocol(String),
    #[error("snapshot could not be stored")]
    Storage(#[source] io::Error),
}

fn protocol(reason: impl Into<String>) -> ReceiveError {
    ReceiveError::Protocol(reason.into())
}

/// Puts frames together again. Feed each frame to [`Receiver::take`], then ask for the result.
pub struct Receiver {
    vote: Vote,
    meta: SnapshotMeta,
    incoming: Box<dyn Incoming>,
    open: Option<(String, crc32fast::Hasher)>,
    files: u32,
    ended: bool,
}

impl Receiver {
    /// Begins with the first frame, which must be the manifest. Blocks.
    pub fn begin(engine: &dyn StateEngine, first: SnapshotFrame) -> Result<Self, ReceiveError> {
        let Some(Frame::Manifest(m)) = first.frame else {
            return Err(protocol("the first frame is not a manifest"));
        };
        let vote = m
            .vote
            .as_ref()
            .map(wire::vote_from)
            .ok_or_else(|| protocol("the manifest names no leader"))?;
        let last_membership = encoding::decode_membership(&m.membership)
            .map_err(|e| protocol(crate::error::chain(&e)))?;
        let meta = SnapshotMeta {
            last_log_id: m.last_log.as_ref().map(wire::log_id_from),
            last_membership,
        };
        let manifest =
            Manifest::decode(&m.storage).map_err(|e| protocol(crate::error::chain(&e)))?;
        let incoming = engine
            .receive(manifest)
            .map_err(|e| ReceiveError::Storage(e.into()))?;
        Ok(Receiver {
            vote,
            meta,
            incoming,
            open: None,
            files: 0,
            ended: false,
        })
    }

    pub fn vote(&self) -> &Vote {
        &self.vote
    }

    /// Takes the next frame. Blocks.
    pub fn take(&mut self, next: SnapshotFrame) -> Result<(), ReceiveError> {
        if self.ended {
            return Err(protocol("a frame came after the end"));
        }
        match (next.frame, self.open.take()) {
            (Some(Frame::Start(start)), None) => {
                self.open = Some((start.name, crc32fast::Hasher::new()));
                Ok(())
            }
            (Some(Frame::Chunk(chunk)), Some((name, mut crc))) => {
                crc.update(&chunk);
                self.incoming
                    .write(&name, &chunk)
                    .map_err(|e| ReceiveError::Storage(e.into()))?;
                self.open = Some((name, crc));
                Ok(())
            }
            (Some(Frame::FileEnd(end)), Some((name, crc))) => {
                if crc.finalize() != end.crc32 {
                    return Err(protocol(format!("{name} was damaged on its way")));
                }
                self.files += 1;
                Ok(())
            }
            (Some(Frame::End(end)), None) if end.files == self.files => {
                self.ended = true;
                Ok(())
            }
            _ => Err(protocol("a frame is out of place")),
        }
    }

    /// The whole, if the end was seen.
    pub fn finish(self) -> Result<Arrived, ReceiveError> {
        if !self.ended {
            return Err(protocol("the stream ended before the snapshot did"));
        }
        Ok(Arrived {
            vote: self.vote,
            meta: self.meta,
            data: SnapshotData::Received(self.incoming),
        })
    }
}

/// For callers that only have bytes: the reply to a transfer.
pub fn reply(vote: &Vote) -> proto::SnapshotReply {
    proto::SnapshotReply {
        vote: Some(wire::vote_to(vote)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{StoredMembership, log_id};
    use bytes::Bytes;
    use dstack_storage::twin::{Disk, TwinState};
    use dstack_storage::{APPLIED, Batch, Table, Write};

    const KEY: Bytes = Bytes::from_static(b"k");

    /// The frames of a snapshot of one row at index 7.
    async fn frames() -> Vec<SnapshotFrame> {
        let state = TwinState::open(&Disk::new()).unwrap();
        let row = Write {
            table: Table::Obj,
            key: KEY,
            value: Some(Bytes::from(vec![7; 3000])),
        };
        let applied = Some(encoding::encode_log_id(&log_id(2, 7)));
        let membership = Some(encoding::encode_membership(&StoredMembership::default()));
        state
            .write(Batch {
                writes: vec![row],
                applied,
                membership,
            })
            .unwrap();
        let snapshot = state.checkpoint("one").unwrap().finish(42).unwrap();
        let meta = meta_of(snapshot.manifest()).unwrap();
        let mut rx = send(encoding::vote(2, 1, true), &meta, snapshot);
        let mut frames = Vec::new();
        while let Some(frame) = rx.recv().await {
            frames.push(frame);
        }
        frames
    }

    fn take_all(state: &TwinState, frames: &[SnapshotFrame]) -> Result<Arrived, ReceiveError> {
        let (first, rest) = frames.split_first().unwrap();
        let mut receiver = Receiver::begin(state, first.clone())?;
        for frame in rest {
            receiver.take(frame.clone())?;
        }
        receiver.finish()
    }

    #[tokio::test]
    async fn a_snapshot_arrives_as_it_was_sent() {
        let state = TwinState::open(&Disk::new()).unwrap();
        let arrived = take_all(&state, &frames().await).unwrap();
        assert_eq!(arrived.meta.last_log_id, Some(log_id(2, 7)));
        assert_eq!(arrived.vote, encoding::vote(2, 1, true));
        arrived.data.check_covers(&arrived.meta).unwrap();
        arrived.data.install(&state).unwrap();
        assert_eq!(
            state.rows().get(Table::Obj, &KEY).unwrap().unwrap().len(),
            3000
        );
    }

    /// S10: a transfer that is not whole changes nothing.
    #[tokio::test]
    async fn a_broken_transfer_is_refused_and_nothing_of_it_stays() {
        let whole = frames().await;
        let state = TwinState::open(&Disk::new()).unwrap();
        for missing in 0..whole.len() {
            let mut frames = whole.clone();
            frames.remove(missing);
            assert!(
                take_all(&state, &frames).is_err(),
                "frame {missing} was not missed"
            );
        }
        for at in 1..whole.len() {
            let mut frames = whole.clone();
            frames.swap(at - 1, at);
            assert!(
                take_all(&state, &frames).is_err(),
                "frames {at} and before were swapped"
            );
        }
        for at in 0..whole.len() {
            let mut frames = whole.clone();
            let Some(Frame::Chunk(chunk)) = &frames[at].frame else {
                continue;
            };
            let mut bytes = chunk.to_vec();
            bytes[0] ^= 1;
            frames[at] = frame(Frame::Chunk(bytes.into()));
            let said = take_all(&state, &frames)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(said.contains("damaged"), "{said:?}");
        }
        assert_eq!(state.meta(APPLIED).unwrap(), None);
        assert!(state.current_snapshot().is_none());
    }
}
