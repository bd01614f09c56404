//! Finished snapshots on disk: one directory each, with a manifest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::current::{Current, Layout};
use crate::engine::{Checkpoint, Result, Snapshot};
use crate::error::StorageError;
use crate::files;
use crate::manifest::{MANIFEST_FILE, MANIFEST_FORMAT, Manifest, SnapshotFile};

/// A directory under `snap/`. Removed when it is no longer listed and nobody holds it.
pub(crate) struct DiskSnapshot {
    manifest: Manifest,
    path: RwLock<PathBuf>,
    unlisted: AtomicBool,
}

impl Snapshot for DiskSnapshot {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn read(&self, file: &str, offset: u64, max: usize) -> Result<Bytes> {
        let Some(entry) = self.manifest.file(file) else {
            let reason = format!("{} has no file {file}", self.manifest.name);
            return Err(StorageError::refused("read a snapshot", reason));
        };
        let path = self.path.read().join(file);
        let left = entry.size.saturating_sub(offset);
        let mut buffer = vec![0; usize::try_from(left).map_or(max, |left| left.min(max))];
        let read = File::open(&path).and_then(|opened| opened.read_exact_at(&mut buffer, offset));
        read.map_err(|error| StorageError::io("read", &path, error))?;
        Ok(buffer.into())
    }
}

impl Drop for DiskSnapshot {
    fn drop(&mut self) {
        if self.unlisted.load(Ordering::Acquire) {
            let path = self.path.get_mut();
            if let Err(error) = files::remove_dir(path) {
                tracing::warn!(path = %path.display(), cause = ?error, "an old snapshot could not be removed; the next start tries again");
            }
        }
    }
}

/// The snapshots of a replica.
pub(crate) struct Snapshots {
    layout: Layout,
    listed: Mutex<BTreeMap<String, Arc<DiskSnapshot>>>,
    temporary: AtomicU64,
}

impl Snapshots {
    /// Lists what is there; finishes an install that a crash interrupted after its switch.
    pub(crate) fn open(layout: &Layout, current: Current) -> Result<Self> {
        let snapshots = Snapshots {
            layout: layout.clone(),
            listed: Mutex::new(BTreeMap::new()),
            temporary: AtomicU64::new(0),
        };
        for name in files::list(&layout.snapshots)? {
            let path = layout.snapshots.join(&name);
            if name.ends_with(".staged") {
                continue;
            }
            match read_snapshot(&path) {
                Ok(manifest) if manifest.name == name => {
                    snapshots.list(manifest, path);
                }
                other => {
                    // It can be made again from the state; a copy that is not whole must not be sent.
                    tracing::warn!(path = %path.display(), cause = ?other.err(), "a snapshot is not whole and is removed");
                    files::remove_dir(&path)?;
                }
            }
        }
        let staged = layout.staged(current.generation);
        if staged.is_dir() {
            snapshots.adopt(&staged, read_snapshot(&staged)?)?;
        }
        Ok(snapshots)
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn Snapshot>> {
        self.listed
            .lock()
            .values()
            .map(|snapshot| snapshot.clone() as Arc<dyn Snapshot>)
            .collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<DiskSnapshot>> {
        self.listed.lock().get(name).cloned()
    }

    /// A directory name that nothing else uses; swept at the next start.
    pub(crate) fn temporary(&self) -> PathBuf {
        loop {
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let path = self.layout.snapshots.join(format!("{number}.tmp"));
            if !path.exists() {
                return path;
            }
        }
    }

    pub(crate) fn retain(&self, keep: usize) -> Result<()> {
        let mut listed = self.listed.lock();
        while listed.len() > keep {
            let Some((_, oldest)) = listed.pop_first() else {
                break;
            };
            self.unlist(oldest)?;
        }
        Ok(())
    }

    /// Makes the staged snapshot of an install the only one.
    pub(crate) fn adopt(&self, staged: &Path, manifest: Manifest) -> Result<Arc<DiskSnapshot>> {
        self.retain(0)?;
        self.publish(staged, manifest)
    }

    fn publish(&self, from: &Path, manifest: Manifest) -> Result<Arc<DiskSnapshot>> {
        let path = self.layout.snapshots.join(&manifest.name);
        files::rename(from, &path)?;
        Ok(self.list(manifest, path))
    }

    fn list(&self, manifest: Manifest, path: PathBuf) -> Arc<DiskSnapshot> {
        let name = manifest.name.clone();
        let snapshot = Arc::new(DiskSnapshot {
            manifest,
            path: RwLock::new(path),
            unlisted: AtomicBool::new(false),
        });
        self.listed.lock().insert(name, snapshot.clone());
        snapshot
    }

    /// Moves the directory out of the way at once, so that its name is free although somebody still reads it.
    fn unlist(&self, snapshot: Arc<DiskSnapshot>) -> Result<()> {
        let aside = self.temporary();
        let mut path = snapshot.path.write();
        files::rename(&path, &aside)?;
        *path = aside;
        snapshot.unlisted.store(true, Ordering::Release);
        Ok(())
    }
}

/// A RocksDB checkpoint waiting for its checksums.
pub(crate) struct DiskCheckpoint {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) applied: Option<Vec<u8>>,
    pub(crate) membership: Option<Vec<u8>>,
}

impl Checkpoint for DiskCheckpoint {
    fn finish(self: Box<Self>, hash: u64) -> Result<Arc<dyn Snapshot>> {
        let mut manifest = Manifest {
            format: MANIFEST_FORMAT,
            name: self.name.clone(),
            applied: self.applied.clone(),
            membership: self.membership.clone(),
            hash,
            files: Vec::new(),
        };
        for name in files::list(&self.path)? {
            let (size, crc32) = files::checksum(&self.path.join(&name))?;
            manifest.files.push(SnapshotFile { name, size, crc32 });
        }
        seal(&self.path, &manifest)?;
        Ok(self.snapshots.publish(&self.path, manifest)?)
    }
}

impl Drop for DiskCheckpoint {
    fn drop(&mut self) {
        // Not there any more when it has become a snapshot.
        let _ = files::remove_dir(&self.path);
    }
}

/// A snapshot of that name and content is there already.
pub(crate) struct Existing(pub(crate) Arc<DiskSnapshot>);

impl Checkpoint for Existing {
    fn finish(self: Box<Self>, _hash: u64) -> Result<Arc<dyn Snapshot>> {
        Ok(self.0)
    }
}

/// Writes the manifest and makes the whole directory durable, except for its own name.
pub(crate) fn seal(path: &Path, manifest: &Manifest) -> Result<()> {
    for file in &manifest.files {
        files::sync_file(&path.join(&file.name))?;
    }
    files::write_synced(&path.join(MANIFEST_FILE), &manifest.encode())?;
    files::sync_dir(path)
}

fn read_snapshot(path: &Path) -> Result<Manifest> {
    let file = path.join(MANIFEST_FILE);
    let text = fs::read(&file).map_err(|error| StorageError::io("read", &file, error))?;
    let manifest = Manifest::decode(&text)?;
    for expected in &manifest.files {
        let file = path.join(&expected.name);
        let size = fs::metadata(&file)
            .map_err(|error| StorageError::io("read", &file, error))?
            .len();
        if size != expected.size {
            let detail = format!("it has {size} bytes, its manifest says {}", expected.size);
            return Err(StorageError::corruption("list snapshots", &file, detail));
        }
    }
    Ok(manifest)
}
