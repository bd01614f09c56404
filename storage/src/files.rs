//! File operations that are durable when they return, with errors that name the path.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::engine::Result;
use crate::error::StorageError;

/// Creates a directory and its parents; each new name is fsynced into its parent.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(StorageError::io("create the directory", path, error)),
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StorageError::io("fsync", path, error))
}

/// Makes the content of a file durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| StorageError::io("fsync", path, error))
}

/// Writes a file and fsyncs its content (not its name).
pub(crate) fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| StorageError::io("write", path, error))
}

/// Replaces a file: readers and crashes see the old or the new content.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    write_synced(temporary, content)?;
    rename(temporary, path)
}

/// Renames within one directory and fsyncs the directory.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| StorageError::io("rename to", to, error))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Removes a file; one that is not there is removed already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory with everything in it; one that is not there is removed already.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Names in a directory, sorted; a directory that is not there has none.
pub(crate) fn list(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StorageError::io("list", path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StorageError::io("list", path, error))?;
        // Names that are not UTF-8 are not ours.
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Size and CRC-32 of a file.
pub(crate) fn checksum(path: &Path) -> Result<(u64, u32)> {
    let read = || {
        let mut file = File::open(path)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 128 * 1024];
        let mut size = 0;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok((size, hasher.finalize()));
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
    };
    read().map_err(|error| StorageError::io("read", path, error))
}
