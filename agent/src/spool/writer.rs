//! The writing end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dstack_api::frames;

use super::segment::{self, SEGMENT_BYTES};

/// Who shall own the files. Inside a container the runner is root and the agent outside may not
/// be; it must still be able to read and remove them.
pub type Owner = Option<(u32, u32)>;

/// Appends frames to one stream of one job.
#[derive(Debug)]
pub struct SpoolWriter {
    spool: PathBuf,
    stream: String,
    owner: Owner,
    file: File,
    base: u64,
    len: u64,
    last_micros: i64,
}

impl SpoolWriter {
    /// Opens the stream at its end. A frame that a crash cut off is removed first.
    pub fn open(spool: &Path, stream: &str, owner: Owner) -> io::Result<Self> {
        let segments = segment::list(spool, stream)?;
        let base = segments.last().map_or(0, |last| last.base);
        let path = segment::path(spool, stream, base);
        let mut bytes = Vec::new();
        if let Some(last) = segments.last() {
            File::open(&last.path)?.read_to_end(&mut bytes)?;
        }
        let whole = frames::whole_prefix(&bytes);
        let file = open_segment(&path, owner)?;
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        let last_micros = frames::last_micros(&bytes[..whole]).unwrap_or_default();
        Ok(Self {
            spool: spool.to_owned(),
            stream: stream.to_owned(),
            owner,
            file,
            base,
            len: whole as u64,
            last_micros,
        })
    }

    /// The timestamp of the last frame, or zero.
    pub fn last_micros(&self) -> i64 {
        self.last_micros
    }

    /// Where the next frame will begin.
    pub fn end(&self) -> u64 {
        self.base + self.len
    }

    /// Appends whole frames.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.len >= SEGMENT_BYTES {
            self.roll()?;
        }
        if let Err(error) = self.file.write_all(bytes) {
            // A full disk may have taken a part; half a frame must not stay before the next one.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        if let Some(last) = frames::last_micros(bytes) {
            self.last_micros = last;
        }
        Ok(())
    }

    /// Appends one line of the agent's or the runner's own.
    pub fn say(&mut self, now_micros: i64, line: &str) -> io::Result<()> {
        let mut writer = frames::Writer::after(self.last_micros);
        let mut bytes = writer.push(now_micros, line.as_bytes()).to_vec();
        bytes.extend_from_slice(&writer.push(now_micros, b"\n"));
        self.append(&bytes)
    }

    /// Everything appended so far survives a power cut.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn roll(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let base = self.end();
        self.file = open_segment(&segment::path(&self.spool, &self.stream, base), self.owner)?;
        self.base = base;
        self.len = 0;
        Ok(())
    }
}

fn open_segment(path: &Path, owner: Owner) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}
