//! The table of contents of a snapshot: what it covers, and the size and checksum of each of its files.

use serde::{Deserialize, Serialize};

use crate::engine::Result;
use crate::error::StorageError;

/// Newest manifest format this version reads and writes.
pub const MANIFEST_FORMAT: u32 = 1;

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    pub name: String,
    pub size: u64,
    pub crc32: u32,
}

/// What a snapshot is. Travels as JSON, both on disk and to other replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    /// The applied marker in the snapshot, if anything was applied.
    #[serde(with = "hex_bytes")]
    pub applied: Option<Vec<u8>>,
    /// The membership in the snapshot.
    #[serde(with = "hex_bytes")]
    pub membership: Option<Vec<u8>>,
    /// The caller's hash of the state.
    pub hash: u64,
    pub files: Vec<SnapshotFile>,
}

impl Manifest {
    /// JSON for the disk and the wire.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers only: this serialization has no way to fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads JSON that came from a peer or a disk. Names that could leave the directory are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let refuse = |reason: String| StorageError::refused("read a snapshot manifest", reason);
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        if manifest.format > MANIFEST_FORMAT {
            return Err(refuse(format!(
                "it has format {}, this version reads {MANIFEST_FORMAT}",
                manifest.format
            )));
        }
        check_name(&manifest.name)?;
        for (at, file) in manifest.files.iter().enumerate() {
            check_name(&file.name)?;
            if manifest.files[..at]
                .iter()
                .any(|other| other.name == file.name)
            {
                return Err(refuse(format!("it names {} twice", file.name)));
            }
        }
        Ok(manifest)
    }

    /// The entry of one file.
    pub fn file(&self, name: &str) -> Option<&SnapshotFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Bytes of all files.
    pub fn total_size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Names become file names: nothing that could be a path, hidden, or one of our temporary suffixes.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if name.is_empty() || name.len() > 128 || !plain || name.starts_with('.') {
        let reason = format!("{name:?} is not a name of letters, digits, '-', '_' and '.'");
        return Err(StorageError::refused("use a snapshot name", reason));
    }
    if name.ends_with(".tmp") || name.ends_with(".staged") || name == MANIFEST_FILE {
        let reason = format!("{name:?} is reserved for files of the storage itself");
        return Err(StorageError::refused("use a snapshot name", reason));
    }
    Ok(())
}

/// Name of the manifest inside a snapshot directory.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST.json";

mod hex_bytes {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(hex::encode).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(hex::decode).transpose().map_err(D::Error::custom)
    }
}
