//! The durable form: which row each record becomes, and its key. Keys sort so that pages can be
//! read in order: big-endian times, then ids.

use crate::ids::{
    ArchiveId, FleetId, InstanceId, IntentId, ProjectId, RequestId, RunId, SubmissionId, UserId,
};
use crate::model::Event;
use crate::spec::BackendType;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Families of rows; storage maps each to one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// What `State::load` reads back.
    Live,
    /// Keys to page by; small values.
    Index,
    /// Runs that have left memory.
    History,
    Events,
    /// Replies kept for retries.
    Dedup,
}

/// One put (`Some`) or delete (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub table: Table,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Keys of `Table::Live`. The first byte is the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    Clock,
    Cluster,
    User(UserId),
    Project(ProjectId),
    Fleet(FleetId),
    Instance(InstanceId),
    Run(RunId),
    /// Of a run: its specification, apart from its status.
    RunSpec(RunId),
    /// Of a run: the n-th job's specification.
    RunJob(RunId, u32),
    Submission(RunId, SubmissionId),
    Secret(ProjectId, String),
    Repo(ProjectId, String),
    Archive(ArchiveId),
    Backend(ProjectId, BackendType),
    /// Of the ledger.
    Intent(IntentId),
}

impl RowKey {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            RowKey::Clock => vec![b'c'],
            RowKey::Cluster => vec![b'C'],
            RowKey::User(id) => key(b'u', &[&id.bytes()]),
            RowKey::Project(id) => key(b'p', &[&id.bytes()]),
            RowKey::Fleet(id) => key(b'f', &[&id.bytes()]),
            RowKey::Instance(id) => key(b'i', &[&id.bytes()]),
            RowKey::Run(id) => key(b'r', &[&id.bytes()]),
            RowKey::RunSpec(id) => key(b's', &[&id.bytes()]),
            RowKey::RunJob(id, ordinal) => key(b'j', &[&id.bytes(), &ordinal.to_be_bytes()]),
            RowKey::Submission(run, id) => key(b'x', &[&run.bytes(), &id.bytes()]),
            RowKey::Secret(project, name) => key(b'k', &[&project.bytes(), name.as_bytes()]),
            RowKey::Repo(project, id) => key(b'o', &[&project.bytes(), id.as_bytes()]),
            RowKey::Archive(id) => key(b'a', &[&id.bytes()]),
            RowKey::Intent(id) => key(b'l', &[&id.bytes()]),
            RowKey::Backend(project, kind) => {
                key(b'b', &[&project.bytes(), kind.as_str().as_bytes()])
            }
        }
    }

    /// The same row in `Table::History`: by run first, so that one prefix scan reads a whole run.
    pub fn history_bytes(&self) -> Option<Vec<u8>> {
        match self {
            RowKey::Run(run) => Some(history_key(*run, b'r', &[])),
            RowKey::RunSpec(run) => Some(history_key(*run, b's', &[])),
            RowKey::RunJob(run, ordinal) => Some(history_key(*run, b'j', &ordinal.to_be_bytes())),
            RowKey::Submission(run, id) => Some(history_key(*run, b'x', &id.bytes())),
            _ => None,
        }
    }
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(33);
    bytes.push(kind);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn history_key(run: RunId, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = run.bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(rest);
    bytes
}

/// Microseconds since the epoch, in an order-preserving form.
pub(crate) fn time_bytes(at: Timestamp) -> [u8; 8] {
    ((at.as_microsecond() as u64) ^ (1 << 63)).to_be_bytes()
}

pub(crate) fn time_from_bytes(bytes: [u8; 8]) -> Option<Timestamp> {
    let micros = (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64;
    Timestamp::from_microsecond(micros).ok()
}

pub(crate) fn dedup_key(request: RequestId) -> Vec<u8> {
    request.bytes().to_vec()
}

/// `Index`: all runs of a project by time of submission, live or not. The value is empty.
pub(crate) fn run_time_key(project: ProjectId, submitted_at: Timestamp, run: RunId) -> Vec<u8> {
    key(
        b'R',
        &[&project.bytes(), &time_bytes(submitted_at), &run.bytes()],
    )
}

/// `Index`: the undeleted run of a name. The value is the run's id.
pub(crate) fn run_name_key(project: ProjectId, name: &str) -> Vec<u8> {
    key(b'N', &[&project.bytes(), name.as_bytes()])
}

/// `Events`: in the order of the log.
pub(crate) fn event_key(at: Timestamp, index: u64, ordinal: u16) -> Vec<u8> {
    let mut bytes = time_bytes(at).to_vec();
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.extend_from_slice(&ordinal.to_be_bytes());
    bytes
}

/// Every row of `Index` that leads to this event.
pub(crate) fn event_index_keys(event: &Event, key: &[u8]) -> Vec<Vec<u8>> {
    let targets = event.targets.iter();
    let by_target = targets.map(|target| event_target_key(*target.id.as_bytes(), key));
    let by_scope = event
        .scopes
        .iter()
        .map(|scope| event_scope_key(*scope.as_bytes(), key));
    by_target.chain(by_scope).collect()
}

/// `Index`: events that name `target`. The value is empty; the tail is the event's key.
fn event_target_key(target: [u8; 16], event: &[u8]) -> Vec<u8> {
    key(b'E', &[&target, event])
}

/// `Index`: events of things within `scope` (a project, fleet or run).
fn event_scope_key(scope: [u8; 16], event: &[u8]) -> Vec<u8> {
    key(b'W', &[&scope, event])
}

/// The first bytes of an index about one thing.
pub(crate) fn prefix(kind: u8, id: [u8; 16]) -> Vec<u8> {
    key(kind, &[&id])
}

pub(crate) const RUN_TIME: u8 = b'R';
pub(crate) const EVENT_TARGET: u8 = b'E';
pub(crate) const EVENT_SCOPE: u8 = b'W';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_keys_sort_as_time_and_come_back() {
        let early = Timestamp::from_microsecond(-5).unwrap();
        let late = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
        assert!(time_bytes(early) < time_bytes(late));
        assert_eq!(time_from_bytes(time_bytes(late)), Some(late));
    }
}
