//! Small files that must be there, whole, after a crash at any moment.
//!
//! Write to a neighbour, sync it, rename, sync the folder: a reader finds the old content or the
//! new, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Replaces `path` by the JSON of `value`, readable by the owner only.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(value).map_err(io::Error::other)?;
    text.push(b'\n');
    write(path, &text)
}

/// Replaces `path` by `bytes`, readable by the owner only.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let neighbour = folder.join(format!(".{name}.tmp"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&neighbour)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&neighbour, path)?;
    sync_dir(folder)
}

/// Reads a file written by [`write_json`]; `None` when it is not there.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    })
}

/// Makes a rename or a new name in `folder` survive a power cut.
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file; that it is not there is fine.
pub fn remove_file(path: &Path) -> io::Result<()> {
    ignore_absent(fs::remove_file(path))
}

/// Removes a folder and what is in it; that it is not there is fine.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    ignore_absent(fs::remove_dir_all(path))
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a path without a file name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_neighbour_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1_u32).unwrap();
        fs::write(dir.path().join(".a.json.tmp"), b"garb").unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(1));
        write_json(&path, &2_u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, b"{").unwrap();
        let error = read_json::<u32>(&path).unwrap_err();
        assert!(error.to_string().contains("a.json"), "{error}");
    }
}
