//! The single way into the log.
//!
//! Any replica takes any command. The door forwards it to the leader, waits while there is none, and sends it
//! again when nobody can tell whether it arrived: the request id makes a repetition harmless, because
//! applying remembers the answers it gave.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dstack_domain::command::{Actor, Command, Entry, Reply};
use dstack_domain::encoding::{EncodingError, decode_entry, encode_entry};
use dstack_domain::ids::RequestId;
use dstack_domain::rejection::Rejection;
use dstack_raft::{
    CallError, Handle, Leadership, NodeId, PeerService, Peers, ProposeError, Proposed,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::view::Views;
use crate::{env, limits, machine};

/// Name of the service on the peer channel.
const SERVICE: &str = "door";

/// A command that was applied.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub reply: Reply,
    /// The log index it was applied at; a view of at least this revision shows its effects.
    pub revision: u64,
}

/// Why a command was not applied.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Applied as a refusal; every replica agrees on it.
    #[error("{}", .0.message)]
    Rejected(Rejection),
    /// Nobody knows whether it was applied. Sending it again under the same request id is safe.
    #[error("the request was not confirmed: {0}; send it again")]
    Unavailable(String),
    #[error(
        "the request has {bytes} bytes, more than the {limit} one log entry may have; make the specification smaller (large files belong into `files` or a repo)"
    )]
    TooLarge { bytes: usize, limit: usize },
    /// A fenced command of a leader that no longer leads in that term.
    #[error("this replica no longer leads in term {term}")]
    Deposed { term: u64 },
    #[error("the command cannot be written down")]
    Form(#[source] EncodingError),
    #[error("this replica is stopping")]
    Stopped,
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Handle,
    peers: Peers,
    views: Views,
    places: Semaphore,
}

/// What one attempt came to.
enum Attempt {
    Done(Proposed),
    /// Somebody else leads, or nobody: look again when leadership moves.
    Elsewhere(&'static str),
    /// May or may not have been applied.
    Unclear(&'static str),
    Busy,
    TooLarge,
    Stopped,
}

impl Door {
    /// Opens the door and answers the ones of other replicas.
    pub fn open(raft: Handle, views: Views) -> Door {
        let peers = raft.peers();
        let inner = Arc::new(Inner {
            peers: peers.clone(),
            raft: raft.clone(),
            views,
            places: Semaphore::new(limits::DOOR_IN_FLIGHT),
        });
        peers.register(SERVICE, Arc::new(Counter { raft }));
        Door { inner }
    }

    /// Gets a command applied, whoever leads. Returns once this replica has applied it too.
    pub async fn submit(
        &self,
        actor: Actor,
        request: RequestId,
        command: Command,
    ) -> Result<Accepted, DoorError> {
        let inner = &self.inner;
        let payload = encode(actor, request, command)?;
        let _place = inner
            .places
            .try_acquire()
            .map_err(|_| DoorError::Unavailable("too many requests are waiting here".into()))?;
        let deadline = Instant::now() + limits::PARK;
        let proposed = inner.deliver(&payload, deadline).await?;
        inner.settle(proposed).await
    }

    /// Gets a command applied only if this replica leads in `term`: for the leader's own loops.
    pub async fn propose_as_leader(
        &self,
        term: u64,
        command: Command,
    ) -> Result<Accepted, DoorError> {
        let inner = &self.inner;
        let request = RequestId(env::uuid());
        let payload = encode(Actor::System, request, command)?;
        let deadline = Instant::now() + limits::PARK;
        let mut pause = limits::RETRY_FIRST;
        loop {
            match attempt(&inner.raft, payload.clone(), Some(term)).await {
                Attempt::Done(proposed) => return inner.settle(proposed).await,
                Attempt::Elsewhere(_) => return Err(DoorError::Deposed { term }),
                Attempt::Stopped => return Err(DoorError::Stopped),
                Attempt::TooLarge => return Err(too_large(payload.len())),
                // Not sent again: replies to the system are not remembered, and the loop decides anew.
                Attempt::Unclear(why) => return Err(DoorError::Unavailable(why.into())),
                Attempt::Busy if Instant::now() >= deadline => {
                    return Err(DoorError::Unavailable("the leader is busy".into()));
                }
                Attempt::Busy => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::RETRY_LAST);
        }
    }
}

impl Inner {
    /// Tries until the deadline; each failure waits for leadership to move, or a moment.
    async fn deliver(&self, payload: &Bytes, deadline: Instant) -> Result<Proposed, DoorError> {
        let mut leadership = self.raft.leadership();
        let mut pause = limits::RETRY_FIRST;
        let mut why;
        loop {
            let seen = leadership.borrow_and_update().clone();
            let attempt = tokio::select! {
                attempt = self.attempt(&seen, payload) => attempt,
                () = moved(leadership.clone(), &seen) => Attempt::Unclear("the leader changed meanwhile"),
                () = tokio::time::sleep_until(deadline) => Attempt::Unclear("the leader did not answer in time"),
            };
            why = match attempt {
                Attempt::Done(proposed) => return Ok(proposed),
                Attempt::TooLarge => return Err(too_large(payload.len())),
                Attempt::Stopped => return Err(DoorError::Stopped),
                Attempt::Elsewhere(why) | Attempt::Unclear(why) => why,
                Attempt::Busy => "the leader is busy",
            };
            if Instant::now() >= deadline {
                return Err(DoorError::Unavailable(why.into()));
            }
            let until = deadline.min(Instant::now() + pause);
            tokio::select! {
                () = moved(leadership.clone(), &seen) => pause = limits::RETRY_FIRST,
                () = tokio::time::sleep_until(until) => pause = (pause * 2).min(limits::RETRY_LAST),
            }
        }
    }

    async fn attempt(&self, seen: &Leadership, payload: &Bytes) -> Attempt {
        match seen.leader {
            None => Attempt::Elsewhere("there is no leader"),
            Some(id) if id == seen.me => attempt(&self.raft, payload.clone(), None).await,
            Some(id) => self.forward(id, payload.clone()).await,
        }
    }

    async fn forward(&self, leader: NodeId, payload: Bytes) -> Attempt {
        match self
            .peers
            .call(leader, SERVICE, payload, limits::FORWARD)
            .await
        {
            Ok(bytes) => match postcard::from_bytes(&bytes) {
                Ok(Forwarded::Done { index, term, reply }) => Attempt::Done(Proposed {
                    index,
                    term,
                    reply: reply.into(),
                }),
                Ok(Forwarded::NotLeader) => {
                    Attempt::Elsewhere("the leader had just lost its leadership")
                }
                Ok(Forwarded::Unclear) => {
                    Attempt::Unclear("the leader lost its leadership meanwhile")
                }
                Ok(Forwarded::Busy) => Attempt::Busy,
                Ok(Forwarded::TooLarge) => Attempt::TooLarge,
                Err(_) => {
                    Attempt::Unclear("the leader's answer is in a form this version does not know")
                }
            },
            Err(CallError::Unreachable(_)) => Attempt::Unclear("the leader cannot be reached"),
            Err(CallError::TimedOut) => Attempt::Unclear("the leader does not answer"),
            Err(CallError::Refused(why)) => {
                tracing::warn!(leader, why, "the leader refused a forwarded request");
                Attempt::Unclear("the leader refused the forwarded request")
            }
        }
    }

    /// Decodes the answer and waits until this replica shows the effect.
    async fn settle(&self, proposed: Proposed) -> Result<Accepted, DoorError> {
        let revision = proposed.index;
        // Late is not lost: the write is committed, and a reader asks for a barrier anyway.
        let _ = tokio::time::timeout(limits::READ_YOUR_WRITES, self.views.at(revision)).await;
        match machine::decode_reply(&proposed.reply) {
            Ok(Ok(reply)) => Ok(Accepted { reply, revision }),
            Ok(Err(rejection)) => Err(DoorError::Rejected(rejection)),
            Err(error) => Err(DoorError::Unavailable(format!(
                "it was applied, but {error}"
            ))),
        }
    }
}

fn encode(actor: Actor, request: RequestId, command: Command) -> Result<Bytes, DoorError> {
    let entry = Entry {
        index: 0,
        request,
        actor,
        at: env::now(),
        command,
    };
    let payload = encode_entry(&entry).map_err(DoorError::Form)?;
    if payload.len() > limits::ENTRY_BYTES {
        return Err(too_large(payload.len()));
    }
    Ok(payload.into())
}

fn too_large(bytes: usize) -> DoorError {
    DoorError::TooLarge {
        bytes,
        limit: limits::ENTRY_BYTES,
    }
}

/// One proposal on this replica.
async fn attempt(raft: &Handle, payload: Bytes, fence: Option<u64>) -> Attempt {
    match raft.propose(payload, fence).await {
        Ok(proposed) => Attempt::Done(proposed),
        Err(ProposeError::NotLeader { .. }) => {
            Attempt::Elsewhere("this replica lost its leadership")
        }
        Err(ProposeError::Fenced) => Attempt::Elsewhere("the term is over"),
        Err(ProposeError::Unknown) => {
            Attempt::Unclear("leadership was lost before it was confirmed")
        }
        Err(ProposeError::Busy) => Attempt::Busy,
        Err(ProposeError::Stopped(_)) => Attempt::Stopped,
    }
}

/// Returns when the leader is another one than `seen`, or leads in another term.
async fn moved(mut leadership: watch::Receiver<Leadership>, seen: &Leadership) {
    let other = |now: &Leadership| now.leader != seen.leader || now.term != seen.term;
    if leadership.wait_for(other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The leader's answer to a forwarded command.
#[derive(Serialize, Deserialize)]
enum Forwarded {
    Done {
        index: u64,
        term: u64,
        reply: Vec<u8>,
    },
    NotLeader,
    Unclear,
    Busy,
    TooLarge,
}

/// The leader's side of forwarding. It never forwards further: a request makes one hop.
struct Counter {
    raft: Handle,
}

#[async_trait]
impl PeerService for Counter {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String> {
        let answer = match restamp(&body) {
            Ok(payload) if payload.len() > limits::ENTRY_BYTES => Forwarded::TooLarge,
            Ok(payload) => match attempt(&self.raft, payload, None).await {
                Attempt::Done(done) => Forwarded::Done {
                    index: done.index,
                    term: done.term,
                    reply: done.reply.to_vec(),
                },
                Attempt::Elsewhere(_) | Attempt::Stopped => Forwarded::NotLeader,
                Attempt::Unclear(_) => Forwarded::Unclear,
                Attempt::Busy => Forwarded::Busy,
                Attempt::TooLarge => Forwarded::TooLarge,
            },
            Err(why) => {
                tracing::warn!(from, why, "refused a forwarded request");
                return Err(why);
            }
        };
        postcard::to_stdvec(&answer)
            .map(Bytes::from)
            .map_err(|error| error.to_string())
    }
}

/// The leader's clock is the one in the log: the clocks of several replicas would make time go back and forth.
fn restamp(body: &Bytes) -> Result<Bytes, String> {
    let mut entry = decode_entry(body).map_err(|error| error.to_string())?;
    entry.at = env::now();
    encode_entry(&entry)
        .map(Bytes::from)
        .map_err(|error| error.to_string())
}

/// How long a caller should wait before it tries again after [`DoorError::Unavailable`].
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
