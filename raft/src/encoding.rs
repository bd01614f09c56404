//! How log entries, votes and memberships lie on disk and travel on the wire.
//!
//! The structs here are ours: openraft renames fields between its alphas, and a rename must stay a
//! code change, never a data migration. Every value starts with a version byte; a version this
//! build does not know is an error that names it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{
    Entry, LogId, Member, Membership, Payload, StoredMembership, Vote, log_id, term_of,
};

const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("{what}: empty value")]
    Empty { what: &'static str },
    #[error(
        "{what}: written in format {found}, this build knows format {VERSION}; run the build that wrote it, or a newer one"
    )]
    Version { what: &'static str, found: u8 },
    #[error("{what}: not decodable")]
    Malformed {
        what: &'static str,
        #[source]
        source: postcard::Error,
    },
    #[error("{what}: {reason}")]
    Invalid { what: &'static str, reason: String },
}

impl From<DecodeError> for std::io::Error {
    fn from(e: DecodeError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, e)
    }
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct StoredLogId {
    term: u64,
    index: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredVote {
    term: u64,
    node: u64,
    committed: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredMember {
    id: u64,
    name: String,
    addr: String,
}

#[derive(Serialize, Deserialize)]
struct StoredConfig {
    /// One set of voters, or two while a change is under way.
    voters: Vec<BTreeSet<u64>>,
    members: Vec<StoredMember>,
}

#[derive(Serialize, Deserialize)]
struct StoredAt {
    at: Option<StoredLogId>,
    config: StoredConfig,
}

/// What kind of entry follows the log id.
#[derive(Serialize, Deserialize)]
enum Kind {
    Blank,
    Normal,
    Membership(StoredConfig),
}

#[derive(Serialize, Deserialize)]
struct EntryHead {
    at: StoredLogId,
    kind: Kind,
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    // Serialising these plain structs into a growing vector has no way to fail.
    let body = postcard::to_stdvec(value).unwrap_or_default();
    let mut out = BytesMut::with_capacity(body.len() + 1);
    out.put_u8(VERSION);
    out.put_slice(&body);
    out.freeze()
}

fn checked<'a>(what: &'static str, raw: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    match raw.split_first() {
        None => Err(DecodeError::Empty { what }),
        Some((&VERSION, rest)) => Ok(rest),
        Some((&found, _)) => Err(DecodeError::Version { what, found }),
    }
}

fn decode<T: DeserializeOwned>(what: &'static str, raw: &[u8]) -> Result<T, DecodeError> {
    postcard::from_bytes(checked(what, raw)?)
        .map_err(|source| DecodeError::Malformed { what, source })
}

impl From<&LogId> for StoredLogId {
    fn from(id: &LogId) -> Self {
        StoredLogId {
            term: term_of(id),
            index: id.index,
        }
    }
}

impl From<StoredLogId> for LogId {
    fn from(id: StoredLogId) -> Self {
        log_id(id.term, id.index)
    }
}

pub fn encode_log_id(id: &LogId) -> Bytes {
    encode(&StoredLogId::from(id))
}

pub fn decode_log_id(raw: &[u8]) -> Result<LogId, DecodeError> {
    decode::<StoredLogId>("log id", raw).map(LogId::from)
}

pub fn encode_vote(vote: &Vote) -> Bytes {
    encode(&StoredVote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    })
}

pub fn decode_vote(raw: &[u8]) -> Result<Vote, DecodeError> {
    decode::<StoredVote>("vote", raw).map(|v| vote(v.term, v.node, v.committed))
}

/// A vote from its parts.
pub fn vote(term: u64, node: u64, committed: bool) -> Vote {
    if committed {
        Vote::new_committed(term, node)
    } else {
        Vote::new(term, node)
    }
}

fn store_config(membership: &Membership) -> StoredConfig {
    StoredConfig {
        voters: membership.get_joint_config().clone(),
        members: membership
            .nodes()
            .map(|(id, m)| StoredMember {
                id: *id,
                name: m.name.clone(),
                addr: m.addr.clone(),
            })
            .collect(),
    }
}

fn load_config(stored: StoredConfig) -> Result<Membership, DecodeError> {
    let members: BTreeMap<u64, Member> = stored
        .members
        .into_iter()
        .map(|m| {
            (
                m.id,
                Member {
                    name: m.name,
                    addr: m.addr,
                },
            )
        })
        .collect();
    if stored.voters.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(stored.voters, members).map_err(|e| DecodeError::Invalid {
        what: "membership",
        reason: e.to_string(),
    })
}

pub fn encode_membership(stored: &StoredMembership) -> Bytes {
    encode(&StoredAt {
        at: stored.log_id().as_ref().map(StoredLogId::from),
        config: store_config(stored.membership()),
    })
}

pub fn decode_membership(raw: &[u8]) -> Result<StoredMembership, DecodeError> {
    let stored: StoredAt = decode("membership", raw)?;
    Ok(StoredMembership::new(
        stored.at.map(LogId::from),
        load_config(stored.config)?,
    ))
}

/// A log entry: version, head, then the payload as it is, so that large payloads are copied once.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let (kind, payload): (Kind, Option<&Bytes>) = match &entry.payload {
        EntryPayload::Blank => (Kind::Blank, None),
        EntryPayload::Normal(Payload(bytes)) => (Kind::Normal, Some(bytes)),
        EntryPayload::Membership(m) => (Kind::Membership(store_config(m)), None),
    };
    let head = postcard::to_stdvec(&EntryHead {
        at: StoredLogId::from(&entry.log_id),
        kind,
    })
    .unwrap_or_default();
    let mut out = BytesMut::with_capacity(1 + head.len() + payload.map_or(0, Bytes::len));
    out.put_u8(VERSION);
    out.put_slice(&head);
    if let Some(payload) = payload {
        out.put_slice(payload);
    }
    out.freeze()
}

pub fn decode_entry(raw: &Bytes) -> Result<Entry, DecodeError> {
    let what = "log entry";
    let (head, rest): (EntryHead, &[u8]) = postcard::take_from_bytes(checked(what, raw)?)
        .map_err(|source| DecodeError::Malformed { what, source })?;
    let payload = match head.kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Normal => EntryPayload::Normal(Payload(raw.slice_ref(rest))),
        Kind::Membership(config) => EntryPayload::Membership(load_config(config)?),
    };
    Ok(Entry {
        log_id: head.at.into(),
        payload,
    })
}

/// The log id of an encoded entry, without touching its payload.
pub fn entry_log_id(raw: &[u8]) -> Result<LogId, DecodeError> {
    let what = "log entry";
    let (head, _): (EntryHead, &[u8]) = postcard::take_from_bytes(checked(what, raw)?)
        .map_err(|source| DecodeError::Malformed { what, source })?;
    Ok(head.at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let nodes: BTreeMap<u64, Member> = (1..=3)
            .map(|i| {
                (
                    i,
                    Member {
                        name: format!("n{i}"),
                        addr: format!("127.0.0.1:{i}"),
                    },
                )
            })
            .collect();
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 3])], nodes).unwrap()
    }

    #[test]
    fn entries_survive_a_round_trip() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(Bytes::from_static(b"\x00\xffpayload"))),
            EntryPayload::Normal(Payload(Bytes::new())),
            EntryPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = Entry {
                log_id: log_id(7, 1 << 40),
                payload,
            };
            let raw = encode_entry(&entry);
            assert_eq!(decode_entry(&raw).unwrap(), entry);
            assert_eq!(entry_log_id(&raw).unwrap(), entry.log_id);
        }
    }

    /// Bytes of version 1 as a released build wrote them: these may never change.
    #[test]
    fn version_one_is_frozen() {
        let entry = Entry {
            log_id: log_id(3, 300),
            payload: EntryPayload::Normal(Payload(Bytes::from_static(b"hi"))),
        };
        assert_eq!(&encode_entry(&entry)[..], &[1, 3, 0xac, 2, 1, b'h', b'i']);
        assert_eq!(&encode_vote(&vote(5, 2, true))[..], &[1, 5, 2, 1]);
        assert_eq!(&encode_log_id(&log_id(1, 2))[..], &[1, 1, 2]);
    }

    #[test]
    fn membership_and_vote_survive_a_round_trip() {
        let stored = StoredMembership::new(Some(log_id(2, 9)), membership());
        assert_eq!(
            decode_membership(&encode_membership(&stored)).unwrap(),
            stored
        );
        let empty = StoredMembership::default();
        assert_eq!(
            decode_membership(&encode_membership(&empty)).unwrap(),
            empty
        );
        assert_eq!(
            decode_vote(&encode_vote(&vote(1, 2, false))).unwrap(),
            vote(1, 2, false)
        );
    }

    #[test]
    fn foreign_bytes_are_refused_not_guessed() {
        assert!(matches!(decode_vote(&[]), Err(DecodeError::Empty { .. })));
        assert!(matches!(
            decode_vote(&[9, 1, 1, 1]),
            Err(DecodeError::Version { found: 9, .. })
        ));
        assert!(matches!(
            decode_entry(&Bytes::from_static(&[1, 1])),
            Err(DecodeError::Malformed { .. })
        ));
    }
}
