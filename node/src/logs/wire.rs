//! What replicas ask each other about job output.

use super::Key;
use super::disk::{Appended, LogError};
use super::store::Inner;
use async_trait::async_trait;
use bytes::Bytes;
use dstack_domain::ids::SubmissionId;
use dstack_raft::{NodeId, PeerService};
use serde::{Deserialize, Serialize};
use std::sync::Weak;

/// Name of the service on the peer channel.
pub const SERVICE: &str = "logs";

#[derive(Serialize, Deserialize)]
pub(super) enum Question {
    Append {
        submission: uuid::Uuid,
        stream: String,
        offset: u64,
        jump: bool,
        frames: Vec<u8>,
    },
    End {
        submission: uuid::Uuid,
        stream: String,
    },
    Read {
        submission: uuid::Uuid,
        stream: String,
        from: u64,
        limit: u32,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// The stream ends here on disk (after an append: with it, or short of it).
    End(u64),
    Frames {
        from: u64,
        frames: Vec<u8>,
    },
}

impl Question {
    pub fn append(key: Key, offset: u64, jump: bool, frames: Vec<u8>) -> Self {
        Self::Append {
            submission: key.submission.0,
            stream: key.stream.word().into(),
            offset,
            jump,
            frames,
        }
    }

    pub fn end(key: Key) -> Self {
        Self::End {
            submission: key.submission.0,
            stream: key.stream.word().into(),
        }
    }

    pub fn read(key: Key, from: u64, limit: u32) -> Self {
        Self::Read {
            submission: key.submission.0,
            stream: key.stream.word().into(),
            from,
            limit,
        }
    }

    pub fn encode(&self) -> Bytes {
        // Plain data of known types: there is nothing postcard could refuse.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }
}

/// Weak, because the peer channel outlives the store at the end of the process and in tests.
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

fn answer(store: &Inner, question: Question) -> Result<Answer, LogError> {
    let key = |submission, stream: String| {
        let stream = stream.parse().map_err(|()| LogError::Disk {
            dir: store.disk.root().to_owned(),
            verb: "addressed",
            cause: format!("unknown stream {stream:?}"),
        })?;
        Ok::<_, LogError>(Key::new(SubmissionId::from(submission), stream))
    };
    match question {
        Question::Append {
            submission,
            stream,
            offset,
            jump,
            frames,
        } => {
            match store
                .disk
                .append(key(submission, stream)?, offset, &frames, jump)?
            {
                Appended::To(end) | Appended::Missing(end) => Ok(Answer::End(end)),
            }
        }
        Question::End { submission, stream } => {
            Ok(Answer::End(store.disk.end(key(submission, stream)?)?))
        }
        Question::Read {
            submission,
            stream,
            from,
            limit,
        } => {
            let (from, frames) = store
                .disk
                .read(key(submission, stream)?, from, limit as usize)?;
            Ok(Answer::Frames { from, frames })
        }
    }
}
