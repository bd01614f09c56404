//! The replicated state: every live table and its indexes, in persistent ordered maps, so that a
//! clone costs a few reference counts. Fields are private to this module; `Draft` is the only
//! writer and is reachable only from `command`.

mod draft;
mod load;
mod query;
pub(crate) mod rows;

pub(crate) use draft::Draft;
pub use draft::Touched;
pub use load::LoadError;
pub use query::JobView;
pub use rows::{RowChange, RowKey, Table};

use crate::command::Outcome;
use crate::ids::{
    ArchiveId, ClusterId, FleetId, InstanceId, ProjectId, RequestId, RunId, SubmissionId, UserId,
};
use crate::model::{Archive, Fleet, Instance, Project, Repo, Run, Secret, Submission, User};
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
    clock: Clock,
    cluster: Option<Arc<Cluster>>,

    users: OrdMap<UserId, Arc<User>>,
    user_names: OrdMap<String, UserId>,
    token_hashes: OrdMap<String, UserId>,

    projects: OrdMap<ProjectId, Arc<Project>>,
    /// By lower-case name: upstream looks projects up without regard to case.
    project_names: OrdMap<String, ProjectId>,

    fleets: OrdMap<FleetId, Arc<Fleet>>,
    fleet_names: OrdMap<(ProjectId, String), FleetId>,
    instances: OrdMap<InstanceId, Arc<Instance>>,
    fleet_instances: OrdSet<(FleetId, u32, InstanceId)>,
    /// Which instance a host address belongs to, server-wide.
    hosts: OrdMap<String, InstanceId>,

    runs: OrdMap<RunId, Arc<Run>>,
    /// Undeleted runs by name.
    run_names: OrdMap<(ProjectId, String), RunId>,
    runs_by_time: OrdSet<(Timestamp, RunId)>,
    unfinished_runs: OrdSet<RunId>,
    /// Finished runs still in memory, oldest end first.
    finished_runs: OrdSet<(Timestamp, RunId)>,
    submissions: OrdMap<SubmissionId, Arc<Submission>>,
    /// By (run, replica, job, attempt).
    run_submissions: OrdMap<(RunId, u32, u32, u32), SubmissionId>,

    secrets: OrdMap<(ProjectId, String), Arc<Secret>>,
    repos: OrdMap<(ProjectId, String), Arc<Repo>>,
    archives: OrdMap<ArchiveId, Arc<Archive>>,
    archive_hashes: OrdMap<(UserId, String), ArchiveId>,

    remembered: OrdMap<RequestId, Arc<Remembered>>,
    remembered_order: OrdSet<(u64, RequestId)>,
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
            hosts: OrdMap::new(),
            runs: OrdMap::new(),
            run_names: OrdMap::new(),
            runs_by_time: OrdSet::new(),
            unfinished_runs: OrdSet::new(),
            finished_runs: OrdSet::new(),
            submissions: OrdMap::new(),
            run_submissions: OrdMap::new(),
            secrets: OrdMap::new(),
            repos: OrdMap::new(),
            archives: OrdMap::new(),
            archive_hashes: OrdMap::new(),
            remembered: OrdMap::new(),
            remembered_order: OrdSet::new(),
        }
    }
}
