//! A toy state machine: a map of keys to values, for the tests of this crate and of its users.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use dstack_storage::{Rows, Scan, Table};
use parking_lot::Mutex;

use crate::machine::{Applied, Committed, Machine, MachineError, Write};

const HASH: &[u8] = b"echo/hash";

/// What the machine remembers; readable from outside at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub applied: u64,
    pub published: u64,
    pub hash: u64,
    pub map: BTreeMap<Bytes, Bytes>,
}

/// `key=value` sets a key and answers `key=value@index`; `!reason` stops the machine.
#[derive(Clone, Default)]
pub struct Echo {
    memory: Arc<Mutex<Memory>>,
}

impl Echo {
    pub fn new() -> Self {
        Echo::default()
    }

    pub fn memory(&self) -> Memory {
        self.memory.lock().clone()
    }
}

fn mix(hash: u64, entry: &Committed) -> u64 {
    // Fixed keys: the same on every replica and in every process.
    let mut hasher = DefaultHasher::new();
    (hash, entry.index, entry.term, &entry.payload).hash(&mut hasher);
    hasher.finish()
}

impl Machine for Echo {
    fn load(&mut self, rows: &dyn Rows, applied: u64) -> Result<(), MachineError> {
        let failed = |e: dstack_storage::StorageError| MachineError {
            reason: "rows cannot be read".to_owned(),
            source: Some(Box::new(e)),
        };
        let mut memory = self.memory.lock();
        *memory = Memory {
            applied,
            ..Memory::default()
        };
        let hash = rows.get(Table::Meta, HASH).map_err(failed)?;
        memory.hash = hash
            .and_then(|raw| raw[..].try_into().ok())
            .map_or(0, u64::from_be_bytes);
        let map = &mut memory.map;
        let mut visit = |key: &[u8], value: &[u8]| {
            map.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            ControlFlow::Continue(())
        };
        rows.scan(Scan::all(Table::Obj), &mut visit).map_err(failed)
    }

    fn apply(
        &mut self,
        batch: &[Committed],
        _rows: &dyn Rows,
    ) -> Result<Vec<Applied>, MachineError> {
        let mut memory = self.memory.lock();
        let mut done = Vec::with_capacity(batch.len());
        for entry in batch {
            if entry.index <= memory.applied {
                return Err(MachineError::new(format!(
                    "entry {} came after {}",
                    entry.index, memory.applied
                )));
            }
            if let Some(reason) = entry.payload.strip_prefix(b"!") {
                return Err(MachineError::new(
                    String::from_utf8_lossy(reason).into_owned(),
                ));
            }
            memory.applied = entry.index;
            memory.hash = mix(memory.hash, entry);
            done.push(set(&mut memory, entry));
        }
        Ok(done)
    }

    fn published(&mut self, index: u64) {
        self.memory.lock().published = index;
    }

    fn state_hash(&self) -> u64 {
        self.memory.lock().hash
    }
}

fn set(memory: &mut Memory, entry: &Committed) -> Applied {
    let at = entry
        .payload
        .iter()
        .position(|b| *b == b'=')
        .unwrap_or(entry.payload.len());
    let key = entry.payload.slice(..at);
    let value = entry.payload.slice((at + 1).min(entry.payload.len())..);
    memory.map.insert(key.clone(), value.clone());
    let reply = [&entry.payload[..], format!("@{}", entry.index).as_bytes()].concat();
    Applied {
        reply: reply.into(),
        writes: vec![
            Write {
                table: Table::Obj,
                key,
                value: Some(value),
            },
            Write {
                table: Table::Meta,
                key: Bytes::from_static(HASH),
                value: Some(Bytes::copy_from_slice(&memory.hash.to_be_bytes())),
            },
        ],
    }
}
