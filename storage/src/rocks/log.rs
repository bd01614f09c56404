//! The Raft log, the vote and the committed marker in `raft/`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{Direction, IteratorMode, ReadOptions, WriteBatch};

use super::db::Db;
use super::group_commit::GroupCommit;
use super::options::{self, Shared};
use super::watermark::Watermark;
use crate::engine::{Done, LogBounds, LogEngine, Result};
use crate::error::StorageError;
use crate::files;
use crate::rules;

const LOG: &str = "log";
const META: &str = "meta";
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
/// Index (8 bytes, big endian), then the caller's marker.
const PURGED: &[u8] = b"purged";

/// Whole files of purged entries are given back after so many of them.
const RECLAIM_EVERY: u64 = 4_096;

/// [`LogEngine`] on RocksDB.
pub struct RocksLog {
    db: Arc<Db>,
    /// Held over every write, so that log order, queue order and bounds agree.
    ends: Mutex<Ends>,
    // Declared last: its thread is joined, and with it every callback done, while the rest still exists.
    commit: GroupCommit,
}

struct Ends {
    bounds: LogBounds,
    /// Entries below were given back to the file system.
    reclaimed: u64,
}

impl RocksLog {
    /// Opens `data_dir/raft`, and reads every entry once: a damaged log is refused at the start, not in the
    /// middle of an election.
    pub fn open(data_dir: &Path, shared: &Shared) -> Result<Self> {
        files::create_dir(data_dir)?;
        let path = data_dir.join("raft");
        let families = [(LOG, shared.log_family()), (META, shared.log_family())];
        let db = Arc::new(Db::open(&path, true, families, |logger| {
            shared.log_database(logger)
        })?);
        let mut watermark = Watermark::open(&data_dir.join("raft.acked"))?;
        check_acknowledged(&db, &watermark)?;
        let bounds = read_bounds(&db)?;
        // Settled before anything is promised: recovery may have replayed bytes that were only in the cache.
        db.db
            .flush_wal(true)
            .map_err(|error| db.error("fsync the log", error))?;
        watermark.advance(db.db.latest_sequence_number())?;

        let synced = db.clone();
        let commit = GroupCommit::start(move || {
            let sequence = synced.db.latest_sequence_number();
            synced
                .db
                .flush_wal(true)
                .map_err(|error| synced.error("fsync the log", error))?;
            watermark.advance(sequence)
        })?;
        let reclaimed = bounds.first.unwrap_or_default();
        Ok(RocksLog {
            db,
            ends: Mutex::new(Ends { bounds, reclaimed }),
            commit,
        })
    }

    /// What recovery threw away at open. Never anything acknowledged: that is refused.
    pub fn dropped_at_open(&self) -> &[String] {
        &self.db.dropped
    }

    /// How often the log was fsynced since open. Fewer than acknowledged writes: groups share one.
    pub fn fsyncs(&self) -> u64 {
        self.db.wal_fsyncs()
    }

    fn write(&self, operation: &'static str, batch: WriteBatch) -> Result<()> {
        let written = self.db.db.write_opt(batch, &options::unsynced());
        written.map_err(|error| {
            let error = self.db.error(operation, error);
            self.commit.fail(&error);
            error
        })
    }

    fn get_meta(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.db.db.get_cf(self.db.family(META)?, key);
        Ok(value
            .map_err(|error| self.db.error("read the log", error))?
            .map(Bytes::from))
    }

    fn put_meta(&self, operation: &'static str, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.db.family(META)?, key, value);
        self.write(operation, batch)
    }

    /// Gives whole files of purged entries back. The purge is synced first: files are removed at once, and a
    /// purge marker that a power cut takes back would leave a hole (S5).
    fn reclaim(&self, ends: &mut Ends, up_to: u64) -> Result<()> {
        if up_to < ends.reclaimed.saturating_add(RECLAIM_EVERY) {
            return Ok(());
        }
        let failed = |error| {
            let error = self.db.error("fsync the log", error);
            self.commit.fail(&error);
            error
        };
        self.db.db.flush_wal(true).map_err(failed)?;
        // RocksDB's range includes its end, which must not be a live entry.
        let range = (ends.reclaimed.to_be_bytes(), (up_to - 1).to_be_bytes());
        let deleted = self
            .db
            .db
            .delete_file_in_range_cf(self.db.family(LOG)?, range.0, range.1);
        deleted.map_err(|error| self.db.error("give purged entries back", error))?;
        ends.reclaimed = up_to;
        Ok(())
    }
}

impl LogEngine for RocksLog {
    fn bounds(&self) -> LogBounds {
        self.ends.lock().bounds.clone()
    }

    fn last(&self) -> Result<Option<(u64, Bytes)>> {
        let Some(last) = self.ends.lock().bounds.last else {
            return Ok(None);
        };
        Ok(self.read(last..last.saturating_add(1), 0)?.pop())
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<(u64, Bytes)>> {
        let log = self.db.family(LOG)?;
        let (mut expected, entries) = {
            // Under the lock, so that the bounds and the iterator are of one moment. Starting at the first
            // live entry keeps the iterator from walking over purged ones.
            let ends = self.ends.lock();
            let Some(range) = rules::clamp(&ends.bounds, range) else {
                return Ok(Vec::new());
            };
            let mut read = ReadOptions::default();
            read.set_iterate_upper_bound(range.end.to_be_bytes());
            let mode = IteratorMode::From(&range.start.to_be_bytes(), Direction::Forward);
            (range.start, self.db.db.iterator_cf_opt(log, read, mode))
        };
        let mut found = Vec::new();
        let mut size = 0usize;
        for entry in entries {
            let (key, value) = entry.map_err(|error| self.db.error("read the log", error))?;
            let index = decode_index(&self.db, &key)?;
            if index != expected {
                return Err(hole(&self.db, expected, index));
            }
            size = size.saturating_add(value.len());
            if size > max_bytes && !found.is_empty() {
                break;
            }
            found.push((index, Bytes::from(value)));
            expected += 1;
        }
        if found.is_empty() {
            return Err(hole(&self.db, expected, expected));
        }
        Ok(found)
    }

    fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) -> Result<()> {
        let log = self.db.family(LOG)?;
        let mut ends = self.ends.lock();
        self.commit.check()?;
        if let Some((first, last)) = rules::check_append(&ends.bounds, &entries)? {
            let mut batch = WriteBatch::default();
            for (index, entry) in &entries {
                batch.put_cf(log, index.to_be_bytes(), entry);
            }
            self.write("append to the log", batch)?;
            ends.bounds.first.get_or_insert(first);
            ends.bounds.last = Some(last);
        }
        self.commit.push(done);
        Ok(())
    }

    fn truncate_after(&self, keep: Option<u64>) -> Result<()> {
        let log = self.db.family(LOG)?;
        let mut ends = self.ends.lock();
        self.commit.check()?;
        let Some(cut) = rules::truncation(&ends.bounds, keep) else {
            return Ok(());
        };
        // One range tombstone in one write: atomic, so no hole can appear (S5).
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(log, cut.start.to_be_bytes(), cut.end.to_be_bytes());
        self.write("truncate the log", batch)?;
        rules::truncate(&mut ends.bounds, cut.start);
        Ok(())
    }

    fn purge_to(&self, index: u64, marker: Bytes) -> Result<()> {
        let log = self.db.family(LOG)?;
        let meta = self.db.family(META)?;
        let mut ends = self.ends.lock();
        self.commit.check()?;
        let Some(from) = rules::purge_plan(&ends.bounds, index)? else {
            return Ok(());
        };
        let mut value = index.to_be_bytes().to_vec();
        value.extend_from_slice(&marker);
        let mut batch = WriteBatch::default();
        batch.put_cf(meta, PURGED, value);
        batch.delete_range_cf(log, from.to_be_bytes(), (index + 1).to_be_bytes());
        self.write("purge the log", batch)?;
        rules::purge(&mut ends.bounds, index, marker);
        self.reclaim(&mut ends, index + 1)
    }

    fn save_vote(&self, vote: Bytes, done: Done) -> Result<()> {
        let _ordered = self.ends.lock();
        self.commit.check()?;
        self.put_meta("save the vote", VOTE, &vote)?;
        self.commit.push(done);
        Ok(())
    }

    fn vote(&self) -> Result<Option<Bytes>> {
        self.get_meta(VOTE)
    }

    fn save_committed(&self, committed: Bytes) -> Result<()> {
        let _ordered = self.ends.lock();
        self.commit.check()?;
        self.put_meta("save the committed marker", COMMITTED, &committed)
    }

    fn committed(&self) -> Result<Option<Bytes>> {
        self.get_meta(COMMITTED)
    }

    fn sync(&self, done: Done) -> Result<()> {
        let _ordered = self.ends.lock();
        self.commit.check()?;
        self.commit.push(done);
        Ok(())
    }
}

fn check_acknowledged(db: &Db, watermark: &Watermark) -> Result<()> {
    let found = db.db.latest_sequence_number();
    for message in &db.dropped {
        tracing::warn!(path = %db.path.display(), "recovery left out the end of a write-ahead log: {message}");
    }
    if found >= watermark.sequence() {
        return Ok(());
    }
    let detail = format!(
        "it ends at write {found}, but write {} was acknowledged to other replicas{}{}",
        watermark.sequence(),
        if db.dropped.is_empty() {
            ""
        } else {
            "; recovery said: "
        },
        db.dropped.join("; "),
    );
    Err(StorageError::corruption("open the log", &db.path, detail))
}

fn read_bounds(db: &Db) -> Result<LogBounds> {
    let fail = |error| db.error("read the log", error);
    let purged = db.db.get_cf(db.family(META)?, PURGED).map_err(fail)?;
    let purged = purged.map(|value| decode_purged(db, value)).transpose()?;
    let start = purged.as_ref().map_or(0, |(index, _)| index + 1);
    let mode = IteratorMode::From(&start.to_be_bytes(), Direction::Forward);
    let (mut first, mut last) = (None, None);
    for entry in db.db.iterator_cf(db.family(LOG)?, mode) {
        let (key, _) = entry.map_err(fail)?;
        let index = decode_index(db, &key)?;
        let expected = last.map_or(if purged.is_some() { start } else { index }, |last: u64| {
            last + 1
        });
        if index != expected {
            return Err(hole(db, expected, index));
        }
        first.get_or_insert(index);
        last = Some(index);
    }
    Ok(LogBounds {
        first,
        last,
        purged,
    })
}

fn decode_index(db: &Db, key: &[u8]) -> Result<u64> {
    let bad = |_| {
        StorageError::corruption(
            "read the log",
            &db.path,
            format!("{} is no log key", hex::encode(key)),
        )
    };
    key.try_into().map(u64::from_be_bytes).map_err(bad)
}

fn decode_purged(db: &Db, value: Vec<u8>) -> Result<(u64, Bytes)> {
    let value = Bytes::from(value);
    let bad =
        || StorageError::corruption("read the log", &db.path, "its purge marker is too short");
    let index = value.first_chunk::<8>().ok_or_else(bad)?;
    Ok((u64::from_be_bytes(*index), value.slice(8..)))
}

fn hole(db: &Db, expected: u64, found: u64) -> StorageError {
    let detail = if expected == found {
        format!("entry {expected} is missing")
    } else {
        format!("entry {expected} is missing, {found} comes next")
    };
    StorageError::corruption("read the log", &db.path, detail)
}
