//! This replica's own archive files. Blocking; called from blocking threads.

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, thiserror::Error)]
pub enum BulkError {
    #[error("archives in {dir} cannot be {verb}: {cause}")]
    Disk {
        dir: PathBuf,
        verb: &'static str,
        cause: String,
    },
    #[error("{0:?} is not a SHA-256 checksum in lower-case hex")]
    Name(String),
    #[error("the archive arrived damaged: its checksum is {found}, not {expected}")]
    Damaged { expected: String, found: String },
    #[error("only {have} of {need} replicas could store the archive; send it again")]
    NoMajority { have: usize, need: usize },
    #[error("no reachable replica has the archive {0}; upload it again")]
    Absent(String),
    #[error("the replica is stopping")]
    Stopped,
}

pub(super) fn checksum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(super) struct Disk {
    root: PathBuf,
    /// Serialises writers of one archive.
    turns: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl Disk {
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            turns: Mutex::default(),
        }
    }

    fn path(&self, sha256: &str) -> Result<PathBuf, BulkError> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if sha256.len() != 64 || !sha256.bytes().all(hex) {
            return Err(BulkError::Name(sha256.chars().take(80).collect()));
        }
        Ok(self.root.join(&sha256[..2]).join(sha256))
    }

    pub fn size(&self, sha256: &str) -> Result<Option<u64>, BulkError> {
        match fs::metadata(self.path(sha256)?) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.broken("read", &error)),
        }
    }

    pub fn get(&self, sha256: &str) -> Result<Option<Vec<u8>>, BulkError> {
        match fs::read(self.path(sha256)?) {
            // A file that rotted is as good as absent: others have it.
            Ok(bytes) if checksum(&bytes) == sha256 => Ok(Some(bytes)),
            Ok(_) => {
                tracing::error!(
                    sha256,
                    "an archive on this replica's disk is damaged; it will be fetched again"
                );
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.broken("read", &error)),
        }
    }

    pub fn read(
        &self,
        sha256: &str,
        from: u64,
        limit: usize,
    ) -> Result<Option<(u64, Vec<u8>)>, BulkError> {
        let file = match File::open(self.path(sha256)?) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.broken("read", &error)),
        };
        let piece = || {
            let total = file.metadata()?.len();
            let len = total.saturating_sub(from).min(limit as u64) as usize;
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, from)?;
            Ok((total, bytes))
        };
        piece().map(Some).map_err(|e| self.broken("read", &e))
    }

    pub fn put(&self, sha256: &str, bytes: &[u8]) -> Result<(), BulkError> {
        let found = checksum(bytes);
        if found != sha256 {
            return Err(BulkError::Damaged {
                expected: sha256.into(),
                found,
            });
        }
        let path = self.path(sha256)?;
        let turn = self.turn(sha256);
        let _turn = turn.lock();
        self.write_aside(&path, bytes)
            .map_err(|e| self.broken("written", &e))
    }

    fn write_aside(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let dir = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir)?;
        let aside = path.with_extension("new");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(dir)?.sync_all()
    }

    /// One piece of an archive that another replica sends. True once it is complete and its checksum right.
    pub fn put_piece(
        &self,
        sha256: &str,
        total: u64,
        from: u64,
        bytes: &[u8],
    ) -> Result<bool, BulkError> {
        let path = self.path(sha256)?;
        let turn = self.turn(sha256);
        let _turn = turn.lock();
        if self.size(sha256)?.is_some() {
            // Asked for again: the sweep must not take it for old.
            self.renew(&path)?;
            return Ok(true);
        }
        let part = path.with_extension("part");
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&part)?;
            file.write_all_at(bytes, from)
        };
        write().map_err(|e| self.broken("written", &e))?;
        if from + (bytes.len() as u64) < total {
            return Ok(false);
        }
        let whole = fs::read(&part).map_err(|e| self.broken("read", &e))?;
        let _ = fs::remove_file(&part);
        let found = checksum(&whole);
        if found != sha256 {
            return Err(BulkError::Damaged {
                expected: sha256.into(),
                found,
            });
        }
        self.write_aside(&path, &whole)
            .map_err(|e| self.broken("written", &e))?;
        Ok(true)
    }

    fn renew(&self, path: &Path) -> Result<(), BulkError> {
        File::open(path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(|e| self.broken("renewed", &e))
    }

    fn turn(&self, sha256: &str) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(sha256.to_owned()).or_default().clone()
    }

    /// Removes what no record names and was not written for `grace` (an archive is stored before it is recorded).
    /// Answers how many files went.
    pub fn sweep(&self, recorded: &BTreeSet<String>, grace: Duration) -> Result<usize, BulkError> {
        let sweep = || {
            let mut removed = 0;
            for shelf in list(&self.root)? {
                for file in list(&shelf)? {
                    let name = file
                        .file_name()
                        .and_then(|n| n.to_str())
                        .unwrap_or_default();
                    if recorded.contains(name) {
                        continue;
                    }
                    // Whoever writes it again holds its turn, or waits until it is gone.
                    let turn = self.turn(name);
                    let _turn = turn.lock();
                    let age = SystemTime::now()
                        .duration_since(fs::metadata(&file)?.modified()?)
                        .unwrap_or_default();
                    if age > grace {
                        fs::remove_file(&file)?;
                        removed += 1;
                    }
                }
            }
            Ok(removed)
        };
        sweep().map_err(|e| self.broken("listed", &e))
    }

    fn broken(&self, verb: &'static str, cause: &io::Error) -> BulkError {
        BulkError::Disk {
            dir: self.root.clone(),
            verb,
            cause: cause.to_string(),
        }
    }
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect(),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
