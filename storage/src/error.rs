//! The one error of this crate. Damage is told apart from a failing disk, because the answers differ:
//! a damaged replica is replaced from its peers, a failing or full disk is repaired and the replica restarted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a storage call was not done. Cloneable, since one failed fsync fails every write that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The operating system or RocksDB refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },

    /// The bytes are not those that were written.
    #[error("{} is damaged, found while trying to {operation}: {detail}. Do not repair it by hand: remove this replica from the cluster, empty its data directory and add it anew, or restore a backup", path.display())]
    Corruption {
        operation: &'static str,
        path: PathBuf,
        detail: String,
    },

    /// Another process has the data directory open.
    #[error("{} is in use by another process; stop the replica that runs on it, or give this one its own data directory", path.display())]
    Locked { path: PathBuf },

    /// Written by a version that this one does not understand.
    #[error("{} has format {found}, this version reads up to {known}; start the newer version again", path.display())]
    Format {
        path: PathBuf,
        found: u32,
        known: u32,
    },

    /// The call breaks a rule of the engine. Nothing was written.
    #[error("refused to {operation}: {reason}")]
    Refused {
        operation: &'static str,
        reason: String,
    },

    /// An earlier write failed, so what is on disk is not known any more (S11).
    #[error(
        "storage stopped after an earlier failure and takes no more writes; restart the replica"
    )]
    Stopped { source: Arc<StorageError> },
}

impl StorageError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        StorageError::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corruption(
        operation: &'static str,
        path: &Path,
        detail: impl Into<String>,
    ) -> Self {
        StorageError::Corruption {
            operation,
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    pub(crate) fn refused(operation: &'static str, reason: impl Into<String>) -> Self {
        StorageError::Refused {
            operation,
            reason: reason.into(),
        }
    }

    /// The answer to every call after `self` was the first failure.
    pub(crate) fn stopped(&self) -> Self {
        match self {
            StorageError::Stopped { .. } => self.clone(),
            first => StorageError::Stopped {
                source: Arc::new(first.clone()),
            },
        }
    }

    /// Whether bytes on disk are wrong, as against a disk that fails.
    pub fn is_corruption(&self) -> bool {
        match self {
            StorageError::Corruption { .. } => true,
            StorageError::Stopped { source } => source.is_corruption(),
            _ => false,
        }
    }

    /// Whether the disk (or its quota) is full.
    pub fn is_full(&self) -> bool {
        match self {
            StorageError::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            StorageError::Stopped { source } => source.is_full(),
            _ => false,
        }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Io { source, .. } => source.kind(),
            StorageError::Corruption { .. } => io::ErrorKind::InvalidData,
            StorageError::Locked { .. } => io::ErrorKind::ResourceBusy,
            StorageError::Format { .. } => io::ErrorKind::Unsupported,
            StorageError::Refused { .. } => io::ErrorKind::InvalidInput,
            StorageError::Stopped { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
