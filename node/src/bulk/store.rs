//! The store as the rest of the replica sees it.

use super::disk::{BulkError, Disk, checksum};
use super::wire::{Answer, PIECE, Question, SERVICE, Service};
use crate::mesh::Mesh;
use bytes::Bytes;
use dstack_raft::{NodeId, PeerService};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For one piece, on a slow link.
const ANSWER: Duration = Duration::from_secs(15);
/// An archive may lie here without a record so long: between its upload and the entry that records it.
const GRACE: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Inner {
    pub disk: Disk,
    mesh: Arc<dyn Mesh>,
}

pub struct Bulk {
    inner: Arc<Inner>,
}

impl Bulk {
    pub const SERVICE: &'static str = SERVICE;

    /// Opens the store under `<data>/archives`. Register [`Bulk::service`] with the peer channel as [`Bulk::SERVICE`].
    pub fn open(data: &Path, mesh: Arc<dyn Mesh>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(Inner {
                disk: Disk::new(data.join("archives")),
                mesh,
            }),
        })
    }

    pub fn service(&self) -> Arc<dyn PeerService> {
        Arc::new(Service {
            store: Arc::downgrade(&self.inner),
        })
    }

    /// Stores an archive; done when a majority has it on disk. Answers its SHA-256.
    pub async fn put(&self, bytes: Bytes) -> Result<String, BulkError> {
        let inner = self.inner.clone();
        let own = bytes.clone();
        let sha256 = blocking(move || {
            let sha256 = checksum(&own);
            inner.disk.put(&sha256, &own).map(|()| sha256)
        })
        .await?;
        let mut sending = FuturesUnordered::new();
        for peer in self.inner.mesh.others() {
            let (inner, sha256, bytes) = (self.inner.clone(), sha256.clone(), bytes.clone());
            // Its own task: those beyond the majority get it too, after the answer.
            sending.push(tokio::spawn(async move {
                send(&inner, peer, &sha256, &bytes).await
            }));
        }
        let (mut have, need) = (1, self.inner.mesh.majority());
        while have < need {
            match sending.next().await {
                Some(Ok(true)) => have += 1,
                Some(_) => {}
                None => return Err(BulkError::NoMajority { have, need }),
            }
        }
        Ok(sha256)
    }

    /// The archive, from this replica's disk or from another's (and then kept here too).
    pub async fn get(&self, sha256: &str) -> Result<Bytes, BulkError> {
        let (inner, name) = (self.inner.clone(), sha256.to_owned());
        if let Some(bytes) = blocking(move || inner.disk.get(&name)).await? {
            return Ok(bytes.into());
        }
        for peer in self.inner.mesh.others() {
            let Some(bytes) = fetch(&self.inner, peer, sha256).await else {
                continue;
            };
            if checksum(&bytes) != sha256 {
                continue;
            }
            let bytes = Bytes::from(bytes);
            let (inner, name, own) = (self.inner.clone(), sha256.to_owned(), bytes.clone());
            blocking(move || inner.disk.put(&name, &own)).await?;
            return Ok(bytes);
        }
        Err(BulkError::Absent(sha256.to_owned()))
    }

    /// Removes archives that no record names and that were not written lately. Answers how many.
    pub async fn sweep(&self, recorded: BTreeSet<String>) -> Result<usize, BulkError> {
        let inner = self.inner.clone();
        blocking(move || inner.disk.sweep(&recorded, GRACE)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BulkError> + Send + 'static,
) -> Result<T, BulkError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| BulkError::Stopped)?
}

async fn ask(inner: &Inner, peer: NodeId, question: Question) -> Option<Answer> {
    let answer = inner
        .mesh
        .call(peer, SERVICE, question.encode(), ANSWER)
        .await;
    answer
        .inspect_err(|error| tracing::debug!(peer, ?error, "no answer about an archive"))
        .ok()
        .and_then(|bytes| postcard::from_bytes(&bytes).ok())
}

async fn send(inner: &Inner, peer: NodeId, sha256: &str, bytes: &Bytes) -> bool {
    let total = bytes.len() as u64;
    let mut from = 0;
    loop {
        let piece = bytes.slice(from..bytes.len().min(from + PIECE));
        let sent = piece.len();
        let question = Question::Put {
            sha256: sha256.into(),
            total,
            from: from as u64,
            bytes: piece.to_vec(),
        };
        match ask(inner, peer, question).await {
            Some(Answer::Stored(true)) => return true,
            Some(Answer::Stored(false)) if sent > 0 => from += sent,
            _ => return false,
        }
    }
}

async fn fetch(inner: &Inner, peer: NodeId, sha256: &str) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let question = Question::Get {
            sha256: sha256.into(),
            from: whole.len() as u64,
        };
        match ask(inner, peer, question).await? {
            Answer::Piece { total, bytes } => {
                let got = bytes.len();
                whole.extend(bytes);
                if whole.len() as u64 >= total {
                    return Some(whole);
                }
                if got == 0 {
                    return None;
                }
            }
            _ => return None,
        }
    }
}
