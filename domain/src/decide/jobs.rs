//! Jobs: placing the waiting ones, judging the silent ones, ending those that are to end.

use super::desired::{self, Gate};
use super::growth;
use super::pass::{Pass, after};
use super::placement::{self, Shortage, Wishes};
use crate::command::{AssignJobs, FinishJob, TerminateJob};
use crate::ids::{RunId, SubmissionId};
use crate::model::{JobReason, JobStatus, Run, Submission};
use crate::spec::JobSpec;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// From assignment to the agent's acceptance.
const PROVISIONING_SECONDS: i64 = 600;
/// Silence of the host, while this very leader tries, that ends a job.
const UNREACHABLE_SECONDS: i64 = 120;
/// How long after its own limit a job is ended if the agent did not.
const MAX_DURATION_SLACK_SECONDS: i64 = 120;
/// How long an exited job waits for its output to be stored.
const DRAIN_SECONDS: i64 = 30;
/// How long after the grace the agent's word on a killed job is waited for.
const KILL_SECONDS: i64 = 30;

/// Places submitted jobs, by priority, then the longest waiting first.
pub(super) fn assign(pass: &mut Pass) {
    type Group = (Reverse<u32>, Timestamp, RunId, u32);
    let mut since: BTreeMap<(RunId, u32), Timestamp> = BTreeMap::new();
    for submission in pass.draft.waiting_submissions() {
        let oldest = since
            .entry((submission.run_id, submission.replica_num))
            .or_insert(submission.last_processed_at);
        *oldest = submission.last_processed_at.min(*oldest);
    }
    let mut waiting: Vec<Group> = Vec::with_capacity(since.len());
    for ((run, replica), since) in since {
        let active = pass.draft.run(run).filter(|run| run.status.is_active());
        waiting.extend(active.map(|found| (Reverse(found.priority), since, run, replica)));
    }
    waiting.sort();
    for (_, _, run, replica) in waiting {
        if let Some(run) = pass.draft.run(run).cloned() {
            assign_replica(pass, &run, replica);
        }
    }
}

fn assign_replica(pass: &mut Pass, run: &Run, replica: u32) {
    let group: Vec<(Arc<Submission>, Arc<JobSpec>)> = pass
        .draft
        .latest_submissions(run.id)
        .into_iter()
        .filter(|s| s.replica_num == replica && s.status == JobStatus::Submitted)
        .filter_map(|s| Some((s.clone(), pass.draft.job_spec(s)?.clone())))
        .collect();
    let profile = run.spec.merged_profile();
    let wishes = Wishes {
        project: run.project_id,
        profile: &profile,
        fleet: run.fleet_id,
    };
    let jobs: Vec<(&Submission, &JobSpec)> = group
        .iter()
        .map(|(s, job)| (s.as_ref(), job.as_ref()))
        .collect();
    match placement::place(&pass.draft, &wishes, &jobs) {
        Ok(assignments) => {
            pass.propose(AssignJobs {
                run: run.id,
                assignments,
            });
        }
        Err(shortage) => {
            let Some(shortage) = grow(pass, run, &wishes, &jobs, shortage) else {
                return;
            };
            for (submission, _) in &group {
                pass.propose(TerminateJob {
                    submission: submission.id,
                    reason: JobReason::FailedToStartDueToNoCapacity,
                    message: Some(shortage.message().to_owned()),
                });
            }
        }
    }
}

/// Has machines made for jobs that find no room. Answers why that cannot be; nothing while it is not known yet.
fn grow(
    pass: &mut Pass,
    run: &Run,
    wishes: &Wishes,
    jobs: &[(&Submission, &JobSpec)],
    shortage: Shortage,
) -> Option<Shortage> {
    let clouds = pass.draft.backends_of(run.project_id).next().is_some();
    let makes = pass
        .draft
        .fleets_of(run.project_id)
        .any(|fleet| fleet.nodes().is_some());
    if matches!(shortage, Shortage::NoFleets(_)) || !clouds || !makes {
        return Some(shortage);
    }
    let offers = pass.offers(run.project_id)?;
    match growth::grow(&pass.draft, wishes, run.id, jobs, &offers, pass.now) {
        Ok(growth) => {
            pass.propose(growth);
            None
        }
        Err(shortage) => Some(shortage),
    }
}

/// Looks after every job that holds a machine.
pub(super) fn watch(pass: &mut Pass) {
    let held: Vec<SubmissionId> = pass
        .draft
        .instances()
        .flat_map(|instance| instance.jobs.iter().copied())
        .collect();
    for id in held {
        let Some(submission) = pass.draft.submission(id).cloned() else {
            continue;
        };
        match submission.status {
            JobStatus::Provisioning => provisioning(pass, &submission),
            JobStatus::Pulling | JobStatus::Running => working(pass, &submission),
            JobStatus::Terminating => terminating(pass, &submission),
            _ => {}
        }
    }
}

fn provisioning(pass: &mut Pass, submission: &Submission) {
    let Some(placement) = &submission.placement else {
        return;
    };
    if desired::gate(&pass.draft, submission) == Gate::Closed {
        return;
    }
    // A job could be handed over no earlier than the last of its siblings got its machine.
    let siblings = pass.draft.latest_submissions(submission.run_id);
    let siblings = siblings
        .into_iter()
        .filter(|other| other.replica_num == submission.replica_num);
    let assigned = siblings.filter_map(|other| Some(other.placement.as_ref()?.assigned_at));
    let since = assigned.fold(placement.assigned_at, Timestamp::max);
    if pass.due(after(since, PROVISIONING_SECONDS)) {
        terminate(
            pass,
            submission,
            JobReason::WaitingRunnerLimitExceeded,
            "The agent did not accept the job in time",
        );
    }
}

fn working(pass: &mut Pass, submission: &Submission) {
    let Some(placement) = &submission.placement else {
        return;
    };
    if let Some(since) = pass.facts.silent_since(placement.instance)
        && pass.due(after(since, UNREACHABLE_SECONDS))
    {
        let error = pass
            .facts
            .agents
            .get(&placement.instance)
            .and_then(|fact| fact.error.clone());
        let message = error.unwrap_or_else(|| "The host has been silent for too long".to_owned());
        terminate(pass, submission, JobReason::InstanceUnreachable, &message);
        return;
    }
    let limit = pass
        .draft
        .job_spec(submission)
        .and_then(|job| job.max_duration);
    if let (Some(limit), Some(since)) = (
        limit.and_then(|s| i64::try_from(s).ok()),
        submission.running_at,
    ) && pass.due(after(
        since,
        limit.saturating_add(MAX_DURATION_SLACK_SECONDS),
    )) {
        terminate(
            pass,
            submission,
            JobReason::MaxDurationExceeded,
            "The job outlived its max_duration",
        );
        return;
    }
    inactive(pass, submission);
}

/// Ends a dev environment that nobody has been connected to for as long as its owner allows.
fn inactive(pass: &mut Pass, submission: &Submission) {
    let Some(since) = submission.idle_since else {
        return;
    };
    let allowed = pass
        .draft
        .run(submission.run_id)
        .and_then(|run| run.spec.configuration.inactivity_seconds());
    if let Some(allowed) = allowed.and_then(|seconds| i64::try_from(seconds).ok())
        && pass.due(after(since, allowed))
    {
        let idle = pass.now.duration_since(since).as_secs();
        let message = format!(
            "The job was inactive for {idle} seconds, exceeding the inactivity_duration of {allowed} seconds"
        );
        let reason = JobReason::InactivityDurationExceeded;
        terminate(pass, submission, reason, &message);
    }
}

fn terminate(pass: &mut Pass, submission: &Submission, reason: JobReason, message: &str) {
    pass.propose(TerminateJob {
        submission: submission.id,
        reason,
        message: Some(message.to_owned()),
    });
    if let Some(changed) = pass.draft.submission(submission.id).cloned() {
        terminating(pass, &changed);
    }
}

/// An ending job is finished when its exit is known and its output stored; without the agent's
/// word, after a limit, and then its machine stays out of use until the agent has spoken.
fn terminating(pass: &mut Pass, submission: &Submission) {
    let started = submission
        .terminating_at
        .unwrap_or(submission.last_processed_at);
    match &submission.exit {
        Some(exit) => {
            let lost = exit.exit_status.is_none() && exit.signal.is_none();
            let drained = lost || pass.facts.drained.contains(&submission.id);
            if drained || pass.due(after(started.max(exit.at.min(pass.now)), DRAIN_SECONDS)) {
                pass.propose(FinishJob {
                    submission: submission.id,
                    confirmed: true,
                });
            }
        }
        // Its machine never came, so nobody ever began it.
        None if !desired::is_up(&pass.draft, submission) => {
            pass.propose(FinishJob {
                submission: submission.id,
                confirmed: true,
            });
        }
        None => {
            let unreachable = submission.termination_reason == Some(JobReason::InstanceUnreachable);
            let grace = if submission.graceful {
                desired::GRACE_SECONDS
            } else {
                0
            };
            pass.due(after(started, desired::kill_after_seconds(submission)));
            if unreachable || pass.due(after(started, grace + KILL_SECONDS)) {
                pass.propose(FinishJob {
                    submission: submission.id,
                    confirmed: false,
                });
            }
        }
    }
}
