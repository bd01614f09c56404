//! The log engine on the modelled disk: one write-ahead log, replayed at open.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;

use super::disk::{Disk, Handle, SyncMode};
use super::record::{Decoder, Encoder, frame, unframe};
use crate::engine::{Done, LogBounds, LogEngine, Result};
use crate::error::StorageError;
use crate::rules;

const WAL: &str = "raft/wal";

const APPEND: u64 = 1;
const TRUNCATE: u64 = 2;
const PURGE: u64 = 3;
const VOTE: u64 = 4;
const COMMITTED: u64 = 5;

/// [`LogEngine`] on a [`Disk`].
pub struct TwinLog {
    disk: Handle,
    mode: SyncMode,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    content: Content,
    waiting: Vec<Done>,
    failed: Option<StorageError>,
}

#[derive(Default)]
struct Content {
    entries: BTreeMap<u64, Bytes>,
    bounds: LogBounds,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
}

impl TwinLog {
    /// Replays what is on the disk.
    pub fn open(disk: &Disk, mode: SyncMode) -> Result<Self> {
        let disk = disk.handle();
        let mut content = Content::default();
        if let Some(data) = disk.read(WAL)? {
            let size = data.len();
            let (records, end) = unframe(data);
            for record in records {
                let bad = || {
                    StorageError::corruption(
                        "open the log",
                        Path::new(WAL),
                        "a record has no meaning",
                    )
                };
                content.replay(record).ok_or_else(bad)?;
            }
            if end < size {
                // Appending behind a torn record would hide everything that follows it.
                disk.truncate(WAL, end)?;
            }
            disk.fsync(WAL)?;
        }
        Ok(TwinLog {
            disk,
            mode,
            state: Mutex::new(State {
                content,
                ..State::default()
            }),
        })
    }

    /// Syncs once and calls back everybody who waits ([`SyncMode::Manual`]). Returns how many.
    pub fn complete(&self) -> usize {
        let (waiting, outcome) = {
            let mut state = self.state.lock();
            if state.waiting.is_empty() {
                return 0;
            }
            let outcome = match &state.failed {
                Some(first) => Err(first.stopped()),
                None => self.disk.fsync(WAL),
            };
            if let Err(error) = &outcome {
                state.failed.get_or_insert_with(|| error.clone());
            }
            (std::mem::take(&mut state.waiting), outcome)
        };
        let count = waiting.len();
        for done in waiting {
            done(outcome.clone());
        }
        count
    }

    /// How many wait for [`TwinLog::complete`].
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Writes one record, then lets `effect` change what is read.
    fn write(
        &self,
        state: &mut State,
        record: Encoder,
        effect: impl FnOnce(&mut Content),
    ) -> Result<()> {
        if let Err(error) = self.disk.append(WAL, &frame(&record.done())) {
            state.failed = Some(error.clone());
            return Err(error);
        }
        effect(&mut state.content);
        Ok(())
    }

    fn promise(&self, mut state: parking_lot::MutexGuard<'_, State>, done: Done) {
        if self.mode == SyncMode::Lying {
            drop(state);
            done(Ok(()));
            return;
        }
        state.waiting.push(done);
        drop(state);
        if self.mode == SyncMode::Auto {
            self.complete();
        }
    }

    fn writable(&self) -> Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        match &state.failed {
            Some(first) => Err(first.stopped()),
            None => Ok(state),
        }
    }
}

impl LogEngine for TwinLog {
    fn bounds(&self) -> LogBounds {
        self.state.lock().content.bounds.clone()
    }

    fn last(&self) -> Result<Option<(u64, Bytes)>> {
        let state = self.state.lock();
        Ok(state
            .content
            .entries
            .last_key_value()
            .map(|(index, entry)| (*index, entry.clone())))
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<(u64, Bytes)>> {
        let state = self.state.lock();
        let Some(range) = rules::clamp(&state.content.bounds, range) else {
            return Ok(Vec::new());
        };
        let mut found: Vec<(u64, Bytes)> = Vec::new();
        let mut size = 0usize;
        for (index, entry) in state.content.entries.range(range) {
            size = size.saturating_add(entry.len());
            if size > max_bytes && !found.is_empty() {
                break;
            }
            found.push((*index, entry.clone()));
        }
        Ok(found)
    }

    fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) -> Result<()> {
        let mut state = self.writable()?;
        if rules::check_append(&state.content.bounds, &entries)?.is_some() {
            let mut record = Encoder::default().number(APPEND);
            for (index, entry) in &entries {
                record = record.number(*index).bytes(entry);
            }
            self.write(&mut state, record, |content| content.append(entries))?;
        }
        self.promise(state, done);
        Ok(())
    }

    fn truncate_after(&self, keep: Option<u64>) -> Result<()> {
        let mut state = self.writable()?;
        let Some(cut) = rules::truncation(&state.content.bounds, keep) else {
            return Ok(());
        };
        let record = Encoder::default().number(TRUNCATE).number(cut.start);
        self.write(&mut state, record, |content| content.truncate(cut.start))
    }

    fn purge_to(&self, index: u64, marker: Bytes) -> Result<()> {
        let mut state = self.writable()?;
        if rules::purge_plan(&state.content.bounds, index)?.is_none() {
            return Ok(());
        }
        let record = Encoder::default()
            .number(PURGE)
            .number(index)
            .bytes(&marker);
        self.write(&mut state, record, |content| content.purge(index, marker))
    }

    fn save_vote(&self, vote: Bytes, done: Done) -> Result<()> {
        let mut state = self.writable()?;
        let record = Encoder::default().number(VOTE).bytes(&vote);
        self.write(&mut state, record, |content| content.vote = Some(vote))?;
        self.promise(state, done);
        Ok(())
    }

    fn vote(&self) -> Result<Option<Bytes>> {
        Ok(self.state.lock().content.vote.clone())
    }

    fn save_committed(&self, committed: Bytes) -> Result<()> {
        let mut state = self.writable()?;
        let record = Encoder::default().number(COMMITTED).bytes(&committed);
        self.write(&mut state, record, |content| {
            content.committed = Some(committed)
        })
    }

    fn committed(&self) -> Result<Option<Bytes>> {
        Ok(self.state.lock().content.committed.clone())
    }

    fn sync(&self, done: Done) -> Result<()> {
        let state = self.writable()?;
        self.promise(state, done);
        Ok(())
    }
}

impl Content {
    fn append(&mut self, entries: Vec<(u64, Bytes)>) {
        self.entries.extend(entries);
        self.bounds.first = self.entries.keys().next().copied();
        self.bounds.last = self.entries.keys().next_back().copied();
    }

    fn truncate(&mut self, start: u64) {
        self.entries.split_off(&start);
        rules::truncate(&mut self.bounds, start);
    }

    fn purge(&mut self, index: u64, marker: Bytes) {
        self.entries = self.entries.split_off(&(index + 1));
        rules::purge(&mut self.bounds, index, marker);
    }

    fn replay(&mut self, record: Bytes) -> Option<()> {
        let mut record = Decoder(record);
        match record.number()? {
            APPEND => {
                let mut entries = Vec::new();
                while !record.is_empty() {
                    entries.push((record.number()?, record.bytes()?));
                }
                self.append(entries);
            }
            TRUNCATE => self.truncate(record.number()?),
            PURGE => {
                let index = record.number()?;
                self.purge(index, record.bytes()?);
            }
            VOTE => self.vote = Some(record.bytes()?),
            COMMITTED => self.committed = Some(record.bytes()?),
            _ => return None,
        }
        Some(())
    }
}
