//! The files of an attachment, where upstream's client has them.

use crate::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct Places {
    home: PathBuf,
}

impl Places {
    pub fn find() -> Outcome<Self> {
        let home = std::env::var_os("HOME").ok_or_else(|| {
            Failure::refused("HOME is not set; dstack keeps keys and ssh's configuration below it")
        })?;
        let places = Self {
            home: PathBuf::from(home),
        };
        private_folder(&places.folder())?;
        Ok(places)
    }

    pub fn folder(&self) -> PathBuf {
        self.home.join(".dstack/ssh")
    }

    /// The blocks of all runs that are attached to.
    pub fn config(&self) -> PathBuf {
        self.folder().join("config")
    }

    /// The user's own, which includes ours.
    pub fn users_config(&self) -> PathBuf {
        self.home.join(".ssh/config")
    }

    pub fn control(&self, alias: &str) -> PathBuf {
        self.folder().join(format!("{alias}.control.sock"))
    }

    pub fn log(&self, alias: &str) -> PathBuf {
        self.folder().join(format!("{alias}.log"))
    }
}

/// Makes a folder that only its owner may look into.
pub fn private_folder(path: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::refused(format!("cannot create {}: {error}", path.display())))
}
