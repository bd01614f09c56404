//! Log chunks for one link: resumed where the server says, a bounded number under way.

use std::collections::BTreeMap;
use std::io;

use dstack_api::agent::{LogAck, LogChunk, stream};
use uuid::Uuid;

use super::observed::Snapshot;
use crate::spool::{self, SpoolReader};

/// The largest chunk.
pub const CHUNK: usize = 256 * 1024;
/// Bytes of one stream that may be under way without an acknowledgement.
const WINDOW: u64 = 1024 * 1024;
/// Acknowledged bytes are given back to the disk in steps of this.
const TRIM_STEP: u64 = 4 * 1024 * 1024;
/// What stays although the server has it: clients that attach read a job's output here, from its beginning.
const KEPT: u64 = 64 * 1024 * 1024;

#[derive(Default)]
pub struct Pump {
    streams: BTreeMap<(Uuid, &'static str), Stream>,
    /// Whether the link is the active one.
    active: bool,
}

#[derive(Default)]
struct Stream {
    /// What the server has; `None` until it has said so. To send on a guess would make it believe
    /// that what lies before was lost.
    acked: Option<u64>,
    trimmed: u64,
    reader: Option<SpoolReader>,
}

impl Pump {
    pub fn activate(&mut self) {
        self.active = true;
    }

    /// The server has everything below the offset. The first word on a stream says where to begin.
    pub fn ack(&mut self, ack: &LogAck, snapshot: &Snapshot) {
        let Some(name) = stream::ALL.into_iter().find(|name| *name == ack.stream) else {
            return;
        };
        let Ok(submission) = Uuid::parse_str(&ack.submission_id) else {
            return;
        };
        let active = self.active;
        let stream = self.streams.entry((submission, name)).or_default();
        stream.acked = Some(ack.offset.max(stream.acked.unwrap_or_default()));
        if active && ack.offset >= stream.trimmed + TRIM_STEP {
            stream.trimmed = ack.offset;
            if let Some(spool) = snapshot
                .spools
                .iter()
                .find(|spool| spool.submission == submission)
            {
                let _ = spool::trim(&spool.path, name, ack.offset.saturating_sub(KEPT));
            }
        }
    }

    /// The next chunk that may be sent, from whichever stream has one.
    pub fn next(&mut self, snapshot: &Snapshot) -> Option<LogChunk> {
        if !self.active {
            return None;
        }
        self.streams
            .retain(|(id, _), _| snapshot.spools.iter().any(|spool| spool.submission == *id));
        for spool in &snapshot.spools {
            for name in stream::ALL {
                let stream = self.streams.entry((spool.submission, name)).or_default();
                match stream.next(&spool.path, name) {
                    Ok(Some((offset, frames))) => {
                        return Some(LogChunk {
                            submission_id: spool.submission.to_string(),
                            stream: name.to_owned(),
                            offset,
                            frames,
                        });
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(submission = %spool.submission, stream = name, %error, "cannot read the spool")
                    }
                }
            }
        }
        None
    }
}

impl Stream {
    fn next(
        &mut self,
        path: &std::path::Path,
        name: &str,
    ) -> io::Result<Option<(u64, bytes::Bytes)>> {
        let Some(acked) = self.acked else {
            return Ok(None);
        };
        let reader = self
            .reader
            .get_or_insert_with(|| SpoolReader::at(path, name, acked));
        if reader.offset() >= acked.saturating_add(WINDOW) {
            return Ok(None);
        }
        let (offset, frames) = reader.next_chunk(CHUNK)?;
        Ok((!frames.is_empty()).then_some((offset, frames)))
    }
}
