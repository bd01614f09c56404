//! How a job ends, in one place: every command that ends one goes through here.

use super::events;
use crate::model::{JobReason, JobStatus, Lawful, Run, Submission};
use crate::rejection::Rejection;
use crate::state::Draft;
use std::sync::Arc;

/// Asks an active job to end. A job without a machine has nothing to wait for and ends at once.
pub(super) fn begin(
    draft: &mut Draft,
    run: &Run,
    submission: &Arc<Submission>,
    reason: JobReason,
    message: Option<&str>,
) -> Result<(), Rejection> {
    let mut changed = submission.as_ref().clone();
    let was_running = changed.status == JobStatus::Running;
    changed.termination_reason = Some(reason);
    changed.termination_reason_message = message.map(str::to_owned);
    changed.terminating_at = Some(draft.at);
    changed.graceful = was_running && reason.is_graceful();
    set_status(draft, run, &mut changed, JobStatus::Terminating)?;
    if changed.placement.is_none() {
        return finish(draft, run, changed, true);
    }
    draft.put_submission(changed);
    Ok(())
}

/// Gives a terminating job its final status and frees what it held. `confirmed` says that the
/// agent vouched for the end of its processes, or that there never were any.
pub(super) fn finish(
    draft: &mut Draft,
    run: &Run,
    mut submission: Submission,
    confirmed: bool,
) -> Result<(), Rejection> {
    let reason = submission
        .termination_reason
        .unwrap_or(JobReason::TerminatedByServer);
    submission.termination_reason = Some(reason);
    submission.finished_at = Some(draft.at);
    set_status(draft, run, &mut submission, reason.final_status())?;
    release(draft, &submission, confirmed);
    draft.put_submission(submission);
    Ok(())
}

fn release(draft: &mut Draft, submission: &Submission, confirmed: bool) {
    let Some(placement) = &submission.placement else {
        return;
    };
    let Some(instance) = draft.instance(placement.instance).cloned() else {
        return;
    };
    let mut changed = instance.as_ref().clone();
    if !changed.jobs.remove(&submission.id) {
        return;
    }
    changed.busy_blocks = changed.busy_blocks.saturating_sub(placement.blocks);
    if !confirmed {
        changed.lingering.insert(submission.id);
    }
    super::assign_jobs::settle(draft, &mut changed);
    draft.put_instance(changed);
}

/// Moves a job along its table and says so.
pub(super) fn set_status(
    draft: &mut Draft,
    run: &Run,
    submission: &mut Submission,
    next: JobStatus,
) -> Result<(), Rejection> {
    let status = submission.status;
    if !status.may_become(next) {
        return Err(Rejection::stale(format!(
            "Job {}-{}-{} is {} and cannot become {}",
            run.name,
            submission.job_num,
            submission.replica_num,
            status.shout(),
            next.shout()
        )));
    }
    submission.status = next;
    submission.last_processed_at = draft.at;
    let mut message = format!("Job status changed {} -> {}", status.shout(), next.shout());
    if next == JobStatus::Terminating {
        message.push_str(&reason_text(submission));
    }
    let target = events::job(draft, run, submission);
    draft.emit(message, vec![target], &scopes(run, submission));
    Ok(())
}

fn reason_text(submission: &Submission) -> String {
    let Some(reason) = submission.termination_reason else {
        return String::new();
    };
    let mut text = format!(
        ". Termination reason: {}",
        reason.as_str().to_ascii_uppercase()
    );
    if let Some(message) = &submission.termination_reason_message {
        text.push_str(&format!(" ({message})"));
    }
    text
}

/// What a job's events happen within.
pub(super) fn scopes(run: &Run, submission: &Submission) -> Vec<[u8; 16]> {
    let mut scopes = vec![run.id.bytes()];
    scopes.extend(run.fleet_id.map(|fleet| fleet.bytes()));
    scopes.extend(submission.instance().map(|instance| instance.bytes()));
    scopes
}
