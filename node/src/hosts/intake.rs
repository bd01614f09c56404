//! Output of one link's jobs, on its way into the store. Takes what has come meanwhile together, so that many
//! small chunks cost one round among the replicas.

use super::status::Status;
use super::tools::Tools;
use crate::logs::{Key, LogError, Stream};
use bytes::{Bytes, BytesMut};
use dstack_api::agent::{Down, LogAck, LogChunk, down};
use dstack_domain::ids::SubmissionId;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How much of one stream is stored in one round.
const BATCH: usize = 1 << 20;
const AGAIN: Duration = Duration::from_secs(1);

/// What the link passes on. The agent sends a bounded number of unacknowledged bytes per stream, which bounds the queue.
pub enum Incoming {
    /// The agent has this job: it wants to know where its streams are to begin.
    Known(SubmissionId),
    Chunk(LogChunk),
}

pub struct Intake {
    pub tools: Arc<Tools>,
    pub status: Arc<Status>,
    pub down: mpsc::Sender<Down>,
}

impl Intake {
    /// Ends with the link.
    pub async fn run(self, mut incoming: mpsc::UnboundedReceiver<Incoming>) {
        let mut begun = BTreeSet::new();
        let mut queue = Vec::new();
        while incoming.recv_many(&mut queue, 256).await > 0 {
            let mut work: BTreeMap<Key, Vec<Run>> = BTreeMap::new();
            for item in queue.drain(..) {
                match item {
                    Incoming::Known(submission) => {
                        for stream in Stream::ALL {
                            work.entry(Key::new(submission, stream)).or_default();
                        }
                    }
                    Incoming::Chunk(chunk) => {
                        if let Some((key, offset, frames)) = read(chunk) {
                            gather(work.entry(key).or_default(), offset, frames);
                        }
                    }
                }
            }
            let streams = work
                .into_iter()
                .map(|(key, runs)| self.store(key, begun.insert(key), runs));
            join_all(streams).await;
        }
    }

    async fn store(&self, key: Key, first: bool, runs: Vec<Run>) {
        if first {
            // Where a majority is: a new leader must know that before it takes more.
            let end = persist(key, || self.tools.logs.resume(key.submission, key.stream)).await;
            self.acknowledge(key, end).await;
        }
        for run in runs {
            let frames = run.frames.freeze();
            let end = persist(key, || {
                self.tools
                    .logs
                    .append(key.submission, key.stream, run.offset, frames.clone())
            });
            self.acknowledge(key, end.await).await;
        }
    }

    async fn acknowledge(&self, key: Key, end: Option<u64>) {
        let Some(offset) = end else { return };
        if self.status.stored(key, offset) {
            self.tools.wake.notify_one();
        }
        let ack = LogAck {
            submission_id: key.submission.to_string(),
            stream: key.stream.word().into(),
            offset,
        };
        let _ = self
            .down
            .send(Down {
                kind: Some(down::Kind::Ack(ack)),
            })
            .await;
    }
}

/// Tries until it works: what is not stored stays with the agent, and the link's end drops the attempt. Nothing
/// that can be repeated makes sense of a damaged chunk, though.
async fn persist<F>(key: Key, mut attempt: impl FnMut() -> F) -> Option<u64>
where
    F: Future<Output = Result<u64, LogError>>,
{
    loop {
        match attempt().await {
            Ok(end) => return Some(end),
            Err(error @ LogError::Frames(_)) => {
                tracing::error!(log = %key, %error, "the agent sends damaged output");
                return None;
            }
            Err(error) => tracing::warn!(log = %key, %error, "output is not stored yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Adjoining chunks.
struct Run {
    offset: u64,
    frames: BytesMut,
}

fn gather(runs: &mut Vec<Run>, offset: u64, frames: Bytes) {
    match runs.last_mut() {
        Some(last)
            if last.offset + last.frames.len() as u64 == offset
                && last.frames.len() + frames.len() <= BATCH =>
        {
            last.frames.extend_from_slice(&frames);
        }
        _ => runs.push(Run {
            offset,
            frames: BytesMut::from(&frames[..]),
        }),
    }
}

fn read(chunk: LogChunk) -> Option<(Key, u64, Bytes)> {
    let submission = chunk.submission_id.parse().ok()?;
    let stream = chunk.stream.parse().ok()?;
    Some((Key::new(submission, stream), chunk.offset, chunk.frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjoining_chunks_become_one() {
        let mut runs = Vec::new();
        for (offset, len) in [
            (0, 10),
            (10, 5),
            (20, 5),
            (25, BATCH),
            (25 + BATCH as u64, 1),
        ] {
            gather(&mut runs, offset, vec![0; len].into());
        }
        let shape: Vec<_> = runs
            .iter()
            .map(|run| (run.offset, run.frames.len()))
            .collect();
        assert_eq!(
            shape,
            [(0, 15), (20, 5), (25, BATCH), (25 + BATCH as u64, 1)]
        );
    }
}
