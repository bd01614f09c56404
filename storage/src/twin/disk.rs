//! The modelled disk.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::Result;
use crate::error::StorageError;

/// What happens at a chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails as a broken disk does. After a failed fsync the kernel has dropped the bytes:
    /// later fsyncs of that file succeed and save nothing.
    InputOutput,
    /// This and every later operation that needs space fails, until [`Disk::clear_fault`].
    Full,
    /// The power goes during the operation. Everything fails until [`Disk::crash`].
    PowerCut,
}

/// When the log engine syncs and calls back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Within the call.
    Auto,
    /// When [`super::TwinLog::complete`] is called.
    Manual,
    /// Calls back within the call, without any fsync. Wrong on purpose: a test that stays green with it
    /// does not test durability.
    Lying,
}

#[derive(Debug, Default)]
struct File {
    data: Vec<u8>,
    synced: usize,
    /// An fsync failed: what was not synced then never will be.
    lost: bool,
}

#[derive(Debug, Default)]
struct Model {
    files: BTreeMap<String, File>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    powered_off: bool,
    /// Handles of before a crash belong to a process that is dead.
    boot: u64,
}

/// A disk shared by the engines of one simulated replica. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    model: Arc<Mutex<Model>>,
}

/// What one engine holds; dead after a crash.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    disk: Disk,
    boot: u64,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Disk::default()
    }

    /// Power comes back. Synced bytes are there; of the others, a part that `seed` chooses, per file. Open
    /// engines are dead from now on; open new ones.
    pub fn crash(&self, seed: u64) {
        let mut model = self.model.lock();
        let mut random = Random(seed);
        for file in model.files.values_mut() {
            let unsynced = file.data.len() - file.synced;
            let kept = file.synced + random.below(unsynced as u64 + 1) as usize;
            file.data.truncate(kept);
            if kept > file.synced && random.below(2) == 0 {
                let torn = file.synced + random.below((kept - file.synced) as u64) as usize;
                for byte in &mut file.data[torn..] {
                    *byte ^= random.below(256) as u8;
                }
            }
            file.synced = file.data.len();
            file.lost = false;
        }
        model.powered_off = false;
        model.fault = None;
        model.boot += 1;
    }

    /// The process dies, the machine does not: every byte written is still there.
    pub fn kill(&self) {
        let mut model = self.model.lock();
        model.boot += 1;
        model.fault = None;
    }

    /// Makes the operation with that number (see [`Disk::operations`]) fail.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.model.lock().fault = Some((operation, fault));
    }

    /// Takes the fault back: the disk has space again.
    pub fn clear_fault(&self) {
        self.model.lock().fault = None;
    }

    /// How many operations have been done; the next one has this number.
    pub fn operations(&self) -> u64 {
        self.model.lock().operations
    }

    /// Flips one bit of a file that is synced already, as a decaying medium would. Files: `raft/wal`,
    /// `state/…`, `snap/…`. Returns whether the file has that byte.
    pub fn rot(&self, file: &str, at: usize) -> bool {
        let mut model = self.model.lock();
        let byte = model
            .files
            .get_mut(file)
            .and_then(|file| file.data.get_mut(at));
        byte.map(|byte| *byte ^= 1).is_some()
    }

    /// Names and sizes of all files.
    pub fn files(&self) -> Vec<(String, usize)> {
        self.model
            .lock()
            .files
            .iter()
            .map(|(name, file)| (name.clone(), file.data.len()))
            .collect()
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle {
            disk: self.clone(),
            boot: self.model.lock().boot,
        }
    }
}

impl Handle {
    /// Adds bytes to the end of a file, in the cache.
    pub(crate) fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.operate("write", path, |model, fault| {
            let cut = model.operations as usize % (bytes.len() + 1);
            let file = model.files.entry(path.to_owned()).or_default();
            match fault {
                None => file.data.extend_from_slice(bytes),
                Some(Fault::PowerCut) => file.data.extend_from_slice(&bytes[..cut]),
                Some(_) => {}
            }
        })
    }

    /// Makes the bytes of a file durable.
    pub(crate) fn fsync(&self, path: &str) -> Result<()> {
        self.operate("fsync", path, |model, fault| {
            let file = model.files.entry(path.to_owned()).or_default();
            match fault {
                None if !file.lost => file.synced = file.data.len(),
                None | Some(Fault::PowerCut) => {}
                Some(_) => file.lost = true,
            }
        })
    }

    /// Replaces a file as temporary, fsync, rename and fsync of the directory do: all or nothing, durable.
    pub(crate) fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.operate("replace", path, |model, fault| {
            if fault.is_none() {
                let file = File {
                    data: bytes.to_vec(),
                    synced: bytes.len(),
                    lost: false,
                };
                model.files.insert(path.to_owned(), file);
            }
        })
    }

    /// Renames a file, durably.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.operate("rename to", to, |model, fault| {
            if fault.is_none()
                && let Some(file) = model.files.remove(from)
            {
                model.files.insert(to.to_owned(), file);
            }
        })
    }

    /// Removes a file, durably.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        self.operate("remove", path, |model, fault| {
            if fault.is_none() {
                model.files.remove(path);
            }
        })
    }

    /// Cuts a file after a damaged tail.
    pub(crate) fn truncate(&self, path: &str, len: usize) -> Result<()> {
        self.operate("truncate", path, |model, fault| {
            if let Some(file) = model.files.get_mut(path)
                && fault.is_none()
            {
                file.data.truncate(len);
                file.synced = file.synced.min(len);
            }
        })
    }

    /// All bytes of a file, cached ones too.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let model = self.disk.model.lock();
        self.alive(&model, "read", path)?;
        Ok(model.files.get(path).map(|file| file.data.clone()))
    }

    /// Names that start with `prefix`, sorted.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let model = self.disk.model.lock();
        self.alive(&model, "list", prefix)?;
        Ok(model
            .files
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect())
    }

    fn operate(
        &self,
        operation: &'static str,
        path: &str,
        effect: impl FnOnce(&mut Model, Option<Fault>),
    ) -> Result<()> {
        let mut model = self.disk.model.lock();
        self.alive(&model, operation, path)?;
        let fault = model.fault_now(operation);
        effect(&mut model, fault);
        model.operations += 1;
        let kind = match fault {
            None => return Ok(()),
            Some(Fault::Full) => io::ErrorKind::StorageFull,
            Some(Fault::InputOutput) => io::ErrorKind::Other,
            Some(Fault::PowerCut) => {
                model.powered_off = true;
                io::ErrorKind::Other
            }
        };
        Err(StorageError::io(
            operation,
            &PathBuf::from(path),
            io::Error::new(kind, "injected by the test"),
        ))
    }

    fn alive(&self, model: &Model, operation: &'static str, path: &str) -> Result<()> {
        if model.powered_off || model.boot != self.boot {
            let error =
                io::Error::other("the simulated machine is off, or was started again since");
            return Err(StorageError::io(operation, &PathBuf::from(path), error));
        }
        Ok(())
    }
}

impl Model {
    fn fault_now(&mut self, operation: &'static str) -> Option<Fault> {
        let (at, fault) = self.fault?;
        let needs_space = matches!(operation, "write" | "replace");
        let due = match fault {
            Fault::Full => needs_space && self.operations >= at,
            _ => self.operations == at,
        };
        due.then_some(fault)
    }
}

/// SplitMix64: a few lines instead of a dependency, the same everywhere for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}
