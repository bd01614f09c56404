//! Proves that the linked RocksDB works: open, synced write, checkpoint, reopen, lz4.
//! `scripts/rocksdb.sh --smoke` runs it.

use std::error::Error;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::{Batch, LogEngine, StateEngine, Table, Write};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("dstack-storage-smoke-{}", std::process::id()));
    let outcome = run(&dir);
    std::fs::remove_dir_all(&dir)?;
    outcome?;
    println!("smoke: RocksDB opens, syncs, takes a checkpoint, compresses and reopens");
    Ok(())
}

fn run(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let shared = Arc::new(Shared::new()?);
    {
        let log = RocksLog::open(dir, &shared)?;
        let (sender, synced) = mpsc::channel();
        log.append(
            vec![(1, Bytes::from_static(b"entry"))],
            Box::new(move |result| drop(sender.send(result))),
        )?;
        synced.recv()??;
        let state = RocksState::open(dir, shared.clone())?;
        let row = |key: u32| Write {
            table: Table::Obj,
            key: Bytes::copy_from_slice(&key.to_be_bytes()),
            value: Some(Bytes::from(vec![b'x'; 4096])),
        };
        let applied = Some(Bytes::from_static(b"1"));
        state.write(Batch {
            writes: (0..1000).map(row).collect(),
            applied,
            membership: None,
        })?;
        let snapshot = state.checkpoint("1")?.finish(0)?;
        let size = snapshot.manifest().total_size();
        if size > 1_000_000 {
            return Err(
                format!("4 MB of the same letter took {size} bytes: lz4 is not linked").into(),
            );
        }
    }
    let log = RocksLog::open(dir, &shared)?;
    let state = RocksState::open(dir, shared)?;
    if log.bounds().last != Some(1) || state.meta("applied")?.as_deref() != Some(b"1") {
        return Err("what was written is not there after reopening".into());
    }
    Ok(())
}
