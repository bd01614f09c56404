//! Answers peers. Each method checks its caller first, then hands on to the core.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::MAX_MESSAGE;
use super::caller::{self, Caller};
use crate::context::{Context, Running};
use crate::proto::peer_server::{Peer, PeerServer};
use crate::proto::{
    AppendReply, AppendRequest, CallReply, CallRequest, HelloReply, HelloRequest, Member,
    ReadIndexReply, ReadIndexRequest, SnapshotFrame, SnapshotReply, TransferReply, TransferRequest,
    VoteReply, VoteRequest, call_reply,
};
use crate::snapshot::{self, Arrived, ReceiveError, Receiver};
use crate::types::{Fatal, Vote};
use crate::{read, wire};

/// A snapshot whose sender falls silent this long is given up.
const SNAPSHOT_SILENCE: Duration = Duration::from_secs(30);

pub struct Service {
    ctx: Arc<Context>,
}

pub fn server(ctx: Arc<Context>) -> PeerServer<Service> {
    PeerServer::new(Service { ctx })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

impl Service {
    fn admit<T>(&self, request: &Request<T>) -> Result<(Caller, Arc<Running>), Status> {
        let running = self
            .ctx
            .running()
            .ok_or_else(|| Status::unavailable("this replica is not running (yet)"))?;
        let caller = caller::checked(&self.ctx, &running.membership(), request)?;
        Ok((caller, running))
    }
}

fn malformed(e: impl std::error::Error) -> Status {
    Status::invalid_argument(crate::error::chain(&e))
}

fn fatal(e: &Fatal) -> Status {
    Status::unavailable(format!("this replica has stopped: {e}"))
}

/// Only a leader speaks for itself: a vote in the caller's name, not in somebody else's.
fn speaks_for_itself(caller: &Caller, vote: &Vote) -> Result<(), Status> {
    if vote.leader_id.voted_for == caller.id {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "replica {} speaks with the vote of {vote}",
        caller.id
    )))
}

type Replies = Pin<Box<dyn Stream<Item = Result<AppendReply, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for Service {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let name = caller::name(&self.ctx, &request)?;
        let membership = self.ctx.membership();
        let members: Vec<Member> = membership
            .membership()
            .nodes()
            .map(|(id, m)| Member {
                id: *id,
                name: m.name.clone(),
                addr: m.addr.clone(),
            })
            .collect();
        let met = self.ctx.met.lock();
        let met_caller = members.iter().any(|m| m.name == name && met.has(m.id));
        let identity = self.ctx.identity();
        Ok(Response::new(HelloReply {
            name: self.ctx.name.clone(),
            initial: self.ctx.initial.clone(),
            cluster_id: identity.map(|i| i.cluster_id.clone()).unwrap_or_default(),
            node_id: self.ctx.me(),
            members,
            met_caller,
        }))
    }

    type AppendStream = Replies;

    async fn append(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (caller, running) = self.admit(&request)?;
        let requests = tokio_stream::StreamExt::map_while(request.into_inner(), move |message| {
            let decoded = message
                .map_err(|status| status.message().to_owned())
                .and_then(|message| {
                    let request =
                        wire::append_from(&message).map_err(|e| crate::error::chain(&e))?;
                    speaks_for_itself(&caller, &request.vote)
                        .map_err(|status| status.message().to_owned())?;
                    Ok(request)
                });
            decoded
                .inspect_err(|reason| {
                    tracing::debug!(from = caller.id, reason, "append stream ended")
                })
                .ok()
        });
        let replies = running
            .raft
            .stream_append(requests)
            .map(|result| match result {
                Ok(appended) => Ok(wire::appended_to(&appended)),
                Err(e) => Err(fatal(&e)),
            });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn request_vote(
        &self,
        request: Request<VoteRequest>,
    ) -> Result<Response<VoteReply>, Status> {
        let (caller, running) = self.admit(&request)?;
        let message = request.into_inner();
        let vote = wire::vote_request_from(&message).map_err(malformed)?;
        speaks_for_itself(&caller, &vote.vote)?;
        let answer = if message.pre_vote {
            running.raft.pre_vote(vote).await
        } else {
            running.raft.vote(vote).await
        };
        match answer {
            Ok(reply) => Ok(Response::new(wire::vote_reply_to(&reply))),
            Err(e) => Err(Status::unavailable(e.to_string())),
        }
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferReply>, Status> {
        let (caller, running) = self.admit(&request)?;
        let transfer = wire::transfer_from(&request.into_inner()).map_err(malformed)?;
        speaks_for_itself(&caller, transfer.from_leader())?;
        let reply = running
            .raft
            .handle_transfer_leader(transfer)
            .await
            .map_err(|e| fatal(&e))?;
        Ok(Response::new(wire::transfer_reply_to(&reply)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotFrame>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        let (caller, running) = self.admit(&request)?;
        let arrived = receive(&running, request.into_inner(), &caller).await?;
        let snapshot = openraft::Snapshot {
            meta: arrived.meta,
            snapshot: arrived.data,
        };
        let reply = running
            .raft
            .install_full_snapshot(arrived.vote, snapshot)
            .await;
        match reply {
            Ok(reply) => Ok(Response::new(snapshot::reply(&reply.vote))),
            Err(e) => Err(Status::unavailable(e.to_string())),
        }
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexReply>, Status> {
        let (_, running) = self.admit(&request)?;
        let index = read::leader_index(&running.raft)
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(Response::new(ReadIndexReply { index }))
    }

    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallReply>, Status> {
        let (caller, _) = self.admit(&request)?;
        let CallRequest { service, body } = request.into_inner();
        let handler = self.ctx.services.read().get(service.as_str()).cloned();
        let Some(handler) = handler else {
            return Err(Status::unimplemented(format!(
                "this replica has no service {service:?}"
            )));
        };
        let outcome = match handler.call(caller.id, body).await {
            Ok(body) => call_reply::Outcome::Body(body),
            Err(refused) => call_reply::Outcome::Refused(refused),
        };
        Ok(Response::new(CallReply {
            outcome: Some(outcome),
        }))
    }
}

/// Takes a whole snapshot off the stream; disk work happens off the runtime's threads.
async fn receive(
    running: &Running,
    mut frames: Streaming<SnapshotFrame>,
    caller: &Caller,
) -> Result<Arrived, Status> {
    let refused = |e: ReceiveError| match &e {
        ReceiveError::Protocol(_) => Status::data_loss(e.to_string()),
        ReceiveError::Storage(_) => Status::internal(crate::error::chain(&e)),
    };
    let first = next(&mut frames)
        .await?
        .ok_or_else(|| Status::data_loss("an empty snapshot stream"))?;
    let state = running.state.clone();
    let begun = blocking(move || Receiver::begin(state.as_ref(), first)).await?;
    let mut receiver = begun.map_err(refused)?;
    speaks_for_itself(caller, receiver.vote())?;
    while let Some(frame) = next(&mut frames).await? {
        let (back, taken) = blocking(move || {
            let taken = receiver.take(frame);
            (receiver, taken)
        })
        .await?;
        taken.map_err(refused)?;
        receiver = back;
    }
    receiver.finish().map_err(refused)
}

async fn next(frames: &mut Streaming<SnapshotFrame>) -> Result<Option<SnapshotFrame>, Status> {
    match tokio::time::timeout(SNAPSHOT_SILENCE, frames.message()).await {
        Ok(frame) => frame,
        Err(_) => Err(Status::deadline_exceeded(
            "the sender of the snapshot fell silent",
        )),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Status::internal("receiving a snapshot panicked"))
}
