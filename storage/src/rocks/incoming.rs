//! Receiving a snapshot, and replacing the state with it in one step (S10).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::current::Current;
use super::snapshot::seal;
use super::state::{Live, Owned};
use crate::engine::{APPLIED, Incoming, MEMBERSHIP, Result, Snapshot};
use crate::error::StorageError;
use crate::files;
use crate::manifest::Manifest;

/// One file as far as it has come.
struct Part {
    file: File,
    size: u64,
    crc: crc32fast::Hasher,
}

pub(crate) struct DiskIncoming {
    engine: Arc<Owned>,
    manifest: Manifest,
    path: PathBuf,
    parts: BTreeMap<String, Part>,
}

impl DiskIncoming {
    pub(crate) fn start(engine: Arc<Owned>, manifest: Manifest) -> Result<Self> {
        // Names come from a peer: the same checks as for bytes.
        let manifest = Manifest::decode(&manifest.encode())?;
        let path = engine.snapshots.temporary();
        files::create_dir(&path)?;
        Ok(DiskIncoming {
            engine,
            manifest,
            path,
            parts: BTreeMap::new(),
        })
    }

    fn verify(&mut self) -> Result<()> {
        for expected in &self.manifest.files {
            let part = match self.parts.remove(&expected.name) {
                Some(part) => part,
                // A file without bytes needs no write.
                None => open_part(&self.path, &expected.name)?,
            };
            let crc = part.crc.finalize();
            if (part.size, crc) != (expected.size, expected.crc32) {
                let reason = format!(
                    "{} arrived with {} bytes and checksum {crc:08x}, its manifest says {} and {:08x}; send it again",
                    expected.name, part.size, expected.size, expected.crc32
                );
                return Err(StorageError::refused("install a snapshot", reason));
            }
        }
        Ok(())
    }

    /// Builds the next state directory from the staged snapshot and opens it.
    fn build(&self, staged: &Path, generation: u64) -> Result<Live> {
        let target = self.engine.layout.generation(generation);
        files::remove_dir(&target)?;
        files::create_dir(&target)?;
        for file in &self.manifest.files {
            let (from, to) = (staged.join(&file.name), target.join(&file.name));
            // Tables never change, so both directories can share them; the rest RocksDB may write to.
            let placed = if file.name.ends_with(".sst") {
                fs::hard_link(&from, &to)
            } else {
                fs::copy(&from, &to).map(drop)
            };
            placed.map_err(|error| StorageError::io("place", &to, error))?;
            files::sync_file(&to)?;
        }
        files::sync_dir(&target)?;
        let live = Live::open(&self.engine, generation, false)?;
        live.doom(true);
        for (name, expected) in [
            (APPLIED, &self.manifest.applied),
            (MEMBERSHIP, &self.manifest.membership),
        ] {
            let found = live.meta(name)?;
            if found.as_deref() != expected.as_deref() {
                let detail = format!("its {name} marker is not the one its manifest names");
                return Err(StorageError::corruption(
                    "install a snapshot",
                    &target,
                    detail,
                ));
            }
        }
        Ok(live)
    }

    fn stage(&mut self, staged: &Path) -> Result<()> {
        seal(&self.path, &self.manifest)?;
        files::remove_dir(staged)?;
        files::rename(&self.path, staged)
    }
}

impl Incoming for DiskIncoming {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn write(&mut self, file: &str, chunk: &[u8]) -> Result<()> {
        let Some(expected) = self.manifest.file(file) else {
            return Err(StorageError::refused(
                "receive a snapshot",
                format!("its manifest has no file {file}"),
            ));
        };
        if !self.parts.contains_key(file) {
            self.parts
                .insert(file.to_owned(), open_part(&self.path, file)?);
        }
        let Some(part) = self.parts.get_mut(file) else {
            return Ok(());
        };
        if part.size + chunk.len() as u64 > expected.size {
            let reason = format!(
                "{file} has more bytes than the {} its manifest names",
                expected.size
            );
            return Err(StorageError::refused("receive a snapshot", reason));
        }
        part.file
            .write_all(chunk)
            .map_err(|error| StorageError::io("write", &self.path.join(file), error))?;
        part.crc.update(chunk);
        part.size += chunk.len() as u64;
        Ok(())
    }

    fn install(mut self: Box<Self>) -> Result<Arc<dyn Snapshot>> {
        self.verify()?;
        let engine = self.engine.clone();
        let mut writer = engine.writer()?;
        let generation = engine.live().generation + 1;
        let staged = engine.layout.staged(generation);
        let built = self
            .stage(&staged)
            .and_then(|()| self.build(&staged, generation));
        let live = match built {
            Ok(live) => live,
            Err(error) => {
                // Nothing has changed yet; the live state goes on.
                let _ = files::remove_dir(&staged);
                return Err(error);
            }
        };
        // From here on a failure leaves it open which state a restart would find, so the engine stops.
        let switched = engine.layout.store(Current { generation }).and_then(|()| {
            live.doom(false);
            engine.replace_live(live);
            engine.snapshots.adopt(&staged, self.manifest.clone())
        });
        match switched {
            Ok(snapshot) => Ok(snapshot),
            Err(error) => Err(writer.fail(error)),
        }
    }
}

impl Drop for DiskIncoming {
    fn drop(&mut self) {
        let _ = files::remove_dir(&self.path);
    }
}

fn open_part(dir: &Path, name: &str) -> Result<Part> {
    let path = dir.join(name);
    let file = File::create(&path).map_err(|error| StorageError::io("create", &path, error))?;
    Ok(Part {
        file,
        size: 0,
        crc: crc32fast::Hasher::new(),
    })
}
