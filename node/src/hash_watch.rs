//! Compares what the replicas made of the same log.
//!
//! Every replica remembers the rolling state hash of its last applied entries and asks the others for theirs
//! at the same indexes. Equal logs give equal hashes; when a majority of the voters agrees on another hash
//! than this replica has, this replica is the one that is wrong, and it stops before it can spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::{Handle, NodeId, PeerService, Role};

use crate::limits;
use crate::machine::Hashes;
use crate::telemetry::events;

const SERVICE: &str = "hashes";

/// Hashes by log index.
type Known = BTreeMap<u64, u64>;

/// Answers other replicas, and watches until this one is proven wrong; then returns why.
pub async fn watch(raft: Handle, hashes: Hashes) -> String {
    raft.peers().register(
        SERVICE,
        Arc::new(Teller {
            hashes: hashes.clone(),
        }),
    );
    loop {
        tokio::time::sleep(limits::HASH_WATCH).await;
        if let Some(index) = compare(&raft, &hashes).await {
            return format!(
                "this replica's state differs from the majority's at log index {index}; move its server folder \
                 away (keep it, it is evidence) and let the replica join again"
            );
        }
    }
}

async fn compare(raft: &Handle, hashes: &Hashes) -> Option<u64> {
    let asked = hashes.sample(limits::HASH_SAMPLES);
    let body = Bytes::from(postcard::to_stdvec(&asked).ok()?);
    let peers = raft.peers();
    let me = peers.me();
    let voters: Vec<NodeId> = raft
        .status()
        .ok()?
        .members
        .iter()
        .filter(|m| m.role == Role::Voter)
        .map(|m| m.id)
        .collect();
    let answers = voters.iter().filter(|id| **id != me).map(async |id| {
        let answer = peers
            .call(*id, SERVICE, body.clone(), limits::PEER_QUESTION)
            .await
            .ok()?;
        Some((*id, postcard::from_bytes::<Known>(&answer).ok()?))
    });
    let answers: Vec<(NodeId, Known)> = futures::future::join_all(answers)
        .await
        .into_iter()
        .flatten()
        .collect();
    asked.into_iter().find(|index| {
        hashes
            .at(*index)
            .is_some_and(|mine| outvoted(*index, mine, &answers, voters.len()))
    })
}

/// Whether a majority of all voters agrees on another hash than `mine`.
fn outvoted(index: u64, mine: u64, answers: &[(NodeId, Known)], voters: usize) -> bool {
    let theirs: Vec<(NodeId, u64)> = answers
        .iter()
        .filter_map(|(id, known)| known.get(&index).map(|hash| (*id, *hash)))
        .collect();
    if theirs.iter().all(|(_, hash)| *hash == mine) {
        if !theirs.is_empty() {
            events::HashesAgree {
                index,
                replicas: theirs.len() + 1,
            }
            .emit();
        }
        return false;
    }
    events::HashesDiffer {
        index,
        mine,
        theirs: &theirs,
    }
    .emit();
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, hash) in theirs.iter().filter(|(_, hash)| *hash != mine) {
        *votes.entry(*hash).or_default() += 1;
    }
    votes.values().any(|count| *count > voters / 2)
}

struct Teller {
    hashes: Hashes,
}

#[async_trait]
impl PeerService for Teller {
    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, String> {
        let asked: Vec<u64> = postcard::from_bytes(&body).map_err(|error| error.to_string())?;
        let known: Known = asked
            .into_iter()
            .take(limits::HASH_SAMPLES * 2)
            .filter_map(|index| Some((index, self.hashes.at(index)?)))
            .collect();
        postcard::to_stdvec(&known)
            .map(Bytes::from)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: NodeId, hash: u64) -> (NodeId, Known) {
        (id, Known::from([(7, hash)]))
    }

    #[test]
    fn only_a_majority_proves_this_replica_wrong() {
        assert!(outvoted(7, 1, &[said(2, 9), said(3, 9)], 3));
        assert!(
            !outvoted(7, 1, &[said(2, 9), said(3, 1)], 3),
            "the other one is wrong"
        );
        assert!(
            !outvoted(7, 1, &[said(2, 9)], 3),
            "one against one proves nothing"
        );
        assert!(
            !outvoted(7, 1, &[said(2, 8), said(3, 9)], 3),
            "nobody agrees with anybody"
        );
        assert!(!outvoted(7, 1, &[said(2, 1), said(3, 1)], 3));
        assert!(
            !outvoted(6, 1, &[said(2, 9), said(3, 9)], 3),
            "not about this index"
        );
    }
}
