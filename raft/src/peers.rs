//! Opaque calls between replicas, over the same authenticated listener as consensus but on a
//! connection of their own: forwarded requests, log chunks, liveness digests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tonic::{Code, Status};

use crate::NodeId;
use crate::context::Context;
use crate::error::CallError;
use crate::proto::{CallRequest, call_reply};
use crate::transport::caller;

/// Another replica, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: NodeId,
    pub name: String,
    /// `host:port` of its peer listener.
    pub addr: String,
}

/// What the node answers under a name. `from` is a member whose certificate was checked.
#[async_trait]
pub trait PeerService: Send + Sync + 'static {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String>;
}

#[derive(Clone)]
pub struct Peers {
    pub(crate) ctx: Arc<Context>,
}

impl Peers {
    /// The id of this replica.
    pub fn me(&self) -> NodeId {
        self.ctx.me()
    }

    /// All members, this replica too, in the order of their ids.
    pub fn list(&self) -> Vec<Peer> {
        let membership = self.ctx.membership();
        let nodes = membership.membership().nodes();
        nodes
            .map(|(id, m)| Peer {
                id: *id,
                name: m.name.clone(),
                addr: m.addr.clone(),
            })
            .collect()
    }

    /// Answers calls to `service` from now on.
    pub fn register(&self, service: &'static str, handler: Arc<dyn PeerService>) {
        self.ctx.services.write().insert(service, handler);
    }

    /// Asks one member. A call to this replica itself takes no detour over the network.
    pub async fn call(
        &self,
        to: NodeId,
        service: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        match tokio::time::timeout(timeout, self.ask(to, service, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::TimedOut),
        }
    }

    async fn ask(
        &self,
        to: NodeId,
        service: &'static str,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        if to == self.me() {
            let handler = self.ctx.services.read().get(service).cloned();
            let handler = handler
                .ok_or_else(|| CallError::Refused(format!("no service {service:?} here")))?;
            return handler.call(to, body).await.map_err(CallError::Refused);
        }
        let member = self.ctx.member(to);
        let member = member
            .ok_or_else(|| CallError::Unreachable(format!("replica {to} is not a member")))?;
        let mut client = self.ctx.caller(to, &member);
        let request = CallRequest {
            service: service.to_owned(),
            body,
        };
        let reply = client
            .call(caller::stamped(&self.ctx, Some(to), request))
            .await
            .map_err(refused)?;
        match reply.into_inner().outcome {
            Some(call_reply::Outcome::Body(body)) => Ok(body),
            Some(call_reply::Outcome::Refused(reason)) => Err(CallError::Refused(reason)),
            None => Err(CallError::Refused(
                "the peer answered with nothing".to_owned(),
            )),
        }
    }
}

fn refused(status: Status) -> CallError {
    match status.code() {
        Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::ResourceExhausted => CallError::Refused(status.message().to_owned()),
        Code::DeadlineExceeded => CallError::TimedOut,
        _ => CallError::Unreachable(status.message().to_owned()),
    }
}
