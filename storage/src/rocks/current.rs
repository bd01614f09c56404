//! `state/CURRENT` names the live state directory. Replacing that one small file is what makes the install
//! of a snapshot atomic (S10), without closing the database that readers still hold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::Result;
use crate::error::StorageError;
use crate::files;

/// The directories of one replica's state.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) state: PathBuf,
    pub(crate) snapshots: PathBuf,
}

/// Which generation of the state is live. Each install makes the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Current {
    pub(crate) generation: u64,
}

pub(crate) const FIRST_GENERATION: u64 = 1;

impl Layout {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Layout {
            state: data_dir.join("state"),
            snapshots: data_dir.join("snap"),
        }
    }

    pub(crate) fn generation(&self, generation: u64) -> PathBuf {
        self.state.join(generation_name(generation))
    }

    /// Where the snapshot of an install waits until the install has happened.
    pub(crate) fn staged(&self, generation: u64) -> PathBuf {
        self.snapshots
            .join(format!("{}.staged", generation_name(generation)))
    }

    fn current(&self) -> PathBuf {
        self.state.join("CURRENT")
    }

    /// Reads `CURRENT`, or writes the first one. It is written before the first state directory exists, so
    /// directories without it mean that it was lost, and guessing could bring an old state back.
    pub(crate) fn load_or_create(&self) -> Result<Current> {
        files::create_dir(&self.state)?;
        files::create_dir(&self.snapshots)?;
        let path = self.current();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                StorageError::corruption("find the live state", &path, error.to_string())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(name) = files::list(&self.state)?
                    .iter()
                    .find(|name| name.starts_with("s-"))
                {
                    let detail = format!("CURRENT is missing, although {name} is there");
                    return Err(StorageError::corruption(
                        "find the live state",
                        &self.state,
                        detail,
                    ));
                }
                let current = Current {
                    generation: FIRST_GENERATION,
                };
                self.store(current)?;
                Ok(current)
            }
            Err(error) => Err(StorageError::io("read", &path, error)),
        }
    }

    /// Makes a generation the live one, durably.
    pub(crate) fn store(&self, current: Current) -> Result<()> {
        files::replace(
            &self.current(),
            &serde_json::to_vec(&current).unwrap_or_default(),
        )
    }

    /// Removes what a crash left behind: other generations, and half-made copies.
    pub(crate) fn sweep(&self, current: Current) -> Result<()> {
        let live = generation_name(current.generation);
        for name in files::list(&self.state)? {
            if name.starts_with("s-") && name != live {
                files::remove_dir(&self.state.join(name))?;
            } else if name.ends_with(".tmp") {
                files::remove_file(&self.state.join(name))?;
            }
        }
        let staged = self.staged(current.generation);
        for name in files::list(&self.snapshots)? {
            let path = self.snapshots.join(&name);
            if path != staged && (name.ends_with(".tmp") || name.ends_with(".staged")) {
                files::remove_dir(&path)?;
            }
        }
        Ok(())
    }
}

fn generation_name(generation: u64) -> String {
    format!("s-{generation:06}")
}
