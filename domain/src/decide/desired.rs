//! What every agent should be running: the whole set each time, derived from the state alone.

use crate::ids::{InstanceId, RunId, SubmissionId};
use crate::model::{
    ClusterKey, GpuShare, Instance, JobStatus, NetworkMode, Run, Sealed, Submission,
};
use crate::spec::{JobSpec, StartupOrder};
use crate::state::State;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a stopped job has before it is killed. Upstream drains for 30 s; the processes
/// themselves get 10.
pub const GRACE_SECONDS: i64 = 10;
/// Beyond the grace the agent is told outright to kill.
const KILL_SLACK_SECONDS: i64 = 5;
/// Bytes of output per job and hour; more ends the job.
const LOG_QUOTA_HOUR_BYTES: u64 = 50 * 1024 * 1024;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredSet {
    pub jobs: Vec<DesiredJob>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredPhase {
    Run,
    Stop { grace_s: u32 },
    Kill,
}

/// How a job finds its siblings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// By job number; empty text when an address is not known.
    pub job_ips: Vec<String>,
    pub master_ip: String,
    pub gpus_per_job: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredArchive {
    pub sha256: String,
    pub path: String,
}

/// Everything the hands need to form the order for one job. Secrets are named, not contained.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredJob {
    pub submission: SubmissionId,
    pub run_id: RunId,
    pub run_name: String,
    pub project_name: String,
    pub user_name: String,
    pub repo_id: String,
    pub job: Arc<JobSpec>,
    pub phase: DesiredPhase,
    pub cluster: ClusterInfo,
    /// By which the nodes of a replica reach each other.
    pub cluster_key: Option<ClusterKey>,
    pub fleet_env: BTreeMap<String, String>,
    pub gpus: GpuShare,
    pub gpu_count: u32,
    /// `None`: the whole host.
    pub cpu_limit: Option<f64>,
    pub memory_limit_mib: Option<u64>,
    pub network_mode: NetworkMode,
    pub log_quota_hour_bytes: u64,
    /// Names of the secrets that the job's environment or registry credentials refer to.
    pub secrets_needed: BTreeSet<String>,
    pub archives: Vec<DesiredArchive>,
    /// The submitting user's credentials for the repository: upstream's JSON, sealed.
    pub repo_creds: Option<Sealed>,
    /// Public keys that may log in to the job.
    pub authorized_keys: Vec<String>,
    /// Those of them that may pass through the host to it.
    pub host_keys: Vec<String>,
    /// The user of the host through whom they pass.
    pub host_user: Option<String>,
}

/// Whether a placed job may be handed to its agent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Closed,
}

pub(super) fn desired_sets(state: &State, now: Timestamp) -> BTreeMap<InstanceId, DesiredSet> {
    let hosts = state.instances().filter(|instance| instance.has_agent());
    hosts
        .map(|instance| (instance.id, desired_set(state, instance, now)))
        .collect()
}

fn desired_set(state: &State, instance: &Instance, now: Timestamp) -> DesiredSet {
    let held = instance.jobs.iter().filter_map(|id| state.submission(*id));
    DesiredSet {
        jobs: held
            .filter_map(|submission| desired_job(state, instance, submission, now))
            .collect(),
    }
}

fn desired_job(
    state: &State,
    instance: &Instance,
    submission: &Submission,
    now: Timestamp,
) -> Option<DesiredJob> {
    let placement = submission.placement.as_ref()?;
    let run = state.run(submission.run_id)?;
    let job = state.job_spec(submission)?;
    let phase = phase(state, submission, now)?;
    let project = state.project(run.project_id)?;
    let user = state.user(run.user_id);
    let repo_id = run
        .spec
        .repo_id
        .clone()
        .unwrap_or_else(|| "none".to_owned());
    let mut authorized_keys: Vec<String> = Vec::new();
    authorized_keys.extend(run.spec.ssh_key_pub.clone());
    authorized_keys.push(project.ssh_public_key.clone());
    Some(DesiredJob {
        submission: submission.id,
        run_id: run.id,
        run_name: run.name.clone(),
        project_name: project.name.clone(),
        user_name: user.map(|user| user.username.clone()).unwrap_or_default(),
        job: job.clone(),
        phase,
        cluster: cluster_info(state, run, submission),
        cluster_key: run.cluster_key.clone().filter(|_| job.jobs_per_replica > 1),
        fleet_env: fleet_env(state, instance),
        gpus: placement.gpus.clone(),
        gpu_count: placement.gpu_count,
        cpu_limit: placement.cpu_limit,
        memory_limit_mib: placement.memory_limit_mib,
        network_mode: submission
            .runtime_data
            .as_ref()
            .map_or(NetworkMode::Host, |data| data.network_mode),
        log_quota_hour_bytes: LOG_QUOTA_HOUR_BYTES,
        secrets_needed: secrets_needed(job),
        archives: archives(state, job),
        repo_creds: state
            .repo(run.project_id, &repo_id)
            .and_then(|repo| repo.creds.get(&run.user_id))
            .map(|creds| creds.creds.clone()),
        repo_id,
        authorized_keys,
        host_keys: run.spec.ssh_key_pub.iter().cloned().collect(),
        host_user: instance.remote.as_ref().map(|remote| remote.user.clone()),
    })
}

fn phase(state: &State, submission: &Submission, now: Timestamp) -> Option<DesiredPhase> {
    match submission.status {
        JobStatus::Provisioning => {
            (gate(state, submission) == Gate::Open).then_some(DesiredPhase::Run)
        }
        JobStatus::Pulling | JobStatus::Running => Some(DesiredPhase::Run),
        // It has exited; it stays in the set so that the agent keeps its output until it is stored.
        JobStatus::Terminating if submission.exit.is_some() => Some(DesiredPhase::Kill),
        JobStatus::Terminating => {
            let since = submission
                .terminating_at
                .unwrap_or(submission.last_processed_at);
            let waited = now.as_second().saturating_sub(since.as_second());
            let graceful = submission.graceful && waited < kill_after_seconds(submission);
            Some(if graceful {
                DesiredPhase::Stop {
                    grace_s: GRACE_SECONDS as u32,
                }
            } else {
                DesiredPhase::Kill
            })
        }
        _ => None,
    }
}

pub(super) fn kill_after_seconds(submission: &Submission) -> i64 {
    if submission.graceful {
        GRACE_SECONDS + KILL_SLACK_SECONDS
    } else {
        0
    }
}

/// The gates before the job is handed over: every sibling has a machine, and `startup_order`.
pub(super) fn gate(state: &State, submission: &Submission) -> Gate {
    let Some(run) = state.run(submission.run_id) else {
        return Gate::Closed;
    };
    if !is_up(state, submission) {
        return Gate::Closed;
    }
    let siblings: Vec<&Arc<Submission>> = state
        .latest_submissions(run.id)
        .into_iter()
        .filter(|other| other.replica_num == submission.replica_num && other.id != submission.id)
        .collect();
    if siblings.is_empty() {
        return Gate::Open;
    }
    if siblings
        .iter()
        .any(|other| other.status == JobStatus::Submitted || !is_up(state, other))
    {
        return Gate::Closed;
    }
    let started =
        |other: &Submission| !matches!(other.status, JobStatus::Provisioning | JobStatus::Pulling);
    let is_master = submission.job_num == 0;
    let open = match run.spec.merged_profile().startup_order {
        Some(StartupOrder::MasterFirst) => {
            is_master
                || siblings
                    .iter()
                    .filter(|other| other.job_num == 0)
                    .all(|master| started(master))
        }
        Some(StartupOrder::WorkersFirst) => {
            !is_master || siblings.iter().all(|worker| started(worker))
        }
        Some(StartupOrder::Any) | None => true,
    };
    if open { Gate::Open } else { Gate::Closed }
}

/// Whether the machine of a placed job was reached: one in a cloud comes after its job.
pub(super) fn is_up(state: &State, submission: &Submission) -> bool {
    let instance = submission.instance().and_then(|id| state.instance(id));
    instance.is_none_or(|instance| instance.facts.is_some())
}

fn cluster_info(state: &State, run: &Run, submission: &Submission) -> ClusterInfo {
    let mut info = ClusterInfo::default();
    for sibling in state.latest_submissions(run.id) {
        if sibling.replica_num != submission.replica_num {
            continue;
        }
        let data = sibling.provisioning_data.as_ref();
        let ip = data
            .and_then(|data| data.internal_ip.clone())
            .or_else(|| data.and_then(|data| data.hostname.clone()));
        info.job_ips.push(ip.unwrap_or_default());
        info.gpus_per_job.push(
            sibling
                .placement
                .as_ref()
                .map_or(0, |placement| placement.gpu_count),
        );
    }
    info.master_ip = info.job_ips.first().cloned().unwrap_or_default();
    info
}

fn fleet_env(state: &State, instance: &Instance) -> BTreeMap<String, String> {
    state
        .fleet(instance.fleet_id)
        .map(|fleet| fleet.spec.configuration.env.values())
        .unwrap_or_default()
}

fn archives(state: &State, job: &JobSpec) -> Vec<DesiredArchive> {
    let known = |id: uuid::Uuid| {
        state
            .archive(id.into())
            .map(|archive| archive.sha256.clone())
    };
    job.file_archives
        .iter()
        .filter_map(|mapping| {
            Some(DesiredArchive {
                sha256: known(mapping.id)?,
                path: mapping.path.clone(),
            })
        })
        .collect()
}

/// Names in `${{ secrets.NAME }}` of the environment and the registry credentials.
fn secrets_needed(job: &JobSpec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let registry = job
        .registry_auth
        .iter()
        .flat_map(|auth| [&auth.username, &auth.password]);
    for text in job.env.values().chain(registry) {
        for part in text.split("${{").skip(1) {
            let reference = part.split("}}").next().unwrap_or_default().trim();
            if let Some(name) = reference.strip_prefix("secrets.") {
                names.insert(name.trim().to_owned());
            }
        }
    }
    names
}
