//! Who a data directory belongs to. Written once: a replica that changed its id would break promises
//! (votes, acknowledged entries) that others still count on.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::Result;
use crate::error::StorageError;
use crate::files;

const FILE: &str = "IDENTITY";
/// Newest layout of the data directory this version reads and writes.
pub const DATA_FORMAT: u32 = 1;

/// The content of the `IDENTITY` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    pub cluster_id: String,
    pub node_id: u64,
    pub node_name: String,
}

impl Identity {
    /// The identity in `data_dir`, if one has been written.
    pub fn load(data_dir: &Path) -> Result<Option<Identity>> {
        let path = data_dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("read", &path, error)),
        };
        let identity: Identity = serde_json::from_slice(&text).map_err(|error| {
            StorageError::corruption("read the identity", &path, error.to_string())
        })?;
        if identity.format > DATA_FORMAT {
            return Err(StorageError::Format {
                path,
                found: identity.format,
                known: DATA_FORMAT,
            });
        }
        Ok(Some(identity))
    }

    /// Writes the identity and fsyncs it. An existing one is never overwritten; writing the same again is fine.
    pub fn create(
        data_dir: &Path,
        cluster_id: &str,
        node_id: u64,
        node_name: &str,
    ) -> Result<Identity> {
        let identity = Identity {
            format: DATA_FORMAT,
            cluster_id: cluster_id.to_owned(),
            node_id,
            node_name: node_name.to_owned(),
        };
        files::create_dir(data_dir)?;
        let path = data_dir.join(FILE);
        let mut text = serde_json::to_vec_pretty(&identity).unwrap_or_default();
        text.push(b'\n');
        // A hard link of a complete, synced file appears whole or not at all, and fails if one is there.
        let temporary = data_dir.join("IDENTITY.tmp");
        files::write_synced(&temporary, &text)?;
        let linked = fs::hard_link(&temporary, &path);
        files::remove_file(&temporary)?;
        match linked {
            Ok(()) => files::sync_dir(data_dir)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let present = Identity::load(data_dir)?;
                if present.as_ref() != Some(&identity) {
                    let reason = format!("{} already holds {present:?}", path.display());
                    return Err(StorageError::refused("write an identity", reason));
                }
            }
            Err(error) => return Err(StorageError::io("write", &path, error)),
        }
        Ok(identity)
    }
}
