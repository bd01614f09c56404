//! The simulated network: delays, losses, cuts in one direction, and replicas that are not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dstack_raft::testing::{Member, Raft, RpcError, SnapshotData, TypeConfig, Vote};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft::OptionalSend;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetAppend, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote,
    RPCOption, RaftNetworkFactory, stream_append_sequential,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::Shared;

type Snapshot = dstack_raft::testing::Snapshot;

pub struct Weather {
    random: ChaCha8Rng,
    pub nodes: BTreeMap<u64, Raft>,
    /// Directions in which nothing gets through.
    pub cut: BTreeSet<(u64, u64)>,
    /// Messages lost, per thousand.
    pub loss: u32,
    pub slowest: Duration,
}

#[derive(Clone)]
pub struct Net {
    pub weather: Arc<Mutex<Weather>>,
    ledger: Shared,
}

impl Net {
    pub fn new(seed: u64, ledger: Shared) -> Self {
        let weather = Weather {
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x006e_6574),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0,
            slowest: Duration::from_millis(5),
        };
        Net {
            weather: Arc::new(Mutex::new(weather)),
            ledger,
        }
    }

    pub fn from(&self, node: u64) -> Factory {
        Factory {
            net: self.clone(),
            from: node,
        }
    }

    /// One message on its way. False: it never arrives.
    async fn travel(&self, from: u64, to: u64) -> bool {
        let (delay, lost) = {
            let mut weather = self.weather.lock();
            let slowest = weather.slowest.as_micros() as u64;
            let delay = Duration::from_micros(weather.random.random_range(50..slowest.max(51)));
            let loss = weather.loss;
            (delay, weather.random.random_range(0..1000) < loss)
        };
        tokio::time::sleep(delay).await;
        !lost && !self.weather.lock().cut.contains(&(from, to))
    }

    fn node(&self, id: u64) -> Option<Raft> {
        self.weather.lock().nodes.get(&id).cloned()
    }
}

pub struct Factory {
    net: Net,
    from: u64,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &Member) -> Link {
        Link {
            net: self.net.clone(),
            from: self.from,
            to: target,
        }
    }
}

pub struct Link {
    net: Net,
    from: u64,
    to: u64,
}

impl Link {
    /// A question and its answer; either can be lost, and who asks cannot tell which.
    async fn ask<T, F: Future<Output = Option<T>>>(
        &self,
        limit: Duration,
        answer: impl FnOnce(Raft) -> F,
    ) -> Result<T, RpcError> {
        let round = async {
            if !self.net.travel(self.from, self.to).await {
                return std::future::pending().await;
            }
            let Some(raft) = self.net.node(self.to) else {
                return Err(Unreachable::from_string("nobody listens there").into());
            };
            let Some(reply) = answer(raft).await else {
                return Err(Unreachable::from_string("it has stopped").into());
            };
            if !self.net.travel(self.to, self.from).await {
                return std::future::pending().await;
            }
            Ok(reply)
        };
        match tokio::time::timeout(limit, round).await {
            Ok(result) => result,
            Err(_) => Err(NetworkError::from_string("no answer in time").into()),
        }
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<TypeConfig>,
        limit: Duration,
        pre: bool,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let (ledger, voter, wanted) = (self.net.ledger.clone(), self.to, rpc.vote.leader_id);
        self.ask(limit, |raft| async move {
            let reply = if pre {
                raft.pre_vote(rpc).await
            } else {
                raft.vote(rpc).await
            };
            let reply = reply.ok()?;
            // Written down where the vote is given: the answer may never arrive, the vote counts all the same.
            if reply.vote_granted && !pre {
                ledger.lock().granted(voter, wanted.term, wanted.voted_for);
            }
            ledger.lock().shows_term(voter, reply.vote.leader_id.term);
            Some(reply)
        })
        .await
    }
}

impl NetBackoff<TypeConfig> for Link {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(200))))
    }
}

impl NetVote<TypeConfig> for Link {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        // A candidate has voted for itself before it asks.
        let own = rpc.vote.leader_id;
        self.net
            .ledger
            .lock()
            .granted(own.voted_for, own.term, own.voted_for);
        self.ask_vote(rpc, option.soft_ttl(), false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, option.soft_ttl(), true).await
    }
}

impl NetAppend<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        self.net
            .ledger
            .lock()
            .leads(rpc.vote.leader_id.term, rpc.vote.leader_id.voted_for);
        self.net
            .ledger
            .lock()
            .shows_term(self.from, rpc.vote.leader_id.term);
        self.ask(option.soft_ttl(), |raft| async move {
            raft.append_entries(rpc).await.ok()
        })
        .await
    }
}

impl NetStreamAppend<TypeConfig> for Link {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, input, option)
    }
}

impl NetTransferLeader<TypeConfig> for Link {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        self.ask(option.soft_ttl(), |raft| async move {
            raft.handle_transfer_leader(req).await.ok()
        })
        .await
    }
}

impl NetSnapshot<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let install = self.ask(Duration::from_secs(2), |raft| async move {
            raft.install_full_snapshot(vote, snapshot).await.ok()
        });
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            reply = install => Ok(reply?),
        }
    }
}
