//! Remembers up to where the log has been acknowledged, beside the log itself.
//!
//! RocksDB's recovery stops at the first record it cannot read and continues from there. After a power cut
//! that is right: the rest was never synced. After bit rot or a truncated file it would silently forget
//! entries that this replica has promised to keep, and a majority could lose a committed one. The two are
//! told apart by a sequence number stored after each fsync: it may lag (then nothing is noticed), but it is
//! never ahead of what the disk has acknowledged, so a log that ends before it has lost something.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::engine::Result;
use crate::error::StorageError;
use crate::files;

const SIZE: usize = 12;

pub(crate) struct Watermark {
    file: File,
    path: PathBuf,
    sequence: u64,
}

impl Watermark {
    /// Opens or creates the file; its number is 0 when it is new or was torn by a power cut.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let exists = path.exists();
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = open.map_err(|error| StorageError::io("open", path, error))?;
        let mut bytes = [0; SIZE];
        let sequence = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(bytes).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "the log's watermark is unreadable and starts anew");
                0
            }),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(StorageError::io("read", path, error)),
        };
        let watermark = Watermark {
            file,
            path: path.to_owned(),
            sequence,
        };
        if !exists {
            // Its block is allocated now, so that a later write cannot find the disk full.
            watermark.write(0)?;
            files::sync_file(path)?;
            files::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(watermark)
    }

    /// The highest acknowledged sequence number known.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Call after the fsync that covers `sequence` and before anybody is told of it.
    pub(crate) fn advance(&mut self, sequence: u64) -> Result<()> {
        self.write(sequence)?;
        self.sequence = sequence;
        Ok(())
    }

    fn write(&self, sequence: u64) -> Result<()> {
        let number = sequence.to_le_bytes();
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&crc32fast::hash(&number).to_le_bytes());
        self.file
            .write_all_at(&bytes, 0)
            .map_err(|error| StorageError::io("write", &self.path, error))
    }
}

fn decode(bytes: [u8; SIZE]) -> Option<u64> {
    let (number, crc) = bytes.split_at(8);
    let intact = crc32fast::hash(number).to_le_bytes() == crc;
    intact.then(|| u64::from_le_bytes(number.try_into().unwrap_or_default()))
}
