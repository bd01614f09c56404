//! The writer. A command works on a draft: a cheap clone of the state plus the row changes that
//! make the same difference on disk. A refused command's draft is dropped whole.

use super::rows::{self, RowChange, RowKey, Table};
use super::{Clock, Cluster, Remembered, State};
use crate::command::{Actor, Entry, Outcome};
use crate::encoding;
use crate::ids::{
    ArchiveId, EventId, FleetId, InstanceId, IntentId, ProjectId, RequestId, RunId, SubmissionId,
    UserId,
};
use crate::model::{
    Archive, Backend, Event, EventTarget, Fleet, Instance, Intent, Project, Repo, Run, Secret,
    Submission, User,
};
use crate::rejection::Rejection;
use crate::spec::BackendType;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// Kept for retries at most this many replies, and none older than this in log time. A parked
/// client gives up after 30 s, so both leave room.
const REMEMBERED_MOST: usize = 100_000;
const REMEMBERED_SECONDS: i64 = 600;

/// Which kinds of objects an entry changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub cluster: bool,
    pub users: bool,
    pub projects: bool,
    pub fleets: bool,
    pub instances: bool,
    pub runs: bool,
    pub secrets: bool,
    pub repos: bool,
    pub archives: bool,
    pub events: bool,
}

/// What a draft came to.
pub(crate) struct Finished {
    pub state: State,
    pub changes: Vec<RowChange>,
    pub touched: Touched,
    pub events_expired: Option<Timestamp>,
}

/// Times are kept to the microsecond: that is what the wire and the keys of pages carry, so a page
/// that begins where another ended neither skips nor repeats.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

pub(crate) struct Draft {
    state: State,
    pub at: Timestamp,
    pub index: u64,
    pub actor: Actor,
    changes: Vec<RowChange>,
    touched: Touched,
    events: u16,
    events_expired: Option<Timestamp>,
    failed: Option<String>,
    /// No rows are wanted: the leader only looks ahead.
    dry: bool,
}

impl std::ops::Deref for Draft {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl Draft {
    pub fn new(state: &State, entry: &Entry) -> Self {
        Self {
            state: state.clone(),
            at: whole_micros(entry.at).max(state.clock.at),
            index: entry.index,
            actor: entry.actor,
            changes: Vec::new(),
            touched: Touched::default(),
            events: 0,
            events_expired: None,
            failed: None,
            dry: false,
        }
    }

    /// A draft whose rows nobody will write.
    pub fn dry(state: &State, entry: &Entry) -> Self {
        Self {
            dry: true,
            ..Self::new(state, entry)
        }
    }

    /// Whether every row could be encoded.
    pub fn is_sound(&self) -> Result<(), Rejection> {
        match &self.failed {
            None => Ok(()),
            Some(why) => Err(Rejection::error(format!(
                "The result cannot be stored: {why}"
            ))),
        }
    }

    pub fn finish(mut self) -> Finished {
        self.forget_old_replies();
        let clock = Clock {
            at: self.at,
            index: self.index.max(self.state.clock.index),
        };
        self.state.clock = clock;
        self.put(RowKey::Clock, &clock);
        Finished {
            state: self.state,
            changes: self.changes,
            touched: self.touched,
            events_expired: self.events_expired,
        }
    }

    pub fn remember(&mut self, request: RequestId, reply: &Outcome) {
        let record = Remembered {
            at: self.at,
            index: self.index,
            reply: reply.clone(),
        };
        self.put_in(Table::Dedup, rows::dedup_key(request), &record);
        self.state.remembered_order.insert((record.index, request));
        self.state.remembered.insert(request, Arc::new(record));
    }

    fn forget_old_replies(&mut self) {
        while let Some(&(index, request)) = self.state.remembered_order.get_min() {
            let old = self.state.remembered.get(&request).is_none_or(|record| {
                self.at.as_second().saturating_sub(record.at.as_second()) > REMEMBERED_SECONDS
            });
            if !old && self.state.remembered.len() <= REMEMBERED_MOST {
                break;
            }
            self.state.remembered_order.remove(&(index, request));
            self.state.remembered.remove(&request);
            self.delete_in(Table::Dedup, rows::dedup_key(request));
        }
    }

    // Rows.

    fn put<T: Serialize>(&mut self, key: RowKey, value: &T) {
        self.put_in(Table::Live, key.bytes(), value);
    }

    fn put_in<T: Serialize>(&mut self, table: Table, key: Vec<u8>, value: &T) {
        if self.dry {
            return;
        }
        match encoding::encode(value) {
            Ok(bytes) => self.changes.push(RowChange {
                table,
                key,
                value: Some(bytes),
            }),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn put_raw(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(RowChange {
            table,
            key,
            value: Some(value),
        });
    }

    fn delete(&mut self, key: RowKey) {
        self.delete_in(Table::Live, key.bytes());
    }

    fn delete_in(&mut self, table: Table, key: Vec<u8>) {
        self.changes.push(RowChange {
            table,
            key,
            value: None,
        });
    }

    // Cluster, users, projects.

    pub fn put_cluster(&mut self, cluster: Cluster) {
        self.touched.cluster = true;
        self.put(RowKey::Cluster, &cluster);
        self.state.cluster = Some(Arc::new(cluster));
    }

    pub fn put_user(&mut self, user: User) {
        self.touched.users = true;
        self.put(RowKey::User(user.id), &user);
        self.state.insert_user(user);
    }

    pub fn remove_user(&mut self, id: UserId) {
        self.touched.users = true;
        self.delete(RowKey::User(id));
        self.state.drop_user(id);
    }

    pub fn put_project(&mut self, project: Project) {
        self.touched.projects = true;
        self.put(RowKey::Project(project.id), &project);
        self.state.insert_project(project);
    }

    pub fn remove_project(&mut self, id: ProjectId) {
        self.touched.projects = true;
        self.delete(RowKey::Project(id));
        self.state.drop_project(id);
    }

    // Fleets and instances.

    pub fn put_fleet(&mut self, fleet: Fleet) {
        self.touched.fleets = true;
        self.put(RowKey::Fleet(fleet.id), &fleet);
        self.state.insert_fleet(fleet);
    }

    pub fn remove_fleet(&mut self, id: FleetId) {
        self.touched.fleets = true;
        self.delete(RowKey::Fleet(id));
        self.state.drop_fleet(id);
    }

    pub fn put_instance(&mut self, instance: Instance) {
        self.touched.instances = true;
        self.put(RowKey::Instance(instance.id), &instance);
        self.state.insert_instance(instance);
    }

    pub fn remove_instance(&mut self, id: InstanceId) {
        self.touched.instances = true;
        self.delete(RowKey::Instance(id));
        self.state.drop_instance(id);
    }

    pub fn put_intent(&mut self, intent: Intent) {
        self.touched.instances = true;
        self.put(RowKey::Intent(intent.id), &intent);
        self.state.insert_intent(intent);
    }

    pub fn remove_intent(&mut self, id: IntentId) {
        self.touched.instances = true;
        self.delete(RowKey::Intent(id));
        self.state.drop_intent(id);
    }

    // Runs.

    /// A run with its specification and jobs: at submission and when the specification changes.
    pub fn put_run_whole(&mut self, run: Run) {
        self.put(RowKey::RunSpec(run.id), run.spec.as_ref());
        for (ordinal, job) in run.jobs.iter().enumerate() {
            self.put(RowKey::RunJob(run.id, ordinal as u32), job.as_ref());
        }
        self.put_raw(
            Table::Index,
            rows::run_time_key(run.project_id, run.submitted_at, run.id),
            Vec::new(),
        );
        self.put_raw(
            Table::Index,
            rows::run_name_key(run.project_id, &run.name),
            run.id.bytes().to_vec(),
        );
        self.put_run(run);
    }

    /// A run's status row.
    pub fn put_run(&mut self, run: Run) {
        self.touched.runs = true;
        self.put(RowKey::Run(run.id), &run);
        self.state.insert_run(run);
    }

    /// Frees the name of a run, in memory and in the index. Also right for a run that has left memory.
    pub fn free_run_name(&mut self, project: ProjectId, name: &str) {
        self.touched.runs = true;
        self.delete_in(Table::Index, rows::run_name_key(project, name));
    }

    pub fn put_submission(&mut self, submission: Submission) {
        self.touched.runs = true;
        self.put(
            RowKey::Submission(submission.run_id, submission.id),
            &submission,
        );
        self.state.insert_submission(submission);
    }

    pub fn remove_submission(&mut self, id: SubmissionId) {
        if let Some(submission) = self.state.submissions.get(&id).cloned() {
            self.delete(RowKey::Submission(submission.run_id, id));
            self.state.drop_submission(&submission);
        }
    }

    /// Moves a finished run out of memory: the same rows, under history keys.
    pub fn archive_run(&mut self, id: RunId) {
        let Some(run) = self.state.runs.get(&id).cloned() else {
            return;
        };
        self.touched.runs = true;
        self.move_to_history(RowKey::Run(id), run.as_ref());
        self.move_to_history(RowKey::RunSpec(id), run.spec.as_ref());
        for (ordinal, job) in run.jobs.iter().enumerate() {
            self.move_to_history(RowKey::RunJob(id, ordinal as u32), job.as_ref());
        }
        for submission in self.state.submissions_of(id).cloned().collect::<Vec<_>>() {
            self.move_to_history(RowKey::Submission(id, submission.id), submission.as_ref());
            self.state.drop_submission(&submission);
        }
        self.state.drop_run(&run);
    }

    fn move_to_history<T: Serialize>(&mut self, key: RowKey, value: &T) {
        if let Some(history) = key.history_bytes() {
            self.put_in(Table::History, history, value);
        }
        self.delete(key);
    }

    // Secrets, repos, archives.

    pub fn put_secret(&mut self, secret: Secret) {
        self.touched.secrets = true;
        self.put(
            RowKey::Secret(secret.project_id, secret.name.clone()),
            &secret,
        );
        self.state
            .secrets
            .insert((secret.project_id, secret.name.clone()), Arc::new(secret));
    }

    pub fn remove_secret(&mut self, project: ProjectId, name: &str) {
        self.touched.secrets = true;
        self.delete(RowKey::Secret(project, name.to_owned()));
        self.state.secrets.remove(&(project, name.to_owned()));
    }

    pub fn put_repo(&mut self, repo: Repo) {
        self.touched.repos = true;
        self.put(RowKey::Repo(repo.project_id, repo.repo_id.clone()), &repo);
        self.state
            .repos
            .insert((repo.project_id, repo.repo_id.clone()), Arc::new(repo));
    }

    pub fn remove_repo(&mut self, project: ProjectId, repo: &str) {
        self.touched.repos = true;
        self.delete(RowKey::Repo(project, repo.to_owned()));
        self.state.repos.remove(&(project, repo.to_owned()));
    }

    pub fn put_backend(&mut self, backend: Backend) {
        self.touched.projects = true;
        let place = (backend.project_id, backend.kind);
        self.put(RowKey::Backend(place.0, place.1), &backend);
        self.state.backends.insert(place, Arc::new(backend));
    }

    pub fn remove_backend(&mut self, project: ProjectId, kind: BackendType) {
        self.touched.projects = true;
        self.delete(RowKey::Backend(project, kind));
        self.state.backends.remove(&(project, kind));
    }

    pub fn put_archive(&mut self, archive: Archive) {
        self.touched.archives = true;
        self.put(RowKey::Archive(archive.id), &archive);
        self.state.insert_archive(archive);
    }

    pub fn remove_archive(&mut self, id: ArchiveId) {
        self.touched.archives = true;
        self.delete(RowKey::Archive(id));
        self.state.drop_archive(id);
    }

    // Events.

    /// Events live on disk only: whoever has the rows deletes those from before this moment.
    pub fn expire_events(&mut self, before: Timestamp) {
        self.events_expired = Some(before);
    }

    /// Records an event. `scopes` are the things it happened within, besides the projects of its targets.
    pub fn emit(
        &mut self,
        message: impl Into<String>,
        targets: Vec<EventTarget>,
        scopes: &[[u8; 16]],
    ) {
        if self.dry {
            return;
        }
        let key = rows::event_key(self.at, self.index, self.events);
        let (actor_user_id, actor_user) = match self.actor {
            Actor::System => (None, None),
            Actor::User(id) => (
                Some(id),
                self.state.user(id).map(|user| user.username.clone()),
            ),
        };
        let mut within: Vec<Uuid> = scopes.iter().copied().map(Uuid::from_bytes).collect();
        let projects = targets.iter().filter_map(|target| target.project_id);
        within.extend(projects.map(|project| project.0));
        within.sort_unstable();
        within.dedup();
        let event = Event {
            id: EventId::of(self.index, self.events),
            message: message.into(),
            recorded_at: self.at,
            actor_user_id,
            actor_user,
            targets,
            scopes: within,
        };
        for index_key in rows::event_index_keys(&event, &key) {
            self.put_raw(Table::Index, index_key, Vec::new());
        }
        self.put_in(Table::Events, key, &event);
        self.events = self.events.saturating_add(1);
        self.touched.events = true;
    }
}
