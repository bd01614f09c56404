//! openraft's log over a [`LogEngine`]: translation only. Order, fsync and group commit are the
//! engine's work; what is added here is that a callback reaches openraft only after the engine said
//! the bytes are on disk (S2), and that a failed write stops the core instead of being retried (S11).

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use dstack_storage::LogEngine;
use futures::{Stream, TryStreamExt, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use crate::encoding;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Bytes of entries in one append request, so that a message stays far below the transport's limit.
const READ_BYTES: usize = 1024 * 1024;

#[derive(Clone)]
pub struct LogStore {
    engine: Arc<dyn LogEngine>,
}

impl LogStore {
    pub fn new(engine: Arc<dyn LogEngine>) -> Self {
        LogStore { engine }
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let raw = self.engine.read(range, max_bytes)?;
        raw.iter()
            .map(|(index, bytes)| decode_at(*index, bytes))
            .collect()
    }
}

fn decode_at(index: u64, raw: &Bytes) -> io::Result<Entry> {
    let entry = encoding::decode_entry(raw)?;
    if entry.log_id.index != index {
        let reason = format!(
            "log key {index} holds the entry {}: the log is damaged",
            entry.log_id
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(entry)
}

fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(&i) => i,
        Bound::Excluded(&i) => i.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(&i) => i.saturating_add(1),
        Bound::Excluded(&i) => i,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(to_range(&range), usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let raw = self.engine.vote()?;
        Ok(raw.map(|raw| encoding::decode_vote(&raw)).transpose()?)
    }

    /// In pages, so that catching up over a long log does not hold all of it in memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pages = stream::try_unfold(
            (self.clone(), to_range(&range)),
            |(store, rest)| async move {
                let page = store.read(rest.clone(), READ_BYTES)?;
                let Some(last) = page.last() else {
                    return Ok::<_, io::Error>(None);
                };
                let next = last.log_id.index + 1..rest.end;
                Ok(Some((
                    stream::iter(page.into_iter().map(Ok)),
                    (store, next),
                )))
            },
        );
        Box::pin(pages.try_flatten())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged = self.engine.bounds().purged;
        let last_purged_log_id = purged
            .map(|(_, marker)| encoding::decode_log_id(&marker))
            .transpose()?;
        let last = self
            .engine
            .last()?
            .map(|(_, raw)| encoding::entry_log_id(&raw))
            .transpose()?;
        Ok(LogState {
            last_purged_log_id,
            last_log_id: last.or(last_purged_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    /// Returns after the fsync (S1); the engine keeps votes and entries in one order (S4).
    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| {
            // Nobody listens only when the core itself is gone.
            let _ = tx.send(result);
        });
        self.engine.save_vote(encoding::encode_vote(vote), done)?;
        match rx.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(io::Error::other(
                "the storage engine ended before it made the vote durable",
            )),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.engine
                .save_committed(encoding::encode_log_id(&committed))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let raw = self.engine.committed()?;
        Ok(raw.map(|raw| encoding::decode_log_id(&raw)).transpose()?)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let raw: Vec<(u64, Bytes)> = entries
            .into_iter()
            .map(|e| (e.log_id.index, encoding::encode_entry(&e)))
            .collect();
        let done = Box::new(move |result: dstack_storage::Result<()>| {
            callback.io_completed(result.map_err(io::Error::from));
        });
        Ok(self.engine.append(raw, done)?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.engine.truncate_after(last_log_id.map(|id| id.index))?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        Ok(self
            .engine
            .purge_to(log_id.index, encoding::encode_log_id(&log_id))?)
    }
}
