//! How much output is kept: of a finished job for two weeks after its last line, and of everything together up
//! to a cap. Beyond the cap the oldest finished job goes first; only when none is left do running jobs lose
//! their oldest files.

use super::disk::{Disk, LogError};
use super::segments::weigh;
use super::{Key, Stream};
use dstack_domain::ids::SubmissionId;
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub finished_for: Duration,
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            finished_for: Duration::from_secs(14 * 24 * 3600),
            total_bytes: 20 << 30,
        }
    }
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub submissions: usize,
    pub bytes: u64,
}

struct Weighed {
    submission: SubmissionId,
    bytes: u64,
    changed: SystemTime,
    alive: bool,
}

pub(super) fn sweep(
    disk: &Disk,
    alive: &dyn Fn(SubmissionId) -> bool,
    limits: Limits,
) -> Result<Swept, LogError> {
    disk.close_idle(alive);
    let mut all = survey(disk, alive)?;
    // Finished before running, oldest first.
    all.sort_by_key(|one| (one.alive, one.changed));
    let now = SystemTime::now();
    let mut total: u64 = all.iter().map(|one| one.bytes).sum();
    let mut swept = Swept::default();
    for one in &all {
        let old = now
            .duration_since(one.changed)
            .is_ok_and(|age| age > limits.finished_for);
        if one.alive && total > limits.total_bytes {
            let freed = trim(disk, one.submission, total - limits.total_bytes)?;
            total -= freed;
            swept.bytes += freed;
        } else if !one.alive && (old || total > limits.total_bytes) {
            disk.remove(one.submission)?;
            total -= one.bytes;
            swept.bytes += one.bytes;
            swept.submissions += 1;
        }
    }
    Ok(swept)
}

fn trim(disk: &Disk, submission: SubmissionId, excess: u64) -> Result<u64, LogError> {
    let mut freed = 0;
    for stream in Stream::ALL {
        while freed < excess {
            match disk.drop_oldest(Key::new(submission, stream))? {
                0 => break,
                bytes => freed += bytes,
            }
        }
    }
    Ok(freed)
}

fn survey(disk: &Disk, alive: &dyn Fn(SubmissionId) -> bool) -> Result<Vec<Weighed>, LogError> {
    let entries = match std::fs::read_dir(disk.root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk.broken("listed", &error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| disk.broken("listed", &e))?;
        // Anything else there is not ours to count or to delete.
        let Some(submission) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let (bytes, changed) = weigh(&entry.path()).map_err(|e| disk.broken("listed", &e))?;
        all.push(Weighed {
            submission,
            bytes,
            changed,
            alive: alive(submission),
        });
    }
    Ok(all)
}
