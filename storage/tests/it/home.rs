//! Where a test's replica lives, and small helpers.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::twin::{Disk, SyncMode, TwinLog, TwinState};
use dstack_storage::{
    Batch, Done, LogEngine, Result, Rows, Scan, Snapshot, StateEngine, Table, Write,
};
use tempfile::TempDir;

pub enum Home {
    Rocks(TempDir),
    Twin(Disk),
}

impl Home {
    pub fn rocks() -> Self {
        Home::Rocks(tempfile::tempdir().unwrap())
    }

    pub fn twin() -> Self {
        Home::Twin(Disk::new())
    }

    /// A second replica of the same kind.
    pub fn another(&self) -> Self {
        match self {
            Home::Rocks(_) => Home::rocks(),
            Home::Twin(_) => Home::twin(),
        }
    }

    pub fn log(&self) -> Box<dyn LogEngine> {
        match self {
            Home::Rocks(dir) => {
                Box::new(RocksLog::open(dir.path(), &Shared::new().unwrap()).unwrap())
            }
            Home::Twin(disk) => Box::new(TwinLog::open(disk, SyncMode::Auto).unwrap()),
        }
    }

    pub fn state(&self) -> Box<dyn StateEngine> {
        match self {
            Home::Rocks(dir) => {
                Box::new(RocksState::open(dir.path(), Arc::new(Shared::new().unwrap())).unwrap())
            }
            Home::Twin(disk) => Box::new(TwinState::open(disk).unwrap()),
        }
    }
}

/// Runs each test on RocksDB and on the twin.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod rocks {
            $(#[test] fn $test() { super::$test(&$crate::home::Home::rocks()) })*
        }
        mod twin {
            $(#[test] fn $test() { super::$test(&$crate::home::Home::twin()) })*
        }
    };
}

pub fn entry(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

pub fn entries(range: std::ops::Range<u64>, text: &str) -> Vec<(u64, Bytes)> {
    range
        .map(|index| (index, entry(format!("{text}{index}"))))
        .collect()
}

/// A callback and where its result arrives.
pub fn awaited() -> (Done, mpsc::Receiver<Result<()>>) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

/// Appends and waits for the disk.
pub fn append(log: &dyn LogEngine, entries: Vec<(u64, Bytes)>) -> Result<()> {
    let (done, synced) = awaited();
    log.append(entries, done)?;
    synced.recv().unwrap()
}

/// Saves a vote and waits for the disk.
pub fn save_vote(log: &dyn LogEngine, vote: &str) -> Result<()> {
    let (done, synced) = awaited();
    log.save_vote(entry(vote), done)?;
    synced.recv().unwrap()
}

pub fn everything(log: &dyn LogEngine) -> Vec<(u64, Bytes)> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

pub fn put(table: Table, key: &str, value: &str) -> Write {
    Write {
        table,
        key: entry(key),
        value: Some(entry(value)),
    }
}

pub fn batch(writes: Vec<Write>, applied: u64) -> Batch {
    Batch {
        writes,
        applied: Some(entry(applied.to_string())),
        membership: None,
    }
}

pub fn applied(state: &dyn StateEngine) -> u64 {
    let marker = state.meta("applied").unwrap();
    marker.map_or(0, |marker| {
        std::str::from_utf8(&marker).unwrap().parse().unwrap()
    })
}

pub fn rows(rows: &dyn Rows, scan: Scan<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    rows.scan(scan, &mut |key, value| {
        found.push((text(key), text(value)));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// Every row of every table.
pub fn all_rows(state: &dyn StateEngine) -> Vec<(Table, Vec<(String, String)>)> {
    Table::ALL
        .map(|table| (table, rows(&*state.rows(), Scan::all(table))))
        .to_vec()
}

/// Sends a snapshot in small chunks; the receiver is ready to be installed.
pub fn send(snapshot: &dyn Snapshot, to: &dyn StateEngine) -> Box<dyn dstack_storage::Incoming> {
    let mut incoming = to.receive(snapshot.manifest().clone()).unwrap();
    for file in snapshot.manifest().files.clone() {
        let mut offset = 0;
        loop {
            let chunk = snapshot.read(&file.name, offset, 1000).unwrap();
            if chunk.is_empty() {
                break;
            }
            incoming.write(&file.name, &chunk).unwrap();
            offset += chunk.len() as u64;
        }
    }
    incoming
}

/// SplitMix64, so that a seed is a history.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}
