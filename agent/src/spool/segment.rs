//! Segment files: `<stream>-<offset of the first byte, 20 digits>.frames`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A new segment is begun when the last has grown to this.
pub const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The offset of its first byte in the stream.
    pub base: u64,
    pub len: u64,
    pub path: PathBuf,
}

impl Segment {
    pub fn end(&self) -> u64 {
        self.base + self.len
    }
}

pub fn path(spool: &Path, stream: &str, base: u64) -> PathBuf {
    spool.join(format!("{stream}-{base:020}.frames"))
}

/// The segments of a stream, in order.
pub fn list(spool: &Path, stream: &str) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(base) = name.to_str().and_then(|name| base_of(name, stream)) else {
            continue;
        };
        // It may have been trimmed since it was listed.
        let Ok(meta) = entry.metadata() else { continue };
        segments.push(Segment {
            base,
            len: meta.len(),
            path: entry.path(),
        });
    }
    segments.sort_unstable();
    Ok(segments)
}

fn base_of(name: &str, stream: &str) -> Option<u64> {
    let digits = name
        .strip_prefix(stream)?
        .strip_prefix('-')?
        .strip_suffix(".frames")?;
    digits.parse().ok()
}
