//! openraft's way to its peers: one client per purpose, each on a connection of its own, so that
//! neither a fat batch nor a snapshot delays a heartbeat.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::NodeId;
use crate::context::Context;
use crate::proto::AppendReply;
use crate::proto::peer_client::PeerClient;
use crate::snapshot::{self, SnapshotData};
use crate::transport::caller;
use crate::types::{Member, RpcError, Snapshot, TypeConfig, Vote};
use crate::wire;

/// A stream whose oldest request has no answer for this long is given up and opened anew. Without
/// it a half-open connection would stop replication past the end of a partition.
const STALL: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Network {
    ctx: Arc<Context>,
}

impl Network {
    pub fn new(ctx: Arc<Context>) -> Self {
        Network { ctx }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, member: &Member) -> Link {
        Link {
            ctx: self.ctx.clone(),
            target,
            client: self.ctx.dialer.client(&member.name, &member.addr),
        }
    }
}

/// The way to one peer for one purpose.
pub struct Link {
    ctx: Arc<Context>,
    target: NodeId,
    client: PeerClient<Channel>,
}

impl Link {
    fn request<T>(&self, message: T) -> Request<T> {
        caller::stamped(&self.ctx, Some(self.target), message)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => Err(NetworkError::from_string(format!(
                "replica {} did not answer in {limit:?}",
                self.target
            ))
            .into()),
        }
    }

    /// A refusal is told to the operator: it does not heal by waiting.
    fn failed(&self, status: &Status) -> RpcError {
        if matches!(
            status.code(),
            Code::PermissionDenied | Code::FailedPrecondition | Code::Unauthenticated
        ) {
            tracing::warn!(
                peer = self.target,
                reason = status.message(),
                "a peer refused this replica"
            );
        }
        Unreachable::from_string(format!("replica {}: {}", self.target, status.message())).into()
    }

    fn unreadable(&self, e: wire::WireError) -> RpcError {
        NetworkError::from_string(format!(
            "replica {}: {}",
            self.target,
            crate::error::chain(&e)
        ))
        .into()
    }
}

impl NetBackoff<TypeConfig> for Link {
    fn backoff(&self) -> Option<Backoff> {
        // A peer that comes back should not be kept waiting for long: retries are cheap.
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(200))))
    }
}

impl NetVote<TypeConfig> for Link {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, option, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, option, true).await
    }
}

impl Link {
    async fn ask_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
        pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let request = self.request(wire::vote_request_to(&rpc, pre_vote));
        let mut client = self.client.clone();
        let reply = self
            .within(option.soft_ttl(), client.request_vote(request))
            .await?;
        wire::vote_reply_from(&reply).map_err(|e| self.unreadable(e))
    }
}

impl NetTransferLeader<TypeConfig> for Link {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let request = self.request(wire::transfer_to(&req));
        let mut client = self.client.clone();
        let reply = self
            .within(option.soft_ttl(), client.transfer_leader(request))
            .await?;
        wire::transfer_reply_from(&reply).map_err(|e| self.unreadable(e))
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
        Box::pin(async move {
            let mut input = input;
            // openraft waits its backoff inside the request stream. Were the peer dialled before the
            // first request is taken, a refused connection would be dialled again without any pause.
            let Some(first) = input.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            let sent = Arc::new(AtomicU64::new(0));
            let counter = sent.clone();
            let outbound = futures::stream::once(std::future::ready(first))
                .chain(input)
                .map(move |request| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    wire::append_to(&request)
                });
            let request = self.request(outbound);
            let mut client = self.client.clone();
            let replies = self
                .within(option.soft_ttl().max(STALL), client.append(request))
                .await?;
            let state = Replies {
                link: self,
                replies,
                sent,
                answered: 0,
                over: false,
            };
            let stream: BoxStream<'s, _> = futures::stream::unfold(state, Replies::next).boxed();
            Ok(stream)
        })
    }
}

/// Replies of one append stream, in the order of its requests.
struct Replies<'s> {
    link: &'s Link,
    replies: Streaming<AppendReply>,
    sent: Arc<AtomicU64>,
    answered: u64,
    over: bool,
}

impl Replies<'_> {
    async fn next(mut self) -> Option<(Result<StreamAppendResult<TypeConfig>, RpcError>, Self)> {
        if self.over {
            return None;
        }
        let result = match self.message().await {
            Ok(None) => return None,
            Ok(Some(reply)) => wire::appended_from(&reply).map_err(|e| self.link.unreadable(e)),
            Err(e) => Err(e),
        };
        self.answered += 1;
        // A conflict, a higher vote or an error is the last word of a stream.
        self.over = !matches!(result, Ok(Ok(_)));
        Some((result, self))
    }

    /// Waits as long as nothing is owed; an answer that is owed must come within [`STALL`].
    async fn message(&mut self) -> Result<Option<AppendReply>, RpcError> {
        loop {
            let owed = self.sent.load(Ordering::Relaxed) > self.answered;
            match tokio::time::timeout(STALL, self.replies.message()).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(status)) => return Err(self.link.failed(&status)),
                Err(_) if owed => {
                    let reason =
                        format!("replica {} owes an answer for {STALL:?}", self.link.target);
                    return Err(NetworkError::from_string(reason).into());
                }
                Err(_) => {}
            }
        }
    }
}

impl NetSnapshot<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Held(data) = snapshot.snapshot else {
            return Err(Unreachable::from_string(
                "a snapshot that is not installed here cannot be sent on",
            )
            .into());
        };
        tracing::info!(
            peer = self.target,
            bytes = data.manifest().total_size(),
            "sending a snapshot"
        );
        let frames = snapshot::send(vote, &snapshot.meta, data);
        let request = self.request(ReceiverStream::new(frames));
        let mut client = self.client.clone();
        let reply = tokio::select! {
            closed = cancel => return Err(closed.into()),
            reply = self.within(option.soft_ttl(), client.install_snapshot(request)) => reply?,
        };
        let vote = reply.vote.as_ref().map(wire::vote_from);
        let vote =
            vote.ok_or_else(|| NetworkError::from_string("the reply to a snapshot names no vote"))?;
        Ok(SnapshotResponse::new(vote))
    }
}
