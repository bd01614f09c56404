//! The tables themselves. Their fields are visible to this folder only.

use crate::command::Outcome;
use crate::ids::{
    ArchiveId, ClusterId, FleetId, InstanceId, IntentId, ProjectId, RequestId, RunId, SubmissionId,
    UserId,
};
use crate::model::{
    Archive, Backend, Fleet, Instance, Intent, Project, Repo, Run, Secret, Submission, User,
};
use crate::spec::BackendType;
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The cluster's own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub created_at: Timestamp,
    /// The newest command forms every member is known to understand.
    pub feature_level: u32,
}

/// Log time: never goes back, whatever the proposers' clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    pub at: Timestamp,
    pub index: u64,
}

/// A reply kept for retries of the same request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub at: Timestamp,
    pub index: u64,
    pub reply: Outcome,
}

#[derive(Clone, Debug)]
pub struct State {
    pub(super) clock: Clock,
    pub(super) cluster: Option<Arc<Cluster>>,

    pub(super) users: OrdMap<UserId, Arc<User>>,
    pub(super) user_names: OrdMap<String, UserId>,
    pub(super) token_hashes: OrdMap<String, UserId>,

    pub(super) projects: OrdMap<ProjectId, Arc<Project>>,
    /// By lower-case name: upstream looks projects up without regard to case.
    pub(super) project_names: OrdMap<String, ProjectId>,

    pub(super) fleets: OrdMap<FleetId, Arc<Fleet>>,
    pub(super) fleet_names: OrdMap<(ProjectId, String), FleetId>,
    pub(super) instances: OrdMap<InstanceId, Arc<Instance>>,
    pub(super) fleet_instances: OrdSet<(FleetId, u32, InstanceId)>,
    /// Those with free blocks, so that placement does not look at full ones.
    pub(super) open_instances: OrdSet<(FleetId, u32, InstanceId)>,
    /// Which instance a host address belongs to, server-wide.
    pub(super) hosts: OrdMap<String, InstanceId>,
    pub(super) intents: OrdMap<IntentId, Arc<Intent>>,
    pub(super) fleet_intents: OrdSet<(FleetId, IntentId)>,

    pub(super) runs: OrdMap<RunId, Arc<Run>>,
    /// Undeleted runs by name.
    pub(super) run_names: OrdMap<(ProjectId, String), RunId>,
    pub(super) runs_by_time: OrdSet<(Timestamp, RunId)>,
    pub(super) unfinished_runs: OrdSet<RunId>,
    /// Finished runs still in memory, oldest end first.
    pub(super) finished_runs: OrdSet<(Timestamp, RunId)>,
    pub(super) submissions: OrdMap<SubmissionId, Arc<Submission>>,
    /// By (run, replica, job, attempt).
    pub(super) run_submissions: OrdMap<(RunId, u32, u32, u32), SubmissionId>,

    /// Runs with a job that waits for a machine.
    pub(super) waiting: OrdSet<(RunId, SubmissionId)>,

    pub(super) secrets: OrdMap<(ProjectId, String), Arc<Secret>>,
    pub(super) repos: OrdMap<(ProjectId, String), Arc<Repo>>,
    pub(super) archives: OrdMap<ArchiveId, Arc<Archive>>,
    pub(super) archive_hashes: OrdMap<(UserId, String), ArchiveId>,
    /// Longest unused first.
    pub(super) archives_by_use: OrdSet<(Timestamp, ArchiveId)>,

    pub(super) backends: OrdMap<(ProjectId, BackendType), Arc<Backend>>,

    pub(super) remembered: OrdMap<RequestId, Arc<Remembered>>,
    pub(super) remembered_order: OrdSet<(u64, RequestId)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            clock: Clock {
                at: Timestamp::UNIX_EPOCH,
                index: 0,
            },
            cluster: None,
            users: OrdMap::new(),
            user_names: OrdMap::new(),
            token_hashes: OrdMap::new(),
            projects: OrdMap::new(),
            project_names: OrdMap::new(),
            fleets: OrdMap::new(),
            fleet_names: OrdMap::new(),
            instances: OrdMap::new(),
            fleet_instances: OrdSet::new(),
            open_instances: OrdSet::new(),
            hosts: OrdMap::new(),
            intents: OrdMap::new(),
            fleet_intents: OrdSet::new(),
            runs: OrdMap::new(),
            run_names: OrdMap::new(),
            runs_by_time: OrdSet::new(),
            unfinished_runs: OrdSet::new(),
            finished_runs: OrdSet::new(),
            submissions: OrdMap::new(),
            run_submissions: OrdMap::new(),
            waiting: OrdSet::new(),
            secrets: OrdMap::new(),
            repos: OrdMap::new(),
            archives: OrdMap::new(),
            archive_hashes: OrdMap::new(),
            archives_by_use: OrdSet::new(),
            backends: OrdMap::new(),
            remembered: OrdMap::new(),
            remembered_order: OrdSet::new(),
        }
    }
}
