//! Reading the state: lookups and ordered iterators.

use super::{Clock, Cluster, State};
use crate::command::Outcome;
use crate::ids::{
    ArchiveId, FleetId, InstanceId, IntentId, ProjectId, RequestId, RunId, SubmissionId, UserId,
};
use crate::model::{
    Archive, Backend, Fleet, Instance, Intent, Project, Repo, Run, Secret, Submission, User,
};
use crate::spec::BackendType;
use crate::spec::JobSpec;
use jiff::Timestamp;
use std::sync::Arc;

/// A job of a run with all its attempts, oldest first.
#[derive(Clone, Debug)]
pub struct JobView<'a> {
    pub spec: &'a Arc<JobSpec>,
    pub submissions: Vec<&'a Arc<Submission>>,
}

impl<'a> JobView<'a> {
    pub fn latest(&self) -> Option<&'a Arc<Submission>> {
        self.submissions.last().copied()
    }
}

impl State {
    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// 0 before the cluster is initialised.
    pub fn feature_level(&self) -> u32 {
        self.cluster
            .as_ref()
            .map_or(0, |cluster| cluster.feature_level)
    }

    /// The reply a request got, while it is kept for repetitions.
    pub fn remembered(&self, request: RequestId) -> Option<Outcome> {
        self.remembered
            .get(&request)
            .map(|record| record.reply.clone())
    }

    pub fn remembered_count(&self) -> usize {
        self.remembered.len()
    }

    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    pub fn user_by_name(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(self.user_names.get(name)?)
    }

    /// `hash` is the lower-case hex of the token's sha256.
    pub fn user_by_token_hash(&self, hash: &str) -> Option<&Arc<User>> {
        self.users.get(self.token_hashes.get(hash)?)
    }

    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// Without regard to case.
    pub fn project_by_name(&self, name: &str) -> Option<&Arc<Project>> {
        self.projects
            .get(self.project_names.get(&name.to_lowercase())?)
    }

    pub fn fleet(&self, id: FleetId) -> Option<&Arc<Fleet>> {
        self.fleets.get(&id)
    }

    pub fn fleets(&self) -> impl Iterator<Item = &Arc<Fleet>> {
        self.fleets.values()
    }

    pub fn fleets_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Fleet>> {
        let names = self.fleet_names.range((project, String::new())..);
        names
            .take_while(move |((owner, _), _)| *owner == project)
            .filter_map(|(_, id)| self.fleets.get(id))
    }

    pub fn fleet_by_name(&self, project: ProjectId, name: &str) -> Option<&Arc<Fleet>> {
        self.fleets
            .get(self.fleet_names.get(&(project, name.to_owned()))?)
    }

    pub fn instance(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(&id)
    }

    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    /// In order of their numbers.
    pub fn instances_of(&self, fleet: FleetId) -> impl Iterator<Item = &Arc<Instance>> {
        let start = (fleet, 0, InstanceId(uuid::Uuid::nil()));
        let members = self
            .fleet_instances
            .range(start..)
            .take_while(move |(owner, _, _)| *owner == fleet);
        members.filter_map(|(_, _, id)| self.instances.get(id))
    }

    pub fn intent(&self, id: IntentId) -> Option<&Arc<Intent>> {
        self.intents.get(&id)
    }

    /// The whole ledger.
    pub fn intents(&self) -> impl Iterator<Item = &Arc<Intent>> {
        self.intents.values()
    }

    pub fn intents_of(&self, fleet: FleetId) -> impl Iterator<Item = &Arc<Intent>> {
        let start = (fleet, IntentId(uuid::Uuid::nil()));
        let members = self.fleet_intents.range(start..);
        members
            .take_while(move |(owner, _)| *owner == fleet)
            .filter_map(|(_, id)| self.intents.get(id))
    }

    /// What was found in an account of the project, and belongs to no fleet.
    pub fn strays_of(
        &self,
        project: ProjectId,
        backend: BackendType,
    ) -> impl Iterator<Item = &Arc<Intent>> {
        let there = move |one: &&Arc<Intent>| one.project_id == project && one.backend == backend;
        self.intents
            .values()
            .filter(there)
            .filter(|one| one.fleet_id.is_none())
    }

    /// Idle and busy instances with free blocks, in order of their numbers.
    pub fn open_instances_of(&self, fleet: FleetId) -> impl Iterator<Item = &Arc<Instance>> {
        let start = (fleet, 0, InstanceId(uuid::Uuid::nil()));
        let open = self
            .open_instances
            .range(start..)
            .take_while(move |(owner, _, _)| *owner == fleet);
        open.filter_map(|(_, _, id)| self.instances.get(id))
    }

    /// The instance a host address (`hostname:port`, lower case) belongs to, in any project.
    pub fn instance_at(&self, address: &str) -> Option<&Arc<Instance>> {
        self.instances.get(self.hosts.get(address)?)
    }

    pub fn run(&self, id: RunId) -> Option<&Arc<Run>> {
        self.runs.get(&id)
    }

    /// Never a deleted one.
    pub fn run_by_name(&self, project: ProjectId, name: &str) -> Option<&Arc<Run>> {
        self.runs
            .get(self.run_names.get(&(project, name.to_owned()))?)
    }

    /// All runs in memory, newest first, deleted ones included.
    pub fn runs_newest_first(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.runs_by_time
            .iter()
            .rev()
            .filter_map(|(_, id)| self.runs.get(id))
    }

    /// Runs submitted before the place `(submitted_at, id)`, newest first.
    pub fn runs_before(&self, place: (Timestamp, RunId)) -> impl Iterator<Item = &Arc<Run>> {
        self.runs_by_time
            .range(..place)
            .rev()
            .filter_map(|(_, id)| self.runs.get(id))
    }

    /// Runs submitted after the place `(submitted_at, id)`, oldest first.
    pub fn runs_after(&self, place: (Timestamp, RunId)) -> impl Iterator<Item = &Arc<Run>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.runs_by_time
            .range((Excluded(place), Unbounded))
            .filter_map(|(_, id)| self.runs.get(id))
    }

    pub fn unfinished_runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.unfinished_runs
            .iter()
            .filter_map(|id| self.runs.get(id))
    }

    /// Oldest end first.
    pub fn finished_runs(&self) -> impl DoubleEndedIterator<Item = &Arc<Run>> {
        self.finished_runs
            .iter()
            .filter_map(|(_, id)| self.runs.get(id))
    }

    pub fn finished_run_count(&self) -> usize {
        self.finished_runs.len()
    }

    pub fn submission(&self, id: SubmissionId) -> Option<&Arc<Submission>> {
        self.submissions.get(&id)
    }

    pub fn submissions(&self) -> impl Iterator<Item = &Arc<Submission>> {
        self.submissions.values()
    }

    /// Submissions that wait for a machine, by run.
    pub fn waiting_submissions(&self) -> impl Iterator<Item = &Arc<Submission>> {
        self.waiting
            .iter()
            .filter_map(|(_, id)| self.submissions.get(id))
    }

    /// By replica, job, attempt.
    pub fn submissions_of(&self, run: RunId) -> impl Iterator<Item = &Arc<Submission>> {
        let places = self
            .run_submissions
            .range((run, 0, 0, 0)..)
            .take_while(move |((owner, ..), _)| *owner == run);
        places.filter_map(|(_, id)| self.submissions.get(id))
    }

    /// Jobs of a run by (replica, job), each with its attempts.
    pub fn jobs_of<'a>(&'a self, run: &'a Run) -> Vec<JobView<'a>> {
        let mut jobs: Vec<JobView<'a>> = run
            .jobs
            .iter()
            .map(|spec| JobView {
                spec,
                submissions: Vec::new(),
            })
            .collect();
        for submission in self.submissions_of(run.id) {
            let place = (submission.replica_num, submission.job_num);
            let found =
                jobs.binary_search_by_key(&place, |job| (job.spec.replica_num, job.spec.job_num));
            if let Ok(at) = found
                && let Some(job) = jobs.get_mut(at)
            {
                job.submissions.push(submission);
            }
        }
        jobs
    }

    /// The newest attempt of every job of a run, by (replica, job).
    pub fn latest_submissions(&self, run: RunId) -> Vec<&Arc<Submission>> {
        let mut latest: Vec<&Arc<Submission>> = Vec::new();
        for submission in self.submissions_of(run) {
            match latest.last_mut() {
                Some(last)
                    if (last.replica_num, last.job_num)
                        == (submission.replica_num, submission.job_num) =>
                {
                    *last = submission;
                }
                _ => latest.push(submission),
            }
        }
        latest
    }

    /// The specification of the job a submission is an attempt of.
    pub fn job_spec(&self, submission: &Submission) -> Option<&Arc<JobSpec>> {
        let run = self.runs.get(&submission.run_id)?;
        let place = (submission.replica_num, submission.job_num);
        let at = run
            .jobs
            .binary_search_by_key(&place, |job| (job.replica_num, job.job_num))
            .ok()?;
        run.jobs.get(at)
    }

    pub fn secret(&self, project: ProjectId, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(&(project, name.to_owned()))
    }

    pub fn secrets_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Secret>> {
        let all = self.secrets.range((project, String::new())..);
        all.take_while(move |((owner, _), _)| *owner == project)
            .map(|(_, secret)| secret)
    }

    pub fn backend(&self, project: ProjectId, kind: BackendType) -> Option<&Arc<Backend>> {
        self.backends.get(&(project, kind))
    }

    pub fn backends_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Backend>> {
        let every = BackendType::ALL.iter();
        every.filter_map(move |kind| self.backends.get(&(project, *kind)))
    }

    pub fn repo(&self, project: ProjectId, repo: &str) -> Option<&Arc<Repo>> {
        self.repos.get(&(project, repo.to_owned()))
    }

    pub fn repos_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Repo>> {
        let all = self.repos.range((project, String::new())..);
        all.take_while(move |((owner, _), _)| *owner == project)
            .map(|(_, repo)| repo)
    }

    pub fn archive(&self, id: ArchiveId) -> Option<&Arc<Archive>> {
        self.archives.get(&id)
    }

    pub fn archive_by_hash(&self, user: UserId, sha256: &str) -> Option<&Arc<Archive>> {
        self.archives
            .get(self.archive_hashes.get(&(user, sha256.to_owned()))?)
    }

    pub fn archives(&self) -> impl Iterator<Item = &Arc<Archive>> {
        self.archives.values()
    }

    /// Longest unused first.
    pub fn archives_by_use(&self) -> impl Iterator<Item = &Arc<Archive>> {
        self.archives_by_use
            .iter()
            .filter_map(|(_, id)| self.archives.get(id))
    }
}
