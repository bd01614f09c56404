//! From what an agent reports to commands; only real changes become commands.

use crate::command::{Command, ConfirmGone, JobObservation, RecordJob};
use crate::ids::{InstanceId, SubmissionId};
use crate::model::{JobStatus, PullProgress, Submission};
use crate::state::State;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The whole set of jobs an agent knows of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedJobs {
    /// The epoch and generation of the desired set the agent has accepted last.
    pub epoch: u64,
    pub generation: u64,
    pub jobs: Vec<ObservedJob>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ObservedJob {
    pub submission: SubmissionId,
    pub phase: ObservedPhase,
    /// Container port to host port.
    pub ports: BTreeMap<u16, u16>,
    pub container_user: Option<String>,
    pub working_dir: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ObservedPhase {
    Accepted,
    Pulling {
        progress: Option<PullProgress>,
    },
    Creating,
    Running {
        started_at: Option<Timestamp>,
    },
    Exited {
        exit_status: Option<i32>,
        signal: Option<i32>,
        reason: Option<String>,
        message: Option<String>,
        at: Timestamp,
    },
}

/// `observed` must be an answer to a desired set of the current term: an agent that has not heard
/// this leader yet may lack a job it is about to get.
pub fn observe(
    state: &State,
    instance: InstanceId,
    observed: &ObservedJobs,
    _now: Timestamp,
) -> Vec<Command> {
    let Some(host) = state.instance(instance) else {
        return Vec::new();
    };
    let reported: BTreeMap<SubmissionId, &ObservedJob> = observed
        .jobs
        .iter()
        .map(|job| (job.submission, job))
        .collect();
    let mut commands = Vec::new();
    for id in &host.jobs {
        let Some(submission) = state.submission(*id) else {
            continue;
        };
        let news = match reported.get(id) {
            Some(job) => difference(submission, job),
            None => missing(submission),
        };
        commands.extend(news.into_iter().map(|observation| {
            RecordJob {
                submission: *id,
                instance,
                observation,
            }
            .into()
        }));
    }
    let is_gone = |id: &&SubmissionId| {
        reported
            .get(id)
            .is_none_or(|job| matches!(job.phase, ObservedPhase::Exited { .. }))
    };
    let gone: BTreeSet<SubmissionId> = host.lingering.iter().filter(is_gone).copied().collect();
    if !gone.is_empty() {
        commands.push(
            ConfirmGone {
                instance,
                submissions: gone,
            }
            .into(),
        );
    }
    commands
}

/// The agent does not know a job of ours. Before it accepted the job that is natural.
fn missing(submission: &Submission) -> Vec<JobObservation> {
    let had_it = matches!(submission.status, JobStatus::Pulling | JobStatus::Running);
    let ending = submission.status == JobStatus::Terminating && submission.exit.is_none();
    if had_it || ending {
        vec![JobObservation::Lost]
    } else {
        Vec::new()
    }
}

fn difference(submission: &Submission, job: &ObservedJob) -> Vec<JobObservation> {
    let status = submission.status;
    let active = status.is_active();
    match &job.phase {
        ObservedPhase::Exited {
            exit_status,
            signal,
            reason,
            message,
            at,
        } => {
            if submission.exit.is_some() || !(active || status == JobStatus::Terminating) {
                return Vec::new();
            }
            vec![JobObservation::Exited {
                exit_status: *exit_status,
                signal: *signal,
                reason: reason.clone(),
                message: message.clone(),
                at: *at,
            }]
        }
        ObservedPhase::Running { started_at }
            if matches!(status, JobStatus::Provisioning | JobStatus::Pulling) =>
        {
            vec![JobObservation::Running {
                started_at: *started_at,
                ports: job.ports.clone(),
                container_user: job.container_user.clone(),
                working_dir: job.working_dir.clone(),
            }]
        }
        // It runs, or ran, and is being made ready again: the agent lost it and must not restart it.
        ObservedPhase::Accepted | ObservedPhase::Pulling { .. } | ObservedPhase::Creating
            if status == JobStatus::Running =>
        {
            vec![JobObservation::Lost]
        }
        ObservedPhase::Accepted | ObservedPhase::Creating if status == JobStatus::Provisioning => {
            vec![JobObservation::Preparing { pull: None }]
        }
        ObservedPhase::Pulling { progress }
            if matches!(status, JobStatus::Provisioning | JobStatus::Pulling) =>
        {
            if status == JobStatus::Pulling && !is_news(submission.pull_progress, *progress) {
                return Vec::new();
            }
            vec![JobObservation::Preparing { pull: *progress }]
        }
        _ => Vec::new(),
    }
}

/// Progress enters the log in tenths, not in every step.
fn is_news(old: Option<PullProgress>, new: Option<PullProgress>) -> bool {
    let tenth = |progress: PullProgress| {
        let of = |bytes: u64| bytes.saturating_mul(10) / progress.total_bytes.max(1);
        (
            of(progress.downloaded_bytes),
            of(progress.extracted_bytes),
            progress.is_total_bytes_final,
        )
    };
    match (old, new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => tenth(old) != tenth(new),
    }
}
