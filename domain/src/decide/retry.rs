//! Whether a failed job may be tried again, and how long to wait.

use crate::model::{JobReason, RetryCause, Run, Submission};
use crate::spec::{Retry, RetryEvent};
use crate::state::JobView;
use jiff::Timestamp;

/// Waits before the whole run is tried again, by attempt; the last repeats.
const DELAYS_SECONDS: [i64; 6] = [15, 30, 60, 120, 300, 600];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry,
    /// It would be retried, but the window has passed.
    Exhausted,
    Final,
}

pub fn covers_no_capacity(retry: &Retry) -> bool {
    retry.on_events.contains(&RetryEvent::NoCapacity)
}

pub(super) fn delay_seconds(attempt: u32) -> i64 {
    let step = (attempt as usize).min(DELAYS_SECONDS.len() - 1);
    DELAYS_SECONDS.get(step).copied().unwrap_or(600)
}

/// Judges a job whose latest submission ended otherwise than done or scaled down.
pub(super) fn judge(run: &Run, job: &JobView, latest: &Submission, now: Timestamp) -> Verdict {
    let Some(retry) = &job.spec.retry else {
        return Verdict::Final;
    };
    let cause = latest.termination_reason.and_then(JobReason::retry_cause);
    let event = match cause {
        Some(RetryCause::NoCapacity) => RetryEvent::NoCapacity,
        Some(RetryCause::Interruption) => RetryEvent::Interruption,
        Some(RetryCause::Error) => RetryEvent::Error,
        None => return Verdict::Final,
    };
    if !retry.on_events.contains(&event) {
        return Verdict::Final;
    }
    let last_provisioned = job
        .submissions
        .iter()
        .rev()
        .find(|submission| submission.was_provisioned());
    let since = match last_provisioned {
        Some(submission) => submission.last_processed_at,
        None => run.next_triggered_at.unwrap_or(run.submitted_at),
    };
    let window = i64::try_from(retry.duration.as_secs()).unwrap_or(i64::MAX);
    if now.as_second().saturating_sub(since.as_second()) > window {
        return Verdict::Exhausted;
    }
    Verdict::Retry
}
