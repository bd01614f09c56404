//! `domain` behind the consensus seam.
//!
//! Entries are applied to a state in memory; the row changes go back to `raft`, which writes them in one batch
//! with the applied index, and only then asks for the view to be published.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use dstack_domain::command::{Outcome, apply};
use dstack_domain::encoding::decode_entry;
use dstack_domain::history;
use dstack_domain::state::{RowChange, State, Table as Drawer};
use dstack_raft::{Applied, Committed, Machine, MachineError, Write};
use dstack_storage::{Rows, Scan, Table};
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::limits;
use crate::view::{Board, View};

/// Where the rolling hash lies between starts, and in snapshots.
const HASH_ROW: &[u8] = b"node/state-hash";

/// The replicated state machine of a control plane.
pub struct ControlPlane {
    state: State,
    hash: u64,
    applied: u64,
    board: Board,
    hashes: Hashes,
}

impl ControlPlane {
    pub fn new(board: Board, hashes: Hashes) -> ControlPlane {
        ControlPlane {
            state: State::default(),
            hash: 0,
            applied: 0,
            board,
            hashes,
        }
    }

    fn apply_one(
        &mut self,
        committed: &Committed,
        rows: &dyn Rows,
        earlier: &[Applied],
    ) -> Result<Applied, MachineError> {
        let index = committed.index;
        let mut entry = decode_entry(&committed.payload).map_err(|source| MachineError {
            reason: format!(
                "log entry {index} is in a form this version does not know; \
                 start this replica with the version the others run"
            ),
            source: Some(Box::new(source)),
        })?;
        entry.index = index;
        let mut applied = apply(&mut self.state, &entry);
        if let Some(before) = applied.events_expired {
            let expired = expired(rows, earlier, before)?;
            applied.changes.extend(expired);
        }
        let reply = encode_reply(&applied.reply).map_err(|source| MachineError {
            reason: format!("the reply to log entry {index} cannot be written down"),
            source: Some(Box::new(source)),
        })?;
        self.hash = roll(self.hash, index, &applied.changes);
        self.applied = index;
        self.hashes.push(index, self.hash);
        Ok(Applied {
            reply,
            writes: applied.changes.into_iter().map(write).collect(),
        })
    }
}

/// What deletes every event from before this moment. Looks at the rows as they will be after the entries before
/// this one, whichever of them share a batch with it: replicas batch differently.
fn expired(
    rows: &dyn Rows,
    earlier: &[Applied],
    before: Timestamp,
) -> Result<Vec<RowChange>, MachineError> {
    let to = history::events_from(before);
    let mut events: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
    rows.scan(Scan::range(Table::Events, &[], &to), &mut |key, value| {
        events.insert(key.to_vec().into(), Some(value.to_vec().into()));
        ControlFlow::Continue(())
    })
    .map_err(|source| MachineError {
        reason: "old events cannot be read".into(),
        source: Some(Box::new(source)),
    })?;
    let recent = earlier.iter().flat_map(|applied| &applied.writes);
    for write in recent.filter(|write| write.table == Table::Events && write.key < to) {
        events.insert(write.key.clone(), write.value.clone());
    }
    let mut changes = Vec::new();
    for (key, value) in events {
        let Some(value) = value else { continue };
        let gone = history::without_event(&key, &value).map_err(|source| MachineError {
            reason: "an old event cannot be understood".into(),
            source: Some(Box::new(source)),
        })?;
        changes.extend(gone);
    }
    Ok(changes)
}

impl Machine for ControlPlane {
    fn load(&mut self, rows: &dyn Rows, applied: u64) -> Result<(), MachineError> {
        self.state = load_state(rows)?;
        self.hash = load_hash(rows)?;
        self.applied = applied;
        self.hashes.clear();
        self.board.publish(View {
            state: self.state.clone(),
            revision: applied,
        });
        Ok(())
    }

    fn apply(
        &mut self,
        batch: &[Committed],
        rows: &dyn Rows,
    ) -> Result<Vec<Applied>, MachineError> {
        let mut answers = Vec::with_capacity(batch.len());
        for committed in batch {
            let applied = self.apply_one(committed, rows, &answers)?;
            answers.push(applied);
        }
        if let Some(last) = answers.last_mut() {
            let value = Some(Bytes::copy_from_slice(&self.hash.to_le_bytes()));
            last.writes.push(Write {
                table: Table::Meta,
                key: Bytes::from_static(HASH_ROW),
                value,
            });
        }
        Ok(answers)
    }

    fn published(&mut self, index: u64) {
        self.board.publish(View {
            state: self.state.clone(),
            revision: index,
        });
    }

    fn state_hash(&self) -> u64 {
        self.hash
    }
}

/// The storage table of a kind of row.
pub fn table(drawer: Drawer) -> Table {
    match drawer {
        Drawer::Live => Table::Obj,
        Drawer::Index => Table::Idx,
        Drawer::History => Table::Hist,
        Drawer::Events => Table::Events,
        Drawer::Dedup => Table::Dedup,
    }
}

fn write(change: RowChange) -> Write {
    Write {
        table: table(change.table),
        key: change.key.into(),
        value: change.value.map(Bytes::from),
    }
}

/// A chain over everything that was ever changed: two replicas that once differed never agree again.
fn roll(before: u64, index: u64, changes: &[RowChange]) -> u64 {
    let mut digest = Sha256::new()
        .chain_update(before.to_le_bytes())
        .chain_update(index.to_le_bytes());
    for change in changes {
        digest.update([table(change.table).code(), u8::from(change.value.is_some())]);
        digest.update((change.key.len() as u64).to_le_bytes());
        digest.update(&change.key);
        let value = change.value.as_deref().unwrap_or_default();
        digest.update((value.len() as u64).to_le_bytes());
        digest.update(value);
    }
    let digest = digest.finalize();
    digest[..8]
        .iter()
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

fn load_hash(rows: &dyn Rows) -> Result<u64, MachineError> {
    let row = rows
        .get(Table::Meta, HASH_ROW)
        .map_err(|source| MachineError {
            reason: "the state hash cannot be read".into(),
            source: Some(Box::new(source)),
        })?;
    match row {
        None => Ok(0),
        Some(bytes) => <[u8; 8]>::try_from(&bytes[..])
            .map(u64::from_le_bytes)
            .map_err(|_| {
                MachineError::new("the state hash is damaged; restore this replica from the others")
            }),
    }
}

fn load_state(rows: &dyn Rows) -> Result<State, MachineError> {
    let mut live = Vec::new();
    for drawer in [Drawer::Live, Drawer::Dedup] {
        let mut take = |key: &[u8], value: &[u8]| {
            live.push((drawer, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        rows.scan(Scan::all(table(drawer)), &mut take)
            .map_err(|source| MachineError {
                reason: "the rows of the state cannot be read".into(),
                source: Some(Box::new(source)),
            })?;
    }
    State::load(live).map_err(|source| MachineError {
        reason: "the state on disk cannot be understood".into(),
        source: Some(Box::new(source)),
    })
}

fn encode_reply(reply: &Outcome) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(reply).map(Bytes::from)
}

/// Reads what [`ControlPlane`] answered, perhaps on another replica and in another version.
pub fn decode_reply(bytes: &[u8]) -> Result<Outcome, UnknownReply> {
    serde_json::from_slice(bytes).map_err(UnknownReply)
}

/// The answer was written by a newer version.
#[derive(Debug, thiserror::Error)]
#[error("the reply is in a form this version does not know")]
pub struct UnknownReply(#[source] serde_json::Error);

/// The hashes of the last applied entries, for comparison with other replicas.
#[derive(Clone, Default)]
pub struct Hashes {
    ring: Arc<Mutex<VecDeque<(u64, u64)>>>,
}

impl Hashes {
    fn push(&self, index: u64, hash: u64) {
        let mut ring = self.ring.lock();
        if ring.len() == limits::HASH_RING {
            ring.pop_front();
        }
        ring.push_back((index, hash));
    }

    fn clear(&self) {
        self.ring.lock().clear();
    }

    /// The hash after the entry at `index`, if it is remembered.
    pub fn at(&self, index: u64) -> Option<u64> {
        let ring = self.ring.lock();
        ring.binary_search_by_key(&index, |(index, _)| *index)
            .ok()
            .map(|found| ring[found].1)
    }

    /// Up to `count` remembered indexes, the newest and others spread over the ring.
    pub fn sample(&self, count: usize) -> Vec<u64> {
        let ring = self.ring.lock();
        let step = ring.len().div_ceil(count.max(1)).max(1);
        ring.iter()
            .rev()
            .step_by(step)
            .map(|(index, _)| *index)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use dstack_domain::command::{
        Actor, Command, CreateProject, CreateUser, Entry, ExpireEvents, InitCluster, NewUser,
    };
    use dstack_domain::encoding::encode_entry;
    use dstack_domain::ids::{ClusterId, ProjectId, RequestId, UserId};
    use dstack_domain::model::{GlobalRole, Sealed};
    use dstack_storage::twin::{Disk, TwinState};
    use dstack_storage::{Batch, StateEngine};
    use jiff::SignedDuration;

    use super::*;

    fn new_user(number: u8) -> NewUser {
        NewUser {
            id: UserId::from_random([number; 16]),
            username: format!("user{number}"),
            global_role: GlobalRole::Admin,
            email: None,
            active: true,
            token_hash: format!("hash {number}"),
            token: Sealed("sealed".into()),
            ssh_public_key: None,
            ssh_private_key: None,
        }
    }

    fn first_command() -> InitCluster {
        let project = CreateProject {
            id: ProjectId::from_random([1; 16]),
            name: "main".into(),
            is_public: false,
            ssh_public_key: "ssh-ed25519 AAAA".into(),
            ssh_private_key: Sealed("sealed".into()),
        };
        InitCluster {
            cluster: ClusterId::from_random([1; 16]),
            admin: new_user(0),
            project,
        }
    }

    type Row = (Table, Vec<u8>, Vec<u8>);

    /// Writes a log to a fresh machine in batches of this many entries; answers all rows and the hash.
    fn replay(log: &[Committed], at_once: usize) -> (Vec<Row>, u64) {
        let disk = TwinState::open(&Disk::new()).unwrap();
        let mut machine = ControlPlane::new(Board::default(), Hashes::default());
        for batch in log.chunks(at_once) {
            let applied = machine.apply(batch, disk.rows().as_ref()).unwrap();
            let writes = applied.into_iter().flat_map(|one| one.writes).collect();
            let batch = Batch {
                writes,
                ..Batch::default()
            };
            disk.write(batch).unwrap();
        }
        let mut rows = Vec::new();
        for table in [Table::Obj, Table::Idx, Table::Events] {
            let mut take = |key: &[u8], value: &[u8]| {
                rows.push((table, key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            };
            disk.rows().scan(Scan::all(table), &mut take).unwrap();
        }
        (rows, machine.hash)
    }

    #[test]
    fn events_expire_alike_however_the_log_is_batched() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let mut log: Vec<Committed> = Vec::new();
        let mut log_one = |second: i64, actor: Actor, command: Command| {
            let index = log.len() as u64 + 1;
            let entry = Entry {
                index,
                request: RequestId::derived("entry", &[&index.to_be_bytes()]),
                actor,
                at: start + SignedDuration::from_secs(second),
                command,
            };
            let payload = encode_entry(&entry).unwrap().into();
            log.push(Committed {
                index,
                term: 1,
                payload,
            });
        };
        log_one(0, Actor::System, first_command().into());
        for second in 1..=4 {
            let user = new_user(second);
            let admin = Actor::User(new_user(0).id);
            log_one(second.into(), admin, CreateUser { user }.into());
        }
        for second in [2, 3, 4] {
            let before = start + SignedDuration::from_secs(second);
            log_one(9, Actor::System, ExpireEvents { before }.into());
        }
        let (rows, hash) = replay(&log, 1);
        assert_eq!(
            rows.iter()
                .filter(|(table, ..)| *table == Table::Events)
                .count(),
            1
        );
        for at_once in [2, 3, 5, 8] {
            assert_eq!(
                replay(&log, at_once),
                (rows.clone(), hash),
                "{at_once} at once"
            );
        }
    }
}
