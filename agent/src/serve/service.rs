//! The gRPC service on the agent's socket.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dstack_api::agent::agent_server::Agent;
use dstack_api::agent::{
    ArchiveChunk, Down, HelloReply, HelloRequest, PutArchiveReply, ShutdownReply, ShutdownRequest,
    Up,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::archives;
use super::link::Link;
use super::reconciler::{Handles, Message};
use crate::facts;
use crate::home::Home;
use crate::ledger::Refusal;
use crate::process_table;

/// Messages under way to a server.
const UP_QUEUE: usize = 16;

pub struct AgentService {
    home: Home,
    runtime: &'static str,
    handles: Handles,
    links: AtomicU64,
    stop: Arc<watch::Sender<bool>>,
}

impl AgentService {
    pub fn new(home: Home, runtime: &'static str, handles: Handles) -> Self {
        Self {
            home,
            runtime,
            handles,
            links: AtomicU64::new(1),
            stop: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Resolves when a server has shut the agent down.
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stopped = self.stop.subscribe();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let gone = || Status::unavailable("the agent is shutting down");
        self.handles
            .inbox
            .send(message(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let HelloRequest {
            epoch,
            cluster_id,
            instance_id,
            server_version: _,
        } = request.into_inner();
        let met = self
            .ask(|reply| Message::Meet {
                cluster: cluster_id,
                instance: instance_id,
                epoch,
                reply,
            })
            .await?;
        let epoch_seen = met.map_err(|refusal| match refusal {
            Refusal::OtherCluster { .. } => Status::permission_denied(refusal.to_string()),
            _ => Status::internal(refusal.to_string()),
        })?;
        let root = self.home.root().to_owned();
        let facts = tokio::task::spawn_blocking(move || facts::gather(&root))
            .await
            .map_err(|error| Status::internal(format!("cannot look at the host: {error}")))?;
        Ok(Response::new(HelloReply {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch_seen,
            facts: Some(facts),
            runtime: self.runtime.to_owned(),
            boot_id: process_table::boot_id(),
        }))
    }

    type LinkStream = ReceiverStream<Result<Up, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<Down>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (up, stream) = mpsc::channel(UP_QUEUE);
        let id = self.links.fetch_add(1, Ordering::Relaxed);
        let link = Link::new(id, self.handles.clone(), up);
        tokio::spawn(link.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn put_archive(
        &self,
        request: Request<Streaming<ArchiveChunk>>,
    ) -> Result<Response<PutArchiveReply>, Status> {
        archives::receive(&self.home, request.into_inner()).await?;
        let _ = self.handles.inbox.send(Message::Look).await;
        Ok(Response::new(PutArchiveReply { stored: true }))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownReply>, Status> {
        let force = request.into_inner().force;
        let answer = self.ask(|reply| Message::Shutdown { force, reply }).await?;
        let accepted = answer.is_ok();
        if accepted {
            let stop = self.stop.clone();
            // The answer goes out before the process does.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                stop.send_replace(true);
            });
        }
        Ok(Response::new(ShutdownReply {
            accepted,
            why: answer.err().unwrap_or_default(),
        }))
    }
}
