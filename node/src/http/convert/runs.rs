//! Runs, jobs and submissions.

use dstack_api::http::jobs::{
    Job as WireJob, JobConnectionInfo, JobProvisioningData, JobSubmission as WireSubmission,
};
use dstack_api::http::runs::{Run as WireRun, RunFleet};
use dstack_domain::model::{
    JobStatus, Run, Submission, run_error, run_status_message, submission_error,
    submission_status_message,
};
use dstack_domain::spec::{JobSpec, RunConfiguration};
use dstack_domain::state::{JobView, State};
use jiff::Timestamp;

/// How much of a run is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Without: the run has an empty list of jobs.
    pub jobs: bool,
    /// The newest submissions of each job.
    pub submissions: usize,
    /// How to get in, for one run that is asked about by name.
    pub connection: bool,
    /// For the cost of what still runs.
    pub now: Timestamp,
}

/// A run that is in memory.
pub fn run(state: &State, record: &Run, shown: Shown) -> WireRun {
    run_with(state, record, &state.jobs_of(record), shown)
}

/// A run and its jobs, wherever they were read.
pub fn run_with(state: &State, record: &Run, jobs: &[JobView<'_>], shown: Shown) -> WireRun {
    let latest: Vec<&Submission> = jobs
        .iter()
        .filter_map(|job| job.latest().map(|arc| arc.as_ref()))
        .collect();
    let project = state.project(record.project_id);
    let user = state.user(record.user_id);
    let fleet = record.fleet_id.and_then(|id| state.fleet(id));
    WireRun {
        id: record.id.0,
        project_name: project
            .map(|project| project.name.clone())
            .unwrap_or_default(),
        user: user.map(|user| user.username.clone()).unwrap_or_default(),
        fleet: fleet.map(|fleet| RunFleet {
            id: fleet.id.0,
            name: fleet.name.clone(),
        }),
        submitted_at: record.submitted_at.into(),
        last_processed_at: record.last_processed_at.into(),
        status: record.status,
        status_message: run_status_message(record, &latest),
        termination_reason: record
            .termination_reason
            .map(|reason| reason.as_str().to_owned()),
        run_spec: record.spec.as_ref().clone(),
        jobs: if shown.jobs {
            wire_jobs(record, jobs, shown)
        } else {
            Vec::new()
        },
        latest_job_submission: latest
            .first()
            .map(|submission| wire_submission(record, submission, shown)),
        cost: cost(jobs, shown.now),
        service: None,
        deployment_num: record.deployment_num,
        error: run_error(record).map(str::to_owned),
        deleted: Some(record.deleted),
        next_triggered_at: record.next_triggered_at.map(Into::into),
    }
}

/// A job without a submission is left out: the released client looks at the last one unasked.
fn wire_jobs(record: &Run, jobs: &[JobView<'_>], shown: Shown) -> Vec<WireJob> {
    let with_submissions = jobs.iter().filter(|job| !job.submissions.is_empty());
    with_submissions
        .map(|job| {
            let skip = job
                .submissions
                .len()
                .saturating_sub(shown.submissions.max(1));
            let kept = job.submissions.iter().skip(skip);
            WireJob {
                job_spec: shown_spec(job.spec),
                job_submissions: kept
                    .map(|submission| wire_submission(record, submission, shown))
                    .collect(),
                job_connection_info: if shown.connection {
                    connection(record, job)
                } else {
                    None
                },
            }
        })
        .collect()
}

/// The key by which nodes reach each other is theirs alone.
fn shown_spec(spec: &JobSpec) -> JobSpec {
    let mut spec = spec.clone();
    spec.ssh_key = None;
    spec
}

fn wire_submission(record: &Run, submission: &Submission, shown: Shown) -> WireSubmission {
    WireSubmission {
        id: submission.id.0,
        submission_num: submission.submission_num,
        deployment_num: submission.deployment_num,
        submitted_at: submission.submitted_at.into(),
        last_processed_at: submission.last_processed_at.into(),
        finished_at: submission.finished_at.map(Into::into),
        inactivity_secs: inactivity(record, submission, shown.now),
        status: submission.status,
        status_message: submission_status_message(submission),
        termination_reason: submission
            .termination_reason
            .map(|reason| reason.as_str().to_owned()),
        termination_reason_message: submission.termination_reason_message.clone(),
        exit_status: submission.exit_status(),
        job_provisioning_data: submission
            .provisioning_data
            .clone()
            .map(|data| attachable(data, shown)),
        job_runtime_data: submission.runtime_data.clone(),
        error: submission_error(submission).map(str::to_owned),
        probes: Vec::new(),
        image_pull_progress: submission.pull_progress,
    }
}

/// Seconds without a user; zero while somebody is connected, nothing where nobody counts.
fn inactivity(record: &Run, submission: &Submission, now: Timestamp) -> Option<u64> {
    record.spec.configuration.inactivity_seconds()?;
    if submission.status != JobStatus::Running {
        return None;
    }
    let idle = submission
        .idle_since
        .map_or(0, |since| now.duration_since(since).as_secs());
    Some(u64::try_from(idle).unwrap_or_default())
}

/// Attaching dereferences these two without asking, so a single run has them always.
fn attachable(mut data: JobProvisioningData, shown: Shown) -> JobProvisioningData {
    if shown.connection {
        data.hostname.get_or_insert_default();
        data.ssh_port.get_or_insert(22);
    }
    data
}

fn connection(record: &Run, job: &JobView<'_>) -> Option<JobConnectionInfo> {
    let running = job
        .latest()
        .is_some_and(|latest| latest.status == JobStatus::Running);
    let first = job.spec.replica_num == 0 && job.spec.job_num == 0;
    let host = if first {
        record.name.clone()
    } else {
        job.spec.job_name.clone()
    };
    let ide = match &record.spec.configuration {
        RunConfiguration::DevEnvironment(dev) => dev.ide,
        _ => None,
    };
    let folder = job
        .latest()
        .and_then(|latest| latest.runtime_data.as_ref()?.working_dir.clone());
    running.then(|| JobConnectionInfo {
        ide_name: ide.map(|ide| ide.title().to_owned()),
        attached_ide_url: ide.and_then(|ide| Some(ide.url(&host, &folder?))),
        attached_ssh_command: Some(vec!["ssh".to_owned(), host]),
        ..JobConnectionInfo::default()
    })
}

/// Price times duration over all submissions, with four decimals.
fn cost(jobs: &[JobView<'_>], now: Timestamp) -> f64 {
    let of = |submission: &Submission| {
        let price = submission
            .provisioning_data
            .as_ref()
            .map_or(0.0, |data| data.price);
        let end = submission.finished_at.unwrap_or(now);
        let seconds = end
            .duration_since(submission.submitted_at)
            .as_secs_f64()
            .max(0.0);
        price * seconds / 3600.0
    };
    let total: f64 = jobs
        .iter()
        .flat_map(|job| &job.submissions)
        .map(|submission| of(submission))
        .sum();
    (total * 10_000.0).round() / 10_000.0
}
