//! The state engine on the modelled disk.
//!
//! A generation is a base (written whole) and a write-ahead log of batches that is synced only by
//! [`StateEngine::sync`] and by a snapshot. `state/CURRENT` names the live generation, as on a real disk.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::disk::{Disk, Handle};
use super::record::{Decoder, Encoder, frame, unframe};
use super::snapshot::{Content, TwinSnapshot, decode_rows, decode_table, encode_rows, erase};
use crate::engine::{
    APPLIED, Batch, Checkpoint, Incoming, MEMBERSHIP, Result, Rows, Scan, Snapshot, StateEngine,
    Visit, Write,
};
use crate::error::StorageError;
use crate::manifest::{Manifest, check_name};
use crate::rules::refuse_reserved;
use crate::table::Table;

const CURRENT: &str = "state/CURRENT";

/// [`StateEngine`] on a [`Disk`].
pub struct TwinState {
    owned: Arc<Owned>,
}

struct Owned {
    disk: Handle,
    state: Mutex<State>,
}

struct State {
    generation: u64,
    live: Arc<Live>,
    snapshots: BTreeMap<String, Arc<TwinSnapshot>>,
    failed: Option<StorageError>,
}

/// The rows of one generation. Scans take the inner `Arc`, so they see one moment.
#[derive(Default)]
struct Live(RwLock<Arc<Content>>);

impl TwinState {
    /// Replays what is on the disk; finishes or undoes an install that a crash interrupted.
    pub fn open(disk: &Disk) -> Result<Self> {
        let disk = disk.handle();
        let generation = match disk.read(CURRENT)? {
            Some(number) => Decoder(number.into())
                .number()
                .ok_or_else(|| damaged(CURRENT, "it is too short"))?,
            None => 1,
        };
        let content = replay(&disk, generation)?;
        let snapshots = open_snapshots(&disk, generation)?;
        for name in disk.list("state/")? {
            if name != CURRENT && name != base(generation) && name != wal(generation) {
                disk.remove(&name)?;
            }
        }
        let live = Arc::new(Live(RwLock::new(Arc::new(content))));
        let state = Mutex::new(State {
            generation,
            live,
            snapshots,
            failed: None,
        });
        Ok(TwinState {
            owned: Arc::new(Owned { disk, state }),
        })
    }
}

impl StateEngine for TwinState {
    fn rows(&self) -> Arc<dyn Rows> {
        self.owned.state.lock().live.clone()
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut state = self.owned.writable()?;
        for row in &batch.writes {
            refuse_reserved(row.table, &row.key)?;
        }
        let rows = all_rows(batch);
        let written = self
            .owned
            .disk
            .append(&wal(state.generation), &frame(&encode_batch(&rows)));
        written.map_err(|error| state.fail(error))?;
        let mut content = state.live.0.write();
        apply(Arc::make_mut(&mut content), rows);
        Ok(())
    }

    fn meta(&self, name: &str) -> Result<Option<Bytes>> {
        self.rows().get(Table::Meta, name.as_bytes())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.owned.writable()?;
        self.owned
            .disk
            .fsync(&wal(state.generation))
            .map_err(|error| state.fail(error))
    }

    fn checkpoint(&self, name: &str) -> Result<Box<dyn Checkpoint>> {
        check_name(name)?;
        let state = self.owned.writable()?;
        let content = state.live.0.read().clone();
        if let Some(existing) = state.snapshots.get(name) {
            let applied = content.get(&(Table::Meta, Bytes::from_static(APPLIED.as_bytes())));
            if existing.manifest.applied.as_deref() != applied.map(|applied| &applied[..]) {
                let reason = format!(
                    "{name} exists and covers another state; use a name that says what it covers"
                );
                return Err(StorageError::refused("take a snapshot", reason));
            }
        }
        let wal = wal(state.generation);
        Ok(Box::new(TwinCheckpoint {
            owned: self.owned.clone(),
            wal,
            name: name.to_owned(),
            content,
        }))
    }

    fn snapshots(&self) -> Vec<Arc<dyn Snapshot>> {
        self.owned
            .state
            .lock()
            .snapshots
            .values()
            .map(erase)
            .collect()
    }

    fn retain_snapshots(&self, keep: usize) -> Result<()> {
        let mut state = self.owned.state.lock();
        while state.snapshots.len() > keep {
            let Some((name, _)) = state.snapshots.pop_first() else {
                break;
            };
            self.owned.disk.remove(&snapshot_file(&name))?;
        }
        Ok(())
    }

    fn receive(&self, manifest: Manifest) -> Result<Box<dyn Incoming>> {
        let manifest = Manifest::decode(&manifest.encode())?;
        Ok(Box::new(TwinIncoming {
            owned: self.owned.clone(),
            manifest,
            parts: BTreeMap::new(),
        }))
    }
}

impl Owned {
    fn writable(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        match &state.failed {
            Some(first) => Err(first.stopped()),
            None => Ok(state),
        }
    }
}

impl State {
    fn fail(&mut self, error: StorageError) -> StorageError {
        self.failed.get_or_insert(error).clone()
    }
}

impl Rows for Live {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self
            .0
            .read()
            .get(&(table, Bytes::copy_from_slice(key)))
            .cloned())
    }

    fn scan(&self, scan: Scan<'_>, visit: Visit<'_>) -> Result<()> {
        if scan.to.is_some_and(|to| to <= scan.from) {
            return Ok(());
        }
        let content = self.0.read().clone();
        let from = Bound::Included((scan.table, Bytes::copy_from_slice(scan.from)));
        let to = scan.to.map_or(Bound::Unbounded, |to| {
            Bound::Excluded((scan.table, Bytes::copy_from_slice(to)))
        });
        let rows = content
            .range((from, to))
            .filter(|((table, _), _)| *table == scan.table);
        let rows: &mut dyn Iterator<Item = (&(Table, Bytes), &Bytes)> = if scan.reverse {
            &mut rows.rev()
        } else {
            &mut { rows }
        };
        for ((_, key), value) in rows.take(scan.limit) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

struct TwinCheckpoint {
    owned: Arc<Owned>,
    wal: String,
    name: String,
    content: Arc<Content>,
}

impl Checkpoint for TwinCheckpoint {
    fn finish(self: Box<Self>, hash: u64) -> Result<Arc<dyn Snapshot>> {
        let mut state = self.owned.writable()?;
        if let Some(existing) = state.snapshots.get(&self.name) {
            return Ok(existing.clone());
        }
        let snapshot = Arc::new(TwinSnapshot::new(&self.name, &self.content, hash));
        // The state it covers first (S7): the log may be purged up to here as soon as this returns.
        let disk = &self.owned.disk;
        disk.fsync(&self.wal)
            .and_then(|()| disk.replace(&snapshot_file(&self.name), &snapshot.encode()))
            .map_err(|error| state.fail(error))?;
        state.snapshots.insert(self.name, snapshot.clone());
        Ok(snapshot)
    }
}

struct TwinIncoming {
    owned: Arc<Owned>,
    manifest: Manifest,
    parts: BTreeMap<String, Vec<u8>>,
}

impl TwinIncoming {
    fn verify(&mut self) -> Result<TwinSnapshot> {
        let refuse = |reason| Err(StorageError::refused("install a snapshot", reason));
        for file in &self.manifest.files {
            let part = self.parts.entry(file.name.clone()).or_default();
            if (part.len() as u64, crc32fast::hash(part)) != (file.size, file.crc32) {
                return refuse(format!("{} did not arrive whole; send it again", file.name));
            }
        }
        let rows = self.parts.remove(super::snapshot::ROWS).unwrap_or_default();
        Ok(TwinSnapshot {
            manifest: self.manifest.clone(),
            rows: rows.into(),
        })
    }
}

impl Incoming for TwinIncoming {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn write(&mut self, file: &str, chunk: &[u8]) -> Result<()> {
        let refuse = |reason| Err(StorageError::refused("receive a snapshot", reason));
        let Some(expected) = self.manifest.file(file) else {
            return refuse(format!("its manifest has no file {file}"));
        };
        let part = self.parts.entry(file.to_owned()).or_default();
        if (part.len() + chunk.len()) as u64 > expected.size {
            return refuse(format!(
                "{file} has more bytes than the {} its manifest names",
                expected.size
            ));
        }
        part.extend_from_slice(chunk);
        Ok(())
    }

    fn install(mut self: Box<Self>) -> Result<Arc<dyn Snapshot>> {
        let snapshot = Arc::new(self.verify()?);
        let content = snapshot.content()?;
        if TwinSnapshot::new(&self.manifest.name, &content, self.manifest.hash).manifest
            != self.manifest
        {
            return Err(damaged(
                &self.manifest.name,
                "its manifest does not name its content",
            ));
        }
        let mut state = self.owned.writable()?;
        let generation = state.generation + 1;
        let disk = &self.owned.disk;
        let switch = || {
            disk.replace(&staged(generation), &snapshot.encode())?;
            disk.replace(&base(generation), &encode_rows(&content))?;
            disk.replace(CURRENT, &Encoder::default().number(generation).done())?;
            adopt(disk, generation, &snapshot.manifest.name)?;
            disk.remove(&base(generation - 1))?;
            disk.remove(&wal(generation - 1))
        };
        switch().map_err(|error| state.fail(error))?;
        state.generation = generation;
        state.live = Arc::new(Live(RwLock::new(Arc::new(content))));
        state.snapshots = BTreeMap::from([(self.manifest.name.clone(), snapshot.clone())]);
        Ok(snapshot)
    }
}

/// Makes the staged snapshot of an install the only one.
fn adopt(disk: &Handle, generation: u64, name: &str) -> Result<()> {
    for file in disk.list("snap/")? {
        if file != staged(generation) {
            disk.remove(&file)?;
        }
    }
    disk.rename(&staged(generation), &snapshot_file(name))
}

fn open_snapshots(disk: &Handle, generation: u64) -> Result<BTreeMap<String, Arc<TwinSnapshot>>> {
    let read = |file: &str| -> Result<TwinSnapshot> {
        let data = disk.read(file)?.unwrap_or_default();
        TwinSnapshot::decode(file, data)
    };
    let finished = staged(generation);
    if disk.list("snap/")?.contains(&finished) {
        adopt(disk, generation, &read(&finished)?.manifest.name)?;
    }
    let mut snapshots = BTreeMap::new();
    for file in disk.list("snap/")? {
        match read(&file) {
            Ok(snapshot) if !file.ends_with(".staged") => {
                snapshots.insert(snapshot.manifest.name.clone(), Arc::new(snapshot));
            }
            _ => disk.remove(&file)?,
        }
    }
    Ok(snapshots)
}

fn replay(disk: &Handle, generation: u64) -> Result<Content> {
    let base = base(generation);
    let mut content = match disk.read(&base)? {
        Some(rows) => {
            decode_rows(rows.into()).ok_or_else(|| damaged(&base, "its rows cannot be read"))?
        }
        None => Content::new(),
    };
    let wal = wal(generation);
    if let Some(data) = disk.read(&wal)? {
        let size = data.len();
        let (records, end) = unframe(data);
        for record in records {
            let rows =
                decode_batch(record).ok_or_else(|| damaged(&wal, "a batch has no meaning"))?;
            apply(&mut content, rows);
        }
        if end < size {
            disk.truncate(&wal, end)?;
        }
    }
    Ok(content)
}

/// The rows of a batch with its markers among them.
fn all_rows(batch: Batch) -> Vec<Write> {
    let mut rows = batch.writes;
    for (name, value) in [(APPLIED, batch.applied), (MEMBERSHIP, batch.membership)] {
        if value.is_some() {
            rows.push(Write {
                table: Table::Meta,
                key: Bytes::from_static(name.as_bytes()),
                value,
            });
        }
    }
    rows
}

fn apply(content: &mut Content, rows: Vec<Write>) {
    for row in rows {
        let key = (row.table, row.key);
        match row.value {
            Some(value) => content.insert(key, value),
            None => content.remove(&key),
        };
    }
}

fn encode_batch(rows: &[Write]) -> Bytes {
    let mut record = Encoder::default();
    for row in rows {
        record = record
            .number(row.table.code().into())
            .bytes(&row.key)
            .optional(row.value.as_deref());
    }
    record.done()
}

fn decode_batch(record: Bytes) -> Option<Vec<Write>> {
    let mut record = Decoder(record);
    let mut rows = Vec::new();
    while !record.is_empty() {
        let table = decode_table(record.number()?)?;
        rows.push(Write {
            table,
            key: record.bytes()?,
            value: record.optional()?,
        });
    }
    Some(rows)
}

fn damaged(path: &str, detail: &str) -> StorageError {
    StorageError::corruption("open the state", Path::new(path), detail)
}

fn base(generation: u64) -> String {
    format!("state/{generation:06}.base")
}

fn wal(generation: u64) -> String {
    format!("state/{generation:06}.wal")
}

fn staged(generation: u64) -> String {
    format!("snap/{generation:06}.staged")
}

fn snapshot_file(name: &str) -> String {
    format!("snap/{name}")
}
