//! Between openraft's messages and the peer protocol. Pure.

use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::encoding::{self, DecodeError};
use crate::proto;
use crate::proto::append_reply::{Matched, Outcome};
use crate::proto::transfer_reply::{LogNotFlushed, Refusal, VoteChanged};
use crate::types::{LogId, TypeConfig, Vote, log_id, term_of};

/// What a follower says to one append request.
pub type Appended = Result<Option<LogId>, StreamAppendError<TypeConfig>>;

/// A message that lacks what it must have.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a message came without its {0}")]
    Missing(&'static str),
    #[error("a message holds an entry that cannot be read")]
    Entry(#[from] DecodeError),
}

pub fn vote_to(v: &Vote) -> proto::Vote {
    proto::Vote {
        term: v.leader_id.term,
        node: v.leader_id.voted_for,
        committed: v.committed,
    }
}

pub fn vote_from(v: &proto::Vote) -> Vote {
    encoding::vote(v.term, v.node, v.committed)
}

pub fn log_id_to(id: &LogId) -> proto::LogId {
    proto::LogId {
        term: term_of(id),
        index: id.index,
    }
}

pub fn log_id_from(id: &proto::LogId) -> LogId {
    log_id(id.term, id.index)
}

fn need_vote(v: &Option<proto::Vote>) -> Result<Vote, WireError> {
    v.as_ref().map(vote_from).ok_or(WireError::Missing("vote"))
}

pub fn append_to(req: &AppendEntriesRequest<TypeConfig>) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(vote_to(&req.vote)),
        prev: req.prev_log_id.as_ref().map(log_id_to),
        commit: req.leader_commit.as_ref().map(log_id_to),
        entries: req.entries.iter().map(encoding::encode_entry).collect(),
    }
}

pub fn append_from(
    req: &proto::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    Ok(AppendEntriesRequest {
        vote: need_vote(&req.vote)?,
        prev_log_id: req.prev.as_ref().map(log_id_from),
        leader_commit: req.commit.as_ref().map(log_id_from),
        entries: req
            .entries
            .iter()
            .map(encoding::decode_entry)
            .collect::<Result<_, _>>()?,
    })
}

pub fn appended_to(result: &Appended) -> proto::AppendReply {
    let outcome = match result {
        Ok(last) => Outcome::Matched(Matched {
            last: last.as_ref().map(log_id_to),
        }),
        Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(log_id_to(at)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote_to(vote)),
    };
    proto::AppendReply {
        outcome: Some(outcome),
    }
}

pub fn appended_from(reply: &proto::AppendReply) -> Result<Appended, WireError> {
    match reply
        .outcome
        .as_ref()
        .ok_or(WireError::Missing("outcome"))?
    {
        Outcome::Matched(m) => Ok(Ok(m.last.as_ref().map(log_id_from))),
        Outcome::Conflict(at) => Ok(Err(StreamAppendError::Conflict(log_id_from(at)))),
        Outcome::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote_from(vote)))),
    }
}

pub fn vote_request_to(req: &VoteRequest<TypeConfig>, pre_vote: bool) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_to(&req.vote)),
        last_log: req.last_log_id.as_ref().map(log_id_to),
        leadership_transfer: req.leadership_transfer,
        pre_vote,
    }
}

pub fn vote_request_from(req: &proto::VoteRequest) -> Result<VoteRequest<TypeConfig>, WireError> {
    let mut request = VoteRequest::new(
        need_vote(&req.vote)?,
        req.last_log.as_ref().map(log_id_from),
    );
    request.leadership_transfer = req.leadership_transfer;
    Ok(request)
}

pub fn vote_reply_to(reply: &VoteResponse<TypeConfig>) -> proto::VoteReply {
    proto::VoteReply {
        vote: Some(vote_to(&reply.vote)),
        granted: reply.vote_granted,
        last_log: reply.last_log_id.as_ref().map(log_id_to),
    }
}

pub fn vote_reply_from(reply: &proto::VoteReply) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse::new(
        need_vote(&reply.vote)?,
        reply.last_log.as_ref().map(log_id_from),
        reply.granted,
    ))
}

pub fn transfer_to(req: &TransferLeaderRequest<TypeConfig>) -> proto::TransferRequest {
    proto::TransferRequest {
        from: Some(vote_to(req.from_leader())),
        to: *req.to_node_id(),
        last_log: req.last_log_id().map(log_id_to),
    }
}

pub fn transfer_from(
    req: &proto::TransferRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    Ok(TransferLeaderRequest::new(
        need_vote(&req.from)?,
        req.to,
        req.last_log.as_ref().map(log_id_from),
    ))
}

pub fn transfer_reply_to(reply: &TransferLeaderResponse<TypeConfig>) -> proto::TransferReply {
    let refusal = match reply {
        Ok(()) => None,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Some(Refusal::VoteChanged(VoteChanged {
                expected: Some(vote_to(expected)),
                actual: Some(vote_to(actual)),
            }))
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Some(Refusal::LogNotFlushed(LogNotFlushed {
                expected: expected.as_ref().map(log_id_to),
                actual: actual.as_ref().map(log_id_to),
            }))
        }
    };
    proto::TransferReply { refusal }
}

pub fn transfer_reply_from(
    reply: &proto::TransferReply,
) -> Result<TransferLeaderResponse<TypeConfig>, WireError> {
    Ok(match &reply.refusal {
        None => Ok(()),
        Some(Refusal::VoteChanged(v)) => Err(TransferLeaderError::VoteChanged {
            expected: need_vote(&v.expected)?,
            actual: need_vote(&v.actual)?,
        }),
        Some(Refusal::LogNotFlushed(l)) => Err(TransferLeaderError::LogNotFlushed {
            expected: l.expected.as_ref().map(log_id_from),
            actual: l.actual.as_ref().map(log_id_from),
        }),
    })
}
