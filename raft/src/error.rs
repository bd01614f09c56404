//! Errors a caller of this crate has to tell apart.

use std::error::Error;
use std::path::PathBuf;

use crate::NodeId;

/// The causes of an error in one line, each said once.
pub fn chain(e: &dyn Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}

/// The replica's core is gone; the process must exit and be started again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this replica has stopped: {reason}")]
pub struct Stopped {
    pub reason: String,
}

/// Why a proposal has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not in the log: this replica does not lead. Safe to send elsewhere.
    #[error("this replica does not lead{}", known(leader))]
    NotLeader { leader: Option<NodeId> },
    /// Not in the log: the leadership the proposal was made under has ended.
    #[error("the leadership this was proposed under has ended")]
    Fenced,
    /// In some log, and may still be committed. Only a request id can tell what became of it.
    #[error("the outcome is unknown: it may still be committed")]
    Unknown,
    /// Not in the log: too many proposals are in flight. Try again shortly.
    #[error("too many proposals are in flight")]
    Busy,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a linearizable read could not be promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("no leader answers{}", known(leader))]
    NoLeader { leader: Option<NodeId> },
    #[error("the leader cannot reach a majority")]
    NoMajority,
    #[error("this replica did not catch up with the leader in time")]
    Behind,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error("this replica does not lead")]
    NotLeader,
    #[error("no other voter is there to lead")]
    NoCandidate,
    #[error("no voter took over in time")]
    TimedOut,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why the set of members was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("members are changed at the leader{}", known(leader))]
    NotLeader { leader: Option<NodeId> },
    #[error("{name} is a member already, with id {id}; remove it first, a new one gets a new id")]
    NameTaken { name: String, id: NodeId },
    #[error("{0} is not a member")]
    Unknown(NodeId),
    #[error("refused: {0}")]
    Refused(String),
    /// The change may still be committed; look at the members before trying again.
    #[error("the outcome is unknown: look at the members before trying again")]
    OutcomeUnknown,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a call to a peer has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It may or may not have been heard.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// It was heard, and the answer is no.
    #[error("the peer refused: {0}")]
    Refused(String),
    /// It may or may not have been carried out.
    #[error("the peer did not answer in time")]
    TimedOut,
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the options are not usable: {0}")]
    Options(String),
    #[error("cannot listen for peers on {addr}")]
    Listen {
        addr: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the replica's certificate cannot be used")]
    Tls(#[from] crate::tls::TlsError),
    #[error("the data of this replica cannot be used")]
    Storage(#[from] dstack_storage::StorageError),
    #[error("the state of this replica cannot be loaded")]
    State(#[source] std::io::Error),
    #[error("cannot use the file {path}", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the cluster cannot be formed: {0}")]
    Formation(String),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn known(leader: &Option<NodeId>) -> String {
    leader
        .map(|id| format!("; replica {id} does, as far as is known here"))
        .unwrap_or_default()
}
