//! Commands: every change of the replicated state. One file each: data, preconditions, effect.
//! `apply` is the exhaustive match over them.

mod apply;
mod apply_fleet;
mod archives;
mod assign_jobs;
mod cluster;
mod delete_fleets;
mod delete_runs;
mod events;
mod finish_job;
mod finish_run;
mod forget_runs;
mod instance_gone;
mod job_end;
mod jobs;
mod members;
mod projects;
mod record_host;
mod record_job;
mod repos;
mod resubmit_jobs;
mod secrets;
mod set_reachability;
mod set_run_status;
mod stop_runs;
mod submit_run;
mod terminate_job;
mod terminate_run;
mod update_run;
mod users;

pub use apply::{Applied, apply};
pub use apply_fleet::{ApplyFleet, FleetVersion, HostOrder};
pub use archives::RegisterArchive;
pub(crate) use assign_jobs::offer;
pub use assign_jobs::{AssignJobs, Assignment};
pub use cluster::{FEATURE_LEVEL, InitCluster, SetFeatureLevel};
pub use delete_fleets::{DeleteFleets, DeleteInstances};
pub use delete_runs::DeleteRuns;
pub use finish_job::FinishJob;
pub use finish_run::FinishRun;
pub use forget_runs::ForgetRuns;
pub use instance_gone::InstanceGone;
pub use members::{AddMembers, MemberOrder, RemoveMembers, SetMembers};
pub use projects::{CreateProject, DeleteProjects, UpdateProject};
pub use record_host::{ConnectedHost, HostOutcome, RecordHost};
pub use record_job::{JobObservation, RecordJob};
pub use repos::{DeleteRepos, InitRepo};
pub use resubmit_jobs::{DelayRun, ResubmitJobs, StartRun};
pub use secrets::{DeleteSecrets, SetSecret};
pub use set_reachability::{ConfirmGone, SetReachability};
pub use set_run_status::SetRunStatus;
pub use stop_runs::StopRuns;
pub use submit_run::SubmitRun;
pub use terminate_job::TerminateJob;
pub use terminate_run::TerminateRun;
pub use update_run::UpdateRun;
pub use users::{CreateUser, DeleteUsers, NewUser, RefreshSshKey, RefreshToken, UpdateUser};

use crate::ids::{ArchiveId, FleetId, ProjectId, RequestId, RunId, SecretId, UserId};
use crate::rejection::Rejection;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One entry of the log, as the door completed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the log: not part of the bytes, set by whoever applies it.
    #[serde(skip)]
    pub index: u64,
    pub request: RequestId,
    pub actor: Actor,
    /// The proposer's clock. The state's own clock never goes back, so this is a lower bound.
    pub at: Timestamp,
    pub command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    User(UserId),
    System,
}

/// What a command may answer; remembered for retries of the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    None,
    Run(RunId),
    Fleet(FleetId),
    User(UserId),
    Project(ProjectId),
    Secret(SecretId),
    Archive(ArchiveId),
}

pub type Outcome = Result<Reply, Rejection>;

macro_rules! commands {
    ($($name:ident),+ $(,)?) => {
        /// Every change there is.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        // One command lives at a time; a box in it would only be in the way of whoever forms it.
        #[allow(clippy::large_enum_variant)]
        pub enum Command {
            /// Changes nothing: a barrier.
            Noop,
            $($name($name)),+
        }

        impl Command {
            pub fn name(&self) -> &'static str {
                match self {
                    Command::Noop => "Noop",
                    $(Command::$name(_) => stringify!($name)),+
                }
            }

            fn run(&self, draft: &mut crate::state::Draft) -> Outcome {
                match self {
                    Command::Noop => Ok(Reply::None),
                    $(Command::$name(command) => command.run(draft)),+
                }
            }
        }

        $(impl From<$name> for Command {
            fn from(command: $name) -> Self {
                Command::$name(command)
            }
        })+
    };
}

commands!(
    // From people.
    InitCluster,
    SetFeatureLevel,
    CreateUser,
    UpdateUser,
    DeleteUsers,
    RefreshToken,
    RefreshSshKey,
    CreateProject,
    UpdateProject,
    DeleteProjects,
    SetMembers,
    AddMembers,
    RemoveMembers,
    SetSecret,
    DeleteSecrets,
    InitRepo,
    DeleteRepos,
    RegisterArchive,
    ApplyFleet,
    DeleteFleets,
    DeleteInstances,
    SubmitRun,
    UpdateRun,
    StopRuns,
    DeleteRuns,
    // From `decide` and the hands.
    RecordHost,
    SetReachability,
    ConfirmGone,
    InstanceGone,
    AssignJobs,
    RecordJob,
    TerminateJob,
    FinishJob,
    SetRunStatus,
    TerminateRun,
    DelayRun,
    StartRun,
    ResubmitJobs,
    FinishRun,
    ForgetRuns,
);

impl Command {
    /// The feature level all members must have before this command may be used.
    pub fn level(&self) -> u32 {
        1
    }
}
