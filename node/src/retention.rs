//! What is thrown away once its time is over. Output and archives are files: each replica sweeps its own.
//! Events are rows: the leader has them expire through the log, so that all replicas forget the same.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dstack_domain::command::ExpireEvents;
use dstack_domain::history;
use dstack_raft::Handle;
use dstack_storage::{Rows, Scan, StorageError, Table};
use jiff::{SignedDuration, Timestamp};

use crate::bulk::Bulk;
use crate::door::Door;
use crate::logs::{self, LogStore};
use crate::view::Views;
use crate::{env, limits};

/// How often old output and unused archives are looked for.
const FILES_EVERY: Duration = Duration::from_secs(15 * 60);
/// How often old events are looked for at most and at least. Between the two, nothing outlives its time by
/// more than a tenth of it.
const EVENTS_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(7 * 60)];
/// Events that go in one entry.
const EVENTS_AT_ONCE: usize = 500;

/// Removes files of this replica that nobody needs any more, for ever.
pub async fn sweep_files(views: Views, logs: Arc<LogStore>, bulk: Arc<Bulk>) {
    let mut tick = every(FILES_EVERY);
    // Not at once: the replica may still be reading its memory.
    tick.tick().await;
    loop {
        tick.tick().await;
        let view = views.now();
        let recorded = view.state.archives().map(|archive| archive.sha256.clone());
        let recorded = recorded.collect();
        let alive = move |id| {
            view.state
                .submission(id)
                .is_some_and(|submission| !submission.status.is_finished())
        };
        match logs.sweep(alive, logs::Limits::default()).await {
            Ok(swept) if swept.bytes > 0 => tracing::info!(?swept, "removed old job output"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old job output could not be removed"),
        }
        match bulk.sweep(recorded).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed unused archives"),
            Err(error) => tracing::warn!(%error, "unused archives could not be removed"),
        }
    }
}

/// While this replica leads, has events expire that were recorded longer than `kept` ago.
pub async fn expire_events(raft: Handle, door: Door, views: Views, kept: Duration) {
    let [often, seldom] = EVENTS_EVERY;
    let mut tick = every((kept / 10).clamp(often, seldom));
    let leadership = raft.leadership();
    loop {
        tick.tick().await;
        let now = leadership.borrow().clone();
        if !now.established || now.leader != Some(now.me) {
            continue;
        }
        while let Some(before) = due(&views, kept).await {
            let command = ExpireEvents { before }.into();
            if let Err(error) = door.propose_as_leader(now.term, command).await {
                tracing::warn!(%error, "old events could not be removed");
                break;
            }
            tokio::time::sleep(limits::PASS_GAP).await;
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}

/// The moment before which events may go now; none when there is nothing to do.
async fn due(views: &Views, kept: Duration) -> Option<Timestamp> {
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let horizon = env::now().checked_sub(kept).ok()?;
    let rows = views.rows().ok()?;
    let found = tokio::task::spawn_blocking(move || first_events_end(rows.as_ref(), horizon)).await;
    match found {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => {
            tracing::warn!(%error, "old events cannot be looked for");
            None
        }
        Err(_) => None,
    }
}

/// The end of the oldest events, [`EVENTS_AT_ONCE`] or those of one moment, that are older than `horizon`.
fn first_events_end(
    rows: &dyn Rows,
    horizon: Timestamp,
) -> Result<Option<Timestamp>, StorageError> {
    let to = history::events_from(horizon);
    let mut moments: Vec<Timestamp> = Vec::new();
    let scan = Scan {
        limit: EVENTS_AT_ONCE + 1,
        ..Scan::range(Table::Events, &[], &to)
    };
    rows.scan(scan, &mut |key, _| {
        moments.extend(history::event_moment(key));
        ControlFlow::Continue(())
    })?;
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        return Ok(None);
    };
    if moments.len() <= EVENTS_AT_ONCE {
        return Ok(Some(horizon));
    }
    let past_first = *first + SignedDuration::from_micros(1);
    Ok(Some((*last).max(past_first)))
}
