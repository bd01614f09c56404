//! What both implementations refuse, in one place so that the twin cannot be more lenient than the disk:
//! a log with holes (S5), and markers that part from their effects (S8).

use std::ops::Range;

use bytes::Bytes;

use crate::engine::{APPLIED, LogBounds, MEMBERSHIP, Result};
use crate::error::StorageError;
use crate::table::Table;

/// The part of `range` that the log holds.
pub(crate) fn clamp(bounds: &LogBounds, range: Range<u64>) -> Option<Range<u64>> {
    let (first, last) = bounds.first.zip(bounds.last)?;
    let start = range.start.max(first);
    let end = range.end.min(last.saturating_add(1));
    (start < end).then_some(start..end)
}

/// First and last index of a lawful append; `None` when there is nothing to append.
pub(crate) fn check_append(
    bounds: &LogBounds,
    entries: &[(u64, Bytes)],
) -> Result<Option<(u64, u64)>> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return Ok(None);
    };
    let refuse = |reason| Err(StorageError::refused("append to the log", reason));
    if *last == u64::MAX {
        return refuse("the last index there is cannot be used".to_owned());
    }
    for (before, after) in entries.iter().zip(&entries[1..]) {
        if after.0 != before.0 + 1 {
            return refuse(format!(
                "entry {} does not follow entry {}",
                after.0, before.0
            ));
        }
    }
    let previous = bounds
        .last
        .or(bounds.purged.as_ref().map(|(index, _)| *index));
    match previous {
        Some(previous) if *first != previous + 1 => refuse(format!(
            "entry {first} does not follow entry {previous}, the last one"
        )),
        _ => Ok(Some((*first, *last))),
    }
}

/// The entries that go when the log is cut behind `keep`.
pub(crate) fn truncation(bounds: &LogBounds, keep: Option<u64>) -> Option<Range<u64>> {
    let start = keep.map_or(Some(0), |keep| keep.checked_add(1))?;
    clamp(bounds, start..u64::MAX)
}

/// Records that entries from `start` on are gone.
pub(crate) fn truncate(bounds: &mut LogBounds, start: u64) {
    if bounds.first == Some(start) {
        bounds.first = None;
        bounds.last = None;
    } else {
        bounds.last = start.checked_sub(1);
    }
}

/// Where a purge up to `index` starts to delete; `None` when that much is purged already.
pub(crate) fn purge_plan(bounds: &LogBounds, index: u64) -> Result<Option<u64>> {
    let refuse = |reason| Err(StorageError::refused("purge the log", reason));
    if index == u64::MAX {
        return refuse("the last index there is cannot be used".to_owned());
    }
    if bounds
        .purged
        .as_ref()
        .is_some_and(|(purged, _)| *purged >= index)
    {
        return Ok(None);
    }
    match bounds.first {
        Some(first) if first > index + 1 => refuse(format!(
            "the log starts at {first}: purged up to {index}, it would have a hole"
        )),
        Some(first) => Ok(Some(first.min(index))),
        None => Ok(Some(index)),
    }
}

/// Records that entries up to and with `index` are gone.
pub(crate) fn purge(bounds: &mut LogBounds, index: u64, marker: Bytes) {
    bounds.purged = Some((index, marker));
    match bounds.last {
        Some(last) if last > index => bounds.first = bounds.first.map(|first| first.max(index + 1)),
        _ => {
            bounds.first = None;
            bounds.last = None;
        }
    }
}

/// The markers have one writer, or they could part from their effects (S8).
pub(crate) fn refuse_reserved(table: Table, key: &[u8]) -> Result<()> {
    if table == Table::Meta && (key == APPLIED.as_bytes() || key == MEMBERSHIP.as_bytes()) {
        let reason = format!(
            "{} is set by the batch itself, not by a row",
            String::from_utf8_lossy(key)
        );
        return Err(StorageError::refused("write rows", reason));
    }
    Ok(())
}
