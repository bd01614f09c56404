//! This replica's own files. Appends are written under the stream's lock and synced together: whoever waits for
//! the disk takes everybody written before along.

use super::segments::Segments;
use super::{Key, Stream};
use dstack_api::frames::{self, FrameError};
use dstack_domain::ids::SubmissionId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    #[error("job logs in {dir} cannot be {verb}: {cause}")]
    Disk {
        dir: PathBuf,
        verb: &'static str,
        cause: String,
    },
    #[error("a chunk of job output was refused: {0}")]
    Frames(FrameError),
    #[error(
        "only {have} of {need} replicas could store the output in time; it stays with the agent meanwhile"
    )]
    NoMajority { have: usize, need: usize },
    #[error("the replica is stopping")]
    Stopped,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Everything up to here is on disk.
    To(u64),
    /// The stream ends here; what lies between is missing and must come first.
    Missing(u64),
}

#[derive(Debug)]
pub(super) struct Log {
    segments: Mutex<Segments>,
    /// Serialises syncs, so that waiting appends share one.
    syncing: Mutex<()>,
    synced: AtomicU64,
    /// Where the stream ends, for followers.
    end: watch::Sender<u64>,
}

#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    rollover: u64,
    logs: Mutex<HashMap<Key, Slot>>,
}

/// Opening mends the file, so it must not happen twice at once: the slot is taken first, then filled.
type Slot = Arc<Mutex<Option<Arc<Log>>>>;

impl Disk {
    pub fn new(root: PathBuf, rollover: u64) -> Self {
        Self {
            root,
            rollover,
            logs: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn folder(&self, key: Key) -> PathBuf {
        self.root.join(key.submission.to_string())
    }

    fn log(&self, key: Key) -> Result<Arc<Log>, LogError> {
        let slot = self.logs.lock().entry(key).or_default().clone();
        let mut slot = slot.lock();
        if let Some(log) = &*slot {
            return Ok(log.clone());
        }
        let segments = Segments::open(&self.folder(key), key.stream.word(), self.rollover)
            .map_err(|e| self.broken("opened", &e))?;
        let end = segments.end();
        let log = Arc::new(Log {
            segments: Mutex::new(segments),
            syncing: Mutex::new(()),
            synced: AtomicU64::new(end),
            end: watch::Sender::new(end),
        });
        *slot = Some(log.clone());
        Ok(log)
    }

    /// Lets go of the files nobody uses at the moment, so that finished jobs do not hold descriptors for ever.
    pub(super) fn close_idle(&self, but: &dyn Fn(SubmissionId) -> bool) {
        self.logs.lock().retain(|key, slot| {
            // Held by the map alone, and what it holds held by it alone: nobody can be at work, or about to be.
            let idle = Arc::strong_count(slot) == 1
                && slot
                    .try_lock()
                    .is_some_and(|log| log.as_ref().is_none_or(|log| Arc::strong_count(log) == 1));
            !idle || but(key.submission)
        });
    }

    pub fn end(&self, key: Key) -> Result<u64, LogError> {
        Ok(self.log(key)?.segments.lock().end())
    }

    pub fn watch(&self, key: Key) -> Result<watch::Receiver<u64>, LogError> {
        Ok(self.log(key)?.end.subscribe())
    }

    /// Stores frames that begin at `offset`. What is there already is skipped. `jump`: what lies between the end
    /// and `offset` is known to be lost everywhere (or trimmed), so continue behind a hole.
    pub fn append(
        &self,
        key: Key,
        offset: u64,
        bytes: &[u8],
        jump: bool,
    ) -> Result<Appended, LogError> {
        let log = self.log(key)?;
        let end = {
            let mut segments = log.segments.lock();
            let end = segments.end();
            if offset > end && !jump {
                return Ok(Appended::Missing(end));
            }
            let skip = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            if let Some(fresh) = bytes.get(skip..).filter(|fresh| !fresh.is_empty()) {
                frames::check_chunk(fresh, None).map_err(LogError::Frames)?;
                segments
                    .write(offset.max(end), fresh)
                    .map_err(|e| self.broken("written", &e))?;
            }
            segments.end()
        };
        self.sync(&log, end)?;
        log.end
            .send_if_modified(|seen| std::mem::replace(seen, end.max(*seen)) < end);
        Ok(Appended::To(end))
    }

    fn sync(&self, log: &Log, upto: u64) -> Result<(), LogError> {
        if log.synced.load(Ordering::Acquire) >= upto {
            return Ok(());
        }
        let _turn = log.syncing.lock();
        if log.synced.load(Ordering::Acquire) >= upto {
            return Ok(());
        }
        let (file, end) = {
            let mut segments = log.segments.lock();
            (
                segments
                    .sync_handle()
                    .map_err(|e| self.broken("synced", &e))?,
                segments.end(),
            )
        };
        if let Some(file) = file {
            file.sync_data().map_err(|e| self.broken("synced", &e))?;
        }
        log.synced.store(end, Ordering::Release);
        Ok(())
    }

    /// Whole frames from `from` (or from the first that exists behind it), about `limit` bytes, at least one frame.
    pub fn read(&self, key: Key, from: u64, limit: usize) -> Result<(u64, Vec<u8>), LogError> {
        let log = self.log(key)?;
        let segments = log.segments.lock();
        let limit = limit.max(frames::HEADER + frames::MAX_PAYLOAD);
        let (at, mut bytes) = segments
            .read(from, limit)
            .map_err(|e| self.broken("read", &e))?;
        drop(segments);
        let whole = frames::whole_prefix(&bytes);
        bytes.truncate(whole);
        Ok((at, bytes))
    }

    /// The first byte that is still here.
    pub fn start(&self, key: Key) -> Result<u64, LogError> {
        Ok(self.log(key)?.segments.lock().start())
    }

    pub(super) fn drop_oldest(&self, key: Key) -> Result<u64, LogError> {
        self.log(key)?
            .segments
            .lock()
            .drop_oldest()
            .map_err(|e| self.broken("trimmed", &e))
    }

    /// Forgets a submission and its files.
    pub(super) fn remove(&self, submission: SubmissionId) -> Result<(), LogError> {
        let keys = Stream::ALL.map(|stream| Key::new(submission, stream));
        let mut logs = self.logs.lock();
        for key in keys {
            logs.remove(&key);
        }
        match std::fs::remove_dir_all(self.folder(keys[0])) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.broken("removed", &error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn broken(&self, verb: &'static str, cause: &io::Error) -> LogError {
        LogError::Disk {
            dir: self.root.clone(),
            verb,
            cause: cause.to_string(),
        }
    }
}
