//! The folder of one machine: `machine.json`, written before anything runs, and the agent's home.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::{Key, Machine};

/// What `machine.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub owner: String,
    pub product: String,
    pub region: String,
}

#[derive(Debug, Clone)]
pub struct Place {
    key: Key,
    root: PathBuf,
}

impl Place {
    pub fn of(root: &Path, key: &Key) -> Self {
        Self {
            key: key.clone(),
            root: root.join(key.to_string()),
        }
    }

    /// Every place below `root`; what has another name is not ours.
    pub fn all(root: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut places = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            places.extend(
                name.to_str()
                    .and_then(Key::new)
                    .map(|key| Self::of(root, &key)),
            );
        }
        Ok(places)
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("agent")
    }

    pub fn socket(&self) -> PathBuf {
        self.home().join("agent.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    pub fn read(&self) -> io::Result<Option<Record>> {
        match fs::read(self.file()) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Durable when it returns: a machine that runs must be found after a power cut.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        let temporary = self.root.join("machine.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.file())?;
        File::open(&self.root)?.sync_all()
    }

    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn machine(&self, record: Record) -> Machine {
        Machine {
            key: self.key.clone(),
            id: format!("local/{}", self.key),
            owner: record.owner,
            address: Some(self.socket().display().to_string()),
            internal_address: None,
            user: String::new(),
            port: 0,
            product: record.product,
            region: record.region,
        }
    }

    fn file(&self) -> PathBuf {
        self.root.join("machine.json")
    }
}
