//! What replicas ask each other about archives. Pieces, because one message is limited.

use super::disk::BulkError;
use super::store::Inner;
use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::{NodeId, PeerService};
use serde::{Deserialize, Serialize};
use std::sync::Weak;

pub const SERVICE: &str = "archives";
/// Well below the peer channel's message limit.
pub const PIECE: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
pub(super) enum Question {
    Put {
        sha256: String,
        total: u64,
        from: u64,
        bytes: Vec<u8>,
    },
    Get {
        sha256: String,
        from: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// After a piece was stored: whether the archive is complete here.
    Stored(bool),
    Piece {
        total: u64,
        bytes: Vec<u8>,
    },
    Absent,
}

impl Question {
    pub fn encode(&self) -> Bytes {
        // Plain data of known types: there is nothing postcard could refuse.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }
}

pub(super) struct Service {
    pub store: Weak<Inner>,
}

#[async_trait]
impl PeerService for Service {
    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, String> {
        let store = self.store.upgrade().ok_or("the replica is stopping")?;
        let question: Question = postcard::from_bytes(&body).map_err(|e| e.to_string())?;
        let answer = tokio::task::spawn_blocking(move || answer(&store, question))
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        postcard::to_stdvec(&answer)
            .map(Bytes::from)
            .map_err(|e| e.to_string())
    }
}

fn answer(store: &Inner, question: Question) -> Result<Answer, BulkError> {
    match question {
        Question::Put {
            sha256,
            total,
            from,
            bytes,
        } => store
            .disk
            .put_piece(&sha256, total, from, &bytes)
            .map(Answer::Stored),
        Question::Get { sha256, from } => Ok(match store.disk.read(&sha256, from, PIECE)? {
            Some((total, bytes)) => Answer::Piece { total, bytes },
            None => Answer::Absent,
        }),
    }
}
