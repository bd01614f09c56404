//! From the jobs here to what servers are told.

use std::path::PathBuf;

use dstack_api::agent::{Observed, ObservedJob, phase, stream};
use uuid::Uuid;

use super::entry::{Entry, LaunchStep};
use crate::durable;
use crate::home::Home;
use crate::record::JobPhase;
use crate::runner::sshd::Activity;
use crate::spool;

/// What links send, and the spools they read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    pub observed: Observed,
    pub spools: Vec<Spool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    pub submission: Uuid,
    pub path: PathBuf,
}

/// One job, as servers are told.
pub fn describe(entry: &Entry, home: &Home) -> ObservedJob {
    let record = &entry.record;
    let missing = entry.archives_missing(home);
    let mut job = ObservedJob {
        submission_id: record.submission.to_string(),
        phase: phase_name(entry, !missing.is_empty()).to_owned(),
        archives_missing: missing,
        ports: record
            .ports
            .iter()
            .map(|(inside, outside)| (u32::from(*inside), u32::from(*outside)))
            .collect(),
        ..ObservedJob::default()
    };
    if job.phase == phase::PULLING {
        job.pull = *entry.pull.borrow();
    }
    if let Some(running) = &record.running {
        job.started_at_us = running.started_at.as_microsecond();
        job.user.clone_from(&running.user);
        job.working_dir.clone_from(&running.working_dir);
        let chosen = running
            .ports
            .iter()
            .map(|(inside, outside)| (u32::from(*inside), u32::from(*outside)));
        job.ports.extend(chosen);
        job.idle = entry.record.exit.is_none() && is_idle(entry);
    }
    if let Some(exit) = &record.exit {
        job.has_exit_status = exit.exit_status.is_some();
        job.exit_status = exit.exit_status.unwrap_or_default();
        job.signal = exit.signal.unwrap_or_default();
        job.reason.clone_from(&exit.reason);
        job.message.clone_from(&exit.message);
        job.finished_at_us = exit.at.as_microsecond();
        // Nobody writes any more: the server knows by these when it has everything.
        job.job_log_end = log_end(entry, stream::JOB);
        job.runner_log_end = log_end(entry, stream::RUNNER);
    }
    job
}

/// A job whose SSH server has not said anything is not called idle.
fn is_idle(entry: &Entry) -> bool {
    let activity: Option<Activity> =
        durable::read_json(&entry.task.job.activity()).unwrap_or_default();
    activity.is_some_and(|activity| activity.inactive_since.is_some())
}

fn log_end(entry: &Entry, stream: &str) -> u64 {
    spool::bounds(&entry.task.job.spool(), stream)
        .map(|bounds| bounds.end)
        .unwrap_or_default()
}

fn phase_name(entry: &Entry, archives_missing: bool) -> &'static str {
    match entry.record.phase {
        JobPhase::Accepted if archives_missing => phase::WAITING_ARCHIVES,
        JobPhase::Accepted => phase::ACCEPTED,
        JobPhase::Starting => match entry.launching.as_ref().map(|launching| launching.step) {
            Some(LaunchStep::Preparing) => phase::PULLING,
            _ => phase::CREATING,
        },
        JobPhase::Alive if entry.record.running.is_none() => phase::CREATING,
        JobPhase::Alive => phase::RUNNING,
        JobPhase::Exited => phase::EXITED,
    }
}
