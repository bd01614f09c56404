//! Archives an agent lacks, brought to it while the link is up.

use crate::bulk::Bulk;
use bytes::Bytes;
use dstack_api::agent::ArchiveChunk;
use dstack_api::agent::agent_client::AgentClient;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const PIECE: usize = 1 << 20;
const AGAIN: Duration = Duration::from_secs(3);

pub struct Uploads {
    bulk: Arc<Bulk>,
    client: AgentClient<Channel>,
    under_way: Arc<Mutex<BTreeSet<String>>>,
    /// Aborted with the link.
    tasks: JoinSet<()>,
}

impl Uploads {
    pub fn new(bulk: Arc<Bulk>, client: AgentClient<Channel>) -> Self {
        Self {
            bulk,
            client,
            under_way: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Brings it, unless that is being done. Tries until it works: the agent says only once that it lacks it.
    pub fn want(&mut self, sha256: &str) {
        while self.tasks.try_join_next().is_some() {}
        if !self.under_way.lock().insert(sha256.to_owned()) {
            return;
        }
        let (bulk, client, under_way) = (
            self.bulk.clone(),
            self.client.clone(),
            self.under_way.clone(),
        );
        let sha256 = sha256.to_owned();
        self.tasks.spawn(async move {
            while let Err(error) = bring(&bulk, client.clone(), &sha256).await {
                tracing::warn!(sha256, error, "an archive did not get to the host yet");
                tokio::time::sleep(AGAIN).await;
            }
            under_way.lock().remove(&sha256);
        });
    }
}

async fn bring(bulk: &Bulk, mut client: AgentClient<Channel>, sha256: &str) -> Result<(), String> {
    let bytes = bulk.get(sha256).await.map_err(|error| error.to_string())?;
    let chunks = chunks(sha256, &bytes);
    client
        .put_archive(tokio_stream::iter(chunks))
        .await
        .map_err(|status| status.message().to_owned())?;
    Ok(())
}

/// At least one, also of an empty archive.
fn chunks(sha256: &str, bytes: &Bytes) -> Vec<ArchiveChunk> {
    let pieces = bytes.len().div_ceil(PIECE).max(1);
    let piece = |n: usize| bytes.slice(n * PIECE..bytes.len().min((n + 1) * PIECE));
    (0..pieces)
        .map(|n| ArchiveChunk {
            sha256: sha256.to_owned(),
            data: piece(n),
            last: n + 1 == pieces,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_once_and_an_end() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let all = chunks("x", &vec![7; len].into());
            assert_eq!(all.iter().map(|chunk| chunk.data.len()).sum::<usize>(), len);
            assert_eq!(all.iter().filter(|chunk| chunk.last).count(), 1);
            assert!(all.last().unwrap().last);
        }
    }
}
