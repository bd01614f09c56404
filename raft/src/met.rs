//! Which members this replica has met with an identity of the cluster, kept in the file `PEERS`.
//!
//! A member that comes back with an empty disk may have voted and acknowledged before; under its old
//! id it could do so a second time. Nobody but its peers can know, so they write it down.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::NodeId;
use crate::error::StartError;

pub struct Met {
    path: PathBuf,
    ids: BTreeSet<NodeId>,
}

impl Met {
    pub fn load(data_dir: &Path) -> Result<Self, StartError> {
        let path = data_dir.join("PEERS");
        let ids = match fs::read_to_string(&path) {
            Ok(text) => text
                .lines()
                .filter_map(|line| line.trim().parse().ok())
                .collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(source) => return Err(StartError::File { path, source }),
        };
        Ok(Met { path, ids })
    }

    pub fn has(&self, id: NodeId) -> bool {
        self.ids.contains(&id)
    }

    /// Remembers a member across restarts.
    pub fn add(&mut self, id: NodeId) -> io::Result<()> {
        if !self.ids.insert(id) {
            return Ok(());
        }
        let text: String = self.ids.iter().map(|id| format!("{id}\n")).collect();
        write_durably(&self.path, text.as_bytes())
    }
}

/// Replaces a small file so that a crash leaves the old or the new content.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
