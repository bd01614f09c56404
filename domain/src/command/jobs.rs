//! From a specification to jobs and their submissions; shared by the commands that create them.

use super::{events, job_end};
use crate::ids::SubmissionId;
use crate::model::{JobStatus, Run, Submission};
use crate::rejection::Rejection;
use crate::spec::{JobSpec, RunSpec};
use crate::state::Draft;
use jiff::Timestamp;
use std::sync::Arc;

/// More jobs than any cluster has; keeps one entry's effect bounded.
const JOBS_MOST: usize = 2048;
/// Attempts of one job that are remembered.
const ATTEMPTS_KEPT: usize = 50;

/// All jobs, by (replica, job).
pub(super) fn expand(name: &str, spec: &RunSpec) -> Result<Vec<Arc<JobSpec>>, Rejection> {
    let mut jobs = crate::spec::expand_jobs(name, spec);
    if jobs.len() > JOBS_MOST {
        return Err(Rejection::error(format!(
            "The run has {} jobs, the most is {JOBS_MOST}",
            jobs.len()
        )));
    }
    jobs.sort_by_key(|job| (job.replica_num, job.job_num));
    Ok(jobs.into_iter().map(Arc::new).collect())
}

pub(super) fn priority(spec: &RunSpec) -> u32 {
    spec.configuration.common().priority.map_or(0, u32::from)
}

/// When a scheduled run starts next; `None` for a run without a schedule.
pub(super) fn next_trigger(spec: &RunSpec, at: Timestamp) -> Result<Option<Timestamp>, Rejection> {
    match spec.merged_profile().schedule {
        None => Ok(None),
        Some(schedule) => match schedule.next_after(at) {
            Some(next) => Ok(Some(next)),
            None => Err(Rejection::error("The schedule has no next time")
                .hint("Check the cron expression.")),
        },
    }
}

/// New submissions for every job of a run.
pub(super) fn submit_all(draft: &mut Draft, run: &Run, message: &str) {
    for job in run.jobs.iter() {
        submit(draft, run, job, message);
    }
}

/// A new submission of one job, numbered after its predecessors.
pub(super) fn submit(draft: &mut Draft, run: &Run, job: &JobSpec, message: &str) {
    let place = (job.replica_num, job.job_num);
    let earlier = draft
        .submissions_of(run.id)
        .filter(|s| (s.replica_num, s.job_num) == place);
    let number = earlier.map(|s| s.submission_num + 1).max().unwrap_or(0);
    let submission = Submission {
        id: SubmissionId::of(run.id, job.replica_num, job.job_num, number),
        run_id: run.id,
        replica_num: job.replica_num,
        job_num: job.job_num,
        submission_num: number,
        deployment_num: run.deployment_num,
        submitted_at: draft.at,
        last_processed_at: draft.at,
        running_at: None,
        terminating_at: None,
        finished_at: None,
        status: JobStatus::Submitted,
        termination_reason: None,
        termination_reason_message: None,
        graceful: false,
        exit: None,
        placement: None,
        provisioning_data: None,
        runtime_data: None,
        pull_progress: None,
        idle_since: None,
    };
    let target = events::job(draft, run, &submission);
    draft.emit(message, vec![target], &job_end::scopes(run, &submission));
    prune(draft, run, place);
    draft.put_submission(submission);
}

/// Attempts that never got a machine are dropped from the history, except the latest; of the
/// others the newest are kept, so that a job retried for ever does not fill the memory.
fn prune(draft: &mut Draft, run: &Run, place: (u32, u32)) {
    let attempts: Vec<Arc<Submission>> = draft
        .submissions_of(run.id)
        .filter(|s| (s.replica_num, s.job_num) == place)
        .cloned()
        .collect();
    let older = attempts.len().saturating_sub(1);
    for (at, attempt) in attempts.iter().take(older).enumerate() {
        let too_old = attempts.len() - at > ATTEMPTS_KEPT;
        if attempt.status.is_finished() && (too_old || !attempt.was_provisioned()) {
            draft.remove_submission(attempt.id);
        }
    }
}
