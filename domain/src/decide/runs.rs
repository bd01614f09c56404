//! Runs: their status follows from the newest submission of every job, recomputed each pass.

use super::pass::{Pass, after};
use super::retry::{Verdict, delay_seconds, judge};
use crate::command::{DelayRun, FinishRun, ResubmitJobs, SetRunStatus, StartRun, TerminateRun};
use crate::ids::RunId;
use crate::model::{JobReason, JobStatus, Run, RunReason, RunStatus, Submission};
use crate::spec::StopCriteria;
use crate::state::JobView;
use std::collections::BTreeMap;

pub(super) fn decide(pass: &mut Pass) {
    let ids: Vec<RunId> = pass.draft.unfinished_runs().map(|run| run.id).collect();
    for id in ids {
        let Some(run) = pass.draft.run(id).cloned() else {
            continue;
        };
        match run.status {
            RunStatus::Pending => pending(pass, &run),
            RunStatus::Terminating => terminating(pass, &run),
            status if status.is_active() => active(pass, &run),
            _ => {}
        }
    }
}

fn pending(pass: &mut Pass, run: &Run) {
    let Some(at) = run.retry_at.or(run.next_triggered_at) else {
        return;
    };
    let all_ended = pass
        .draft
        .submissions_of(run.id)
        .all(|submission| submission.status.is_finished());
    if all_ended && pass.due(at) {
        pass.propose(StartRun { run: run.id });
    }
}

fn terminating(pass: &mut Pass, run: &Run) {
    if pass
        .draft
        .submissions_of(run.id)
        .all(|submission| submission.status.is_finished())
    {
        pass.propose(FinishRun { run: run.id });
    }
}

/// What the jobs of a run come to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Terminate(RunReason),
    Become(RunStatus),
    /// Jobs are on their way out; wait for them.
    Wait,
    /// Everything that is left needs another try, after a delay.
    Delay,
}

/// What one replica's jobs come to.
#[derive(Clone, Copy, Debug, Default)]
struct Replica {
    running: bool,
    provisioning: bool,
    submitted: bool,
    /// Some job is on its way out.
    leaving: bool,
    done: bool,
    retry: bool,
    failed: bool,
    exhausted: bool,
}

fn active(pass: &mut Pass, run: &Run) {
    if run.jobs.is_empty() {
        return;
    }
    let (replicas, master_done) = analyse(pass, run);
    match conclude(run, replicas.values(), master_done) {
        Outcome::Terminate(reason) => {
            pass.propose(TerminateRun {
                run: run.id,
                reason,
            });
        }
        Outcome::Delay => {
            let newest = pass
                .draft
                .submissions_of(run.id)
                .map(|submission| submission.last_processed_at)
                .max();
            let retry_at = after(
                newest.unwrap_or(pass.now),
                delay_seconds(run.resubmission_attempt),
            );
            pass.due(retry_at);
            pass.propose(DelayRun {
                run: run.id,
                retry_at,
            });
        }
        Outcome::Become(status) => {
            for (replica, _) in replicas.iter().filter(|(_, replica)| replica.retry) {
                pass.propose(ResubmitJobs {
                    run: run.id,
                    replica: *replica,
                });
            }
            if status != run.status {
                pass.propose(SetRunStatus {
                    run: run.id,
                    status,
                });
            }
        }
        Outcome::Wait => {}
    }
}

fn analyse(pass: &Pass, run: &Run) -> (BTreeMap<u32, Replica>, bool) {
    let mut replicas: BTreeMap<u32, Replica> = BTreeMap::new();
    let mut master_done = false;
    for job in pass.draft.jobs_of(run) {
        let Some(latest) = job.latest() else { continue };
        let replica = replicas.entry(job.spec.replica_num).or_default();
        count(replica, run, &job, latest, pass);
        master_done |= job.spec.job_num == 0 && latest.status == JobStatus::Done;
    }
    (replicas, master_done)
}

fn count(replica: &mut Replica, run: &Run, job: &JobView, latest: &Submission, pass: &Pass) {
    match latest.status {
        JobStatus::Submitted => replica.submitted = true,
        JobStatus::Provisioning | JobStatus::Pulling => replica.provisioning = true,
        JobStatus::Running => replica.running = true,
        JobStatus::Done => replica.done = true,
        JobStatus::Terminating => {
            replica.leaving = true;
            // Fail fast: an end that cannot be retried need not wait for its output to be stored.
            let doomed = latest
                .termination_reason
                .is_some_and(|reason| reason != JobReason::DoneByRunner)
                && latest.exit.is_some()
                && latest.termination_reason != Some(JobReason::ScaledDown);
            replica.failed |= doomed && judge(run, job, latest, pass.now) == Verdict::Final;
        }
        _ if latest.termination_reason == Some(JobReason::ScaledDown) => {}
        _ => match judge(run, job, latest, pass.now) {
            Verdict::Retry => replica.retry = true,
            Verdict::Exhausted => replica.exhausted = true,
            Verdict::Final => replica.failed = true,
        },
    }
}

fn conclude<'a>(
    run: &Run,
    replicas: impl Iterator<Item = &'a Replica> + Clone,
    master_done: bool,
) -> Outcome {
    let any = |test: fn(&Replica) -> bool| replicas.clone().any(test);
    if any(|replica| replica.failed) {
        return Outcome::Terminate(RunReason::JobFailed);
    }
    if any(|replica| replica.exhausted) {
        return Outcome::Terminate(RunReason::RetryLimitExceeded);
    }
    let criteria = run.spec.merged_profile().stop_criteria;
    if master_done && criteria == Some(StopCriteria::MasterDone) {
        return Outcome::Terminate(RunReason::AllJobsDone);
    }
    // A replica that is to be retried as a whole contributes nothing, whatever its siblings do.
    let contributes = |replica: &&Replica| !replica.retry;
    let rest = || replicas.clone().filter(contributes);
    if rest().any(|r| r.running && !r.provisioning && !r.submitted) {
        return Outcome::Become(RunStatus::Running);
    }
    if rest().any(|r| r.provisioning || r.running) {
        return Outcome::Become(RunStatus::Provisioning);
    }
    if rest().any(|r| r.submitted) {
        return Outcome::Become(RunStatus::Submitted);
    }
    if any(|replica| replica.retry) {
        return Outcome::Delay;
    }
    if any(|replica| replica.leaving) {
        return Outcome::Wait;
    }
    if any(|replica| replica.done) {
        return Outcome::Terminate(RunReason::AllJobsDone);
    }
    Outcome::Wait
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay() {
        let delays: Vec<i64> = (0..8).map(delay_seconds).collect();
        assert_eq!(delays, [15, 30, 60, 120, 300, 600, 600, 600]);
    }
}
