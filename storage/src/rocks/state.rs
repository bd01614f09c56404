//! The rows in `state/`, their snapshots in `snap/`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use rocksdb::{Direction, IteratorMode, ReadOptions, WriteBatch, checkpoint};

use super::current::{FIRST_GENERATION, Layout};
use super::db::Db;
use super::incoming::DiskIncoming;
use super::options::{self, Shared};
use super::snapshot::{DiskCheckpoint, Existing, Snapshots};
use crate::engine::{
    APPLIED, Batch, Checkpoint, Incoming, MEMBERSHIP, Result, Rows, Scan, Snapshot, StateEngine,
    Visit,
};
use crate::error::StorageError;
use crate::files;
use crate::manifest::{Manifest, check_name};
use crate::rules::refuse_reserved;
use crate::table::Table;

/// [`StateEngine`] on RocksDB.
pub struct RocksState {
    owned: Arc<Owned>,
}

/// What snapshots on their way in keep alive.
pub(crate) struct Owned {
    pub(crate) layout: Layout,
    pub(crate) snapshots: Arc<Snapshots>,
    shared: Arc<Shared>,
    live: RwLock<Arc<Live>>,
    failed: Mutex<Option<StorageError>>,
}

impl RocksState {
    /// Opens the live state under `data_dir`, or creates it.
    pub fn open(data_dir: &Path, shared: Arc<Shared>) -> Result<Self> {
        files::create_dir(data_dir)?;
        let layout = Layout::new(data_dir);
        let current = layout.load_or_create()?;
        // The database first: its lock says that nobody else uses these directories.
        let live = Live::open_in(
            &layout,
            &shared,
            current.generation,
            current.generation == FIRST_GENERATION,
        )?;
        layout.sweep(current)?;
        let snapshots = Arc::new(Snapshots::open(&layout, current)?);
        let live = RwLock::new(Arc::new(live));
        Ok(RocksState {
            owned: Arc::new(Owned {
                layout,
                snapshots,
                shared,
                live,
                failed: Mutex::new(None),
            }),
        })
    }

    /// What recovery threw away at open; the log replays it.
    pub fn dropped_at_open(&self) -> Vec<String> {
        self.owned.live().db.dropped.clone()
    }
}

impl StateEngine for RocksState {
    fn rows(&self) -> Arc<dyn Rows> {
        self.owned.live()
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut writer = self.owned.writer()?;
        let live = self.owned.live();
        let mut write = WriteBatch::default();
        for row in &batch.writes {
            refuse_reserved(row.table, &row.key)?;
            let family = live.db.family(row.table.name())?;
            match &row.value {
                Some(value) => write.put_cf(family, &row.key, value),
                None => write.delete_cf(family, &row.key),
            }
        }
        let meta = live.db.family(Table::Meta.name())?;
        for (name, value) in [(APPLIED, &batch.applied), (MEMBERSHIP, &batch.membership)] {
            if let Some(value) = value {
                write.put_cf(meta, name, value);
            }
        }
        let written = live.db.db.write_opt(write, &options::unsynced());
        written.map_err(|error| writer.fail(live.db.error("write rows", error)))
    }

    fn meta(&self, name: &str) -> Result<Option<Bytes>> {
        self.owned.live().meta(name)
    }

    fn sync(&self) -> Result<()> {
        let mut writer = self.owned.writer()?;
        let live = self.owned.live();
        live.db
            .db
            .flush_wal(true)
            .map_err(|error| writer.fail(live.db.error("fsync the state", error)))
    }

    fn checkpoint(&self, name: &str) -> Result<Box<dyn Checkpoint>> {
        check_name(name)?;
        let mut writer = self.owned.writer()?;
        let live = self.owned.live();
        let applied = live.meta(APPLIED)?.map(Vec::from);
        let membership = live.meta(MEMBERSHIP)?.map(Vec::from);
        if let Some(existing) = self.owned.snapshots.get(name) {
            if existing.manifest().applied == applied {
                return Ok(Box::new(Existing(existing)));
            }
            let reason = format!(
                "{name} exists and covers another state; use a name that says what it covers"
            );
            return Err(StorageError::refused("take a snapshot", reason));
        }
        let path = self.owned.snapshots.temporary();
        // The flush inside may hit a full disk; RocksDB then takes no more writes, and neither do we.
        checkpoint::Checkpoint::new(&live.db.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(&path))
            .map_err(|error| writer.fail(super::db::convert("take a snapshot", &path, error)))?;
        let snapshots = self.owned.snapshots.clone();
        Ok(Box::new(DiskCheckpoint {
            snapshots,
            path,
            name: name.to_owned(),
            applied,
            membership,
        }))
    }

    fn snapshots(&self) -> Vec<Arc<dyn Snapshot>> {
        self.owned.snapshots.all()
    }

    fn retain_snapshots(&self, keep: usize) -> Result<()> {
        self.owned.snapshots.retain(keep)
    }

    fn receive(&self, manifest: Manifest) -> Result<Box<dyn Incoming>> {
        Ok(Box::new(DiskIncoming::start(self.owned.clone(), manifest)?))
    }
}

impl Owned {
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.read().clone()
    }

    /// Readers of the old state finish; its directory goes with the last of them.
    pub(crate) fn replace_live(&self, live: Live) {
        let old = std::mem::replace(&mut *self.live.write(), Arc::new(live));
        old.doom(true);
    }

    /// One writer at a time, and none after the first failure (S11).
    pub(crate) fn writer(&self) -> Result<Writer<'_>> {
        let failed = self.failed.lock();
        match &*failed {
            Some(first) => Err(first.stopped()),
            None => Ok(Writer(failed)),
        }
    }
}

/// The right to change the state.
pub(crate) struct Writer<'a>(MutexGuard<'a, Option<StorageError>>);

impl Writer<'_> {
    /// Remembers the failure and hands it on.
    pub(crate) fn fail(&mut self, error: StorageError) -> StorageError {
        tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "the state takes no more writes");
        self.0.get_or_insert(error).clone()
    }
}

/// One generation of the state, open.
pub(crate) struct Live {
    // Dropped in this order: the directory can go only after the database is closed.
    pub(crate) db: Db,
    pub(crate) generation: u64,
    directory: Directory,
}

struct Directory {
    path: PathBuf,
    doomed: AtomicBool,
}

impl Live {
    pub(crate) fn open(owned: &Owned, generation: u64, create: bool) -> Result<Live> {
        Live::open_in(&owned.layout, &owned.shared, generation, create)
    }

    fn open_in(layout: &Layout, shared: &Shared, generation: u64, create: bool) -> Result<Live> {
        let path = layout.generation(generation);
        let families = Table::ALL.map(|table| (table.name(), shared.state_family()));
        let db = Db::open(&path, create, families, |logger| {
            shared.state_database(logger)
        })?;
        Ok(Live {
            db,
            generation,
            directory: Directory {
                path,
                doomed: AtomicBool::new(false),
            },
        })
    }

    /// Whether the directory is removed when the last user is gone.
    pub(crate) fn doom(&self, doomed: bool) {
        self.directory.doomed.store(doomed, Ordering::Release);
    }

    pub(crate) fn meta(&self, name: &str) -> Result<Option<Bytes>> {
        self.get(Table::Meta, name.as_bytes())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire)
            && let Err(error) = files::remove_dir(&self.path)
        {
            tracing::warn!(path = %self.path.display(), cause = ?error, "an old state could not be removed; the next start tries again");
        }
    }
}

impl Rows for Live {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.db.db.get_cf(self.db.family(table.name())?, key);
        Ok(value
            .map_err(|error| self.db.error("read a row", error))?
            .map(Bytes::from))
    }

    fn scan(&self, scan: Scan<'_>, visit: Visit<'_>) -> Result<()> {
        if scan.to.is_some_and(|to| to <= scan.from) {
            return Ok(());
        }
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(scan.from);
        if let Some(to) = scan.to {
            read.set_iterate_upper_bound(to);
        }
        let mode = if scan.reverse {
            IteratorMode::End
        } else {
            IteratorMode::From(scan.from, Direction::Forward)
        };
        let rows = self
            .db
            .db
            .iterator_cf_opt(self.db.family(scan.table.name())?, read, mode);
        for row in rows.take(scan.limit) {
            let (key, value) = row.map_err(|error| self.db.error("scan rows", error))?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
