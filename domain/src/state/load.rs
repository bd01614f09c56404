//! Tables and indexes: how a record enters and leaves memory, and how all of them come back from
//! disk. A draft and a load go through the same functions, so they cannot disagree.

use super::rows::Table;
use super::{Clock, Cluster, Remembered, State};
use crate::encoding::{EncodingError, decode};
use crate::ids::{ArchiveId, FleetId, InstanceId, IntentId, ProjectId, RequestId, RunId, UserId};
use crate::model::{
    Archive, Backend, Fleet, Instance, InstanceStatus, Intent, JobStatus, Project, Repo, Run,
    Secret, Submission, User,
};
use crate::spec::{JobSpec, RunSpec};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;
use uuid::Uuid;

#[derive(Debug, Error)]
pub enum LoadError {
    #[error("row {} of {table:?} cannot be read", hex::encode(key))]
    Row {
        table: Table,
        key: Vec<u8>,
        #[source]
        source: EncodingError,
    },
    #[error(
        "row {} of {table:?} has an unknown kind: the data was written by a newer release",
        hex::encode(key)
    )]
    UnknownKind { table: Table, key: Vec<u8> },
    #[error("run {0} has no specification row: the data is damaged")]
    NoSpec(RunId),
}

/// What belongs to a run but lies in rows of its own, gathered until the run's row is seen.
#[derive(Default)]
struct RunParts {
    run: Option<Run>,
    spec: Option<RunSpec>,
    jobs: BTreeMap<u32, JobSpec>,
}

impl State {
    /// Rebuilds the state from all rows of `Table::Live` and `Table::Dedup`, in any order.
    pub fn load<K, V>(rows: impl IntoIterator<Item = (Table, K, V)>) -> Result<State, LoadError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut state = State::default();
        let mut runs: BTreeMap<[u8; 16], RunParts> = BTreeMap::new();
        for (table, key, value) in rows {
            let (key, value) = (key.as_ref(), value.as_ref());
            let result = match table {
                Table::Live => state.load_live(key, value, &mut runs),
                Table::Dedup => state.load_reply(key, value).map(|()| true),
                Table::Index | Table::History | Table::Events => Ok(true),
            };
            match result {
                Ok(true) => {}
                Ok(false) => {
                    return Err(LoadError::UnknownKind {
                        table,
                        key: key.to_vec(),
                    });
                }
                Err(source) => {
                    return Err(LoadError::Row {
                        table,
                        key: key.to_vec(),
                        source,
                    });
                }
            }
        }
        for (id, parts) in runs {
            let Some(mut run) = parts.run else { continue };
            let spec = parts
                .spec
                .ok_or(LoadError::NoSpec(RunId(Uuid::from_bytes(id))))?;
            run.spec = Arc::new(spec);
            run.jobs = Arc::new(parts.jobs.into_values().map(Arc::new).collect());
            state.insert_run(run);
        }
        Ok(state)
    }

    fn load_live(
        &mut self,
        key: &[u8],
        value: &[u8],
        runs: &mut BTreeMap<[u8; 16], RunParts>,
    ) -> Result<bool, EncodingError> {
        let Some((&kind, rest)) = key.split_first() else {
            return Ok(false);
        };
        let run_id = rest.first_chunk::<16>().copied().unwrap_or_default();
        match kind {
            b'c' => self.clock = decode::<Clock>(value)?,
            b'C' => self.cluster = Some(Arc::new(decode::<Cluster>(value)?)),
            b'u' => self.insert_user(decode(value)?),
            b'p' => self.insert_project(decode(value)?),
            b'f' => self.insert_fleet(decode(value)?),
            b'i' => self.insert_instance(decode(value)?),
            b'r' => runs.entry(run_id).or_default().run = Some(decode(value)?),
            b's' => runs.entry(run_id).or_default().spec = Some(decode(value)?),
            b'j' => {
                let ordinal = rest
                    .get(16..20)
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u32::from_be_bytes);
                runs.entry(run_id)
                    .or_default()
                    .jobs
                    .insert(ordinal, decode(value)?);
            }
            b'x' => self.insert_submission(decode(value)?),
            b'k' => {
                let secret: Secret = decode(value)?;
                self.secrets
                    .insert((secret.project_id, secret.name.clone()), Arc::new(secret));
            }
            b'o' => {
                let repo: Repo = decode(value)?;
                self.repos
                    .insert((repo.project_id, repo.repo_id.clone()), Arc::new(repo));
            }
            b'a' => self.insert_archive(decode(value)?),
            b'b' => {
                let backend: Backend = decode(value)?;
                self.backends
                    .insert((backend.project_id, backend.kind), Arc::new(backend));
            }
            b'l' => self.insert_intent(decode(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn load_reply(&mut self, key: &[u8], value: &[u8]) -> Result<(), EncodingError> {
        let record: Remembered = decode(value)?;
        let request = RequestId(Uuid::from_bytes(
            key.first_chunk::<16>().copied().unwrap_or_default(),
        ));
        self.remembered_order.insert((record.index, request));
        self.remembered.insert(request, Arc::new(record));
        Ok(())
    }

    pub(super) fn insert_user(&mut self, user: User) {
        if let Some(old) = self.users.get(&user.id) {
            self.user_names.remove(&old.username);
            self.token_hashes.remove(&old.token_hash);
        }
        self.user_names.insert(user.username.clone(), user.id);
        self.token_hashes.insert(user.token_hash.clone(), user.id);
        self.users.insert(user.id, Arc::new(user));
    }

    pub(super) fn drop_user(&mut self, id: UserId) {
        if let Some(old) = self.users.remove(&id) {
            self.user_names.remove(&old.username);
            self.token_hashes.remove(&old.token_hash);
        }
    }

    pub(super) fn insert_project(&mut self, project: Project) {
        if let Some(old) = self.projects.get(&project.id) {
            self.project_names.remove(&old.name.to_lowercase());
        }
        self.project_names
            .insert(project.name.to_lowercase(), project.id);
        self.projects.insert(project.id, Arc::new(project));
    }

    pub(super) fn drop_project(&mut self, id: ProjectId) {
        if let Some(old) = self.projects.remove(&id) {
            self.project_names.remove(&old.name.to_lowercase());
        }
    }

    pub(super) fn insert_fleet(&mut self, fleet: Fleet) {
        self.fleet_names
            .insert((fleet.project_id, fleet.name.clone()), fleet.id);
        self.fleets.insert(fleet.id, Arc::new(fleet));
    }

    pub(super) fn drop_fleet(&mut self, id: FleetId) {
        if let Some(old) = self.fleets.remove(&id) {
            let name = (old.project_id, old.name.clone());
            if self.fleet_names.get(&name) == Some(&id) {
                self.fleet_names.remove(&name);
            }
        }
    }

    pub(super) fn insert_instance(&mut self, instance: Instance) {
        let place = (instance.fleet_id, instance.num, instance.id);
        self.fleet_instances.insert(place);
        if matches!(instance.status, InstanceStatus::Idle | InstanceStatus::Busy)
            && instance.free_blocks() > 0
        {
            self.open_instances.insert(place);
        } else {
            self.open_instances.remove(&place);
        }
        self.index_host(&instance);
        self.instances.insert(instance.id, Arc::new(instance));
    }

    pub(super) fn drop_instance(&mut self, id: InstanceId) {
        if let Some(old) = self.instances.remove(&id) {
            let place = (old.fleet_id, old.num, id);
            self.fleet_instances.remove(&place);
            self.open_instances.remove(&place);
            if let Some(address) = own_address(&old)
                && self.hosts.get(&address) == Some(&id)
            {
                self.hosts.remove(&address);
            }
        }
    }

    fn index_host(&mut self, instance: &Instance) {
        if let Some(address) = own_address(instance) {
            self.hosts.insert(address, instance.id);
        }
    }

    pub(super) fn insert_intent(&mut self, intent: Intent) {
        self.drop_intent(intent.id);
        if let Some(fleet) = intent.fleet_id {
            self.fleet_intents.insert((fleet, intent.id));
        }
        self.intents.insert(intent.id, Arc::new(intent));
    }

    pub(super) fn drop_intent(&mut self, id: IntentId) {
        let old = self.intents.remove(&id);
        if let Some(fleet) = old.and_then(|old| old.fleet_id) {
            self.fleet_intents.remove(&(fleet, id));
        }
    }

    pub(super) fn insert_run(&mut self, run: Run) {
        let name = (run.project_id, run.name.clone());
        if !run.deleted {
            self.run_names.insert(name, run.id);
        } else if self.run_names.get(&name) == Some(&run.id) {
            self.run_names.remove(&name);
        }
        self.runs_by_time.insert((run.submitted_at, run.id));
        match run.finished_at {
            Some(at) if run.status.is_finished() => {
                self.unfinished_runs.remove(&run.id);
                self.finished_runs.insert((at, run.id));
            }
            _ => {
                self.unfinished_runs.insert(run.id);
            }
        }
        self.runs.insert(run.id, Arc::new(run));
    }

    pub(super) fn drop_run(&mut self, run: &Run) {
        let name = (run.project_id, run.name.clone());
        if self.run_names.get(&name) == Some(&run.id) {
            self.run_names.remove(&name);
        }
        self.runs_by_time.remove(&(run.submitted_at, run.id));
        self.unfinished_runs.remove(&run.id);
        if let Some(at) = run.finished_at {
            self.finished_runs.remove(&(at, run.id));
        }
        self.runs.remove(&run.id);
    }

    pub(super) fn insert_submission(&mut self, submission: Submission) {
        let place = (
            submission.run_id,
            submission.replica_num,
            submission.job_num,
            submission.submission_num,
        );
        self.run_submissions.insert(place, submission.id);
        let waits = (submission.run_id, submission.id);
        if submission.status == JobStatus::Submitted {
            self.waiting.insert(waits);
        } else {
            self.waiting.remove(&waits);
        }
        self.submissions.insert(submission.id, Arc::new(submission));
    }

    pub(super) fn drop_submission(&mut self, submission: &Submission) {
        let place = (
            submission.run_id,
            submission.replica_num,
            submission.job_num,
            submission.submission_num,
        );
        self.run_submissions.remove(&place);
        self.waiting.remove(&(submission.run_id, submission.id));
        self.submissions.remove(&submission.id);
    }

    pub(super) fn insert_archive(&mut self, archive: Archive) {
        self.drop_archive(archive.id);
        self.archives_by_use.insert((archive.used_at, archive.id));
        self.archive_hashes
            .insert((archive.user_id, archive.sha256.clone()), archive.id);
        self.archives.insert(archive.id, Arc::new(archive));
    }

    pub(super) fn drop_archive(&mut self, id: ArchiveId) {
        let Some(archive) = self.archives.remove(&id) else {
            return;
        };
        self.archives_by_use.remove(&(archive.used_at, id));
        self.archive_hashes
            .remove(&(archive.user_id, archive.sha256.clone()));
    }
}

/// Where a host of one's own is: it may be in one fleet only. Addresses of clouds come and go, and are no names.
fn own_address(instance: &Instance) -> Option<String> {
    let remote = instance.remote.as_ref()?;
    instance.is_own_host().then(|| remote.address())
}
