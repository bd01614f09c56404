//! The envelope of every command, and the one list of all of them.

use super::{
    AddMembers, ApplyFleet, AssignJobs, ConfirmGone, CreateProject, CreateUser, DelayRun,
    DeleteBackends, DeleteFleets, DeleteInstances, DeleteProjects, DeleteRepos, DeleteRuns,
    DeleteSecrets, DeleteUsers, ExpireEvents, ExplainWait, FinishJob, FinishRun, ForgetRuns,
    GiveUpCluster, GrowFleet, InitCluster, InitRepo, InstanceGone, IssueIntent, LeaveSite,
    PlanMachine, ProvisionJobs, RecordHost, RecordIntent, RecordJob, RecordSweep, RefreshSshKey,
    RefreshToken, RegisterArchive, ReleaseIntent, RemoveMembers, ResubmitJobs, SetBackend,
    SetFeatureLevel, SetMembers, SetReachability, SetRunStatus, SetSecret, StartRun, StopRuns,
    SubmitRun, SweepArchives, TerminateInstance, TerminateJob, TerminateRun, UpdateProject,
    UpdateRun, UpdateUser,
};
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

            pub(super) fn run(&self, draft: &mut crate::state::Draft) -> Outcome {
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
    SetBackend,
    DeleteBackends,
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
    GiveUpCluster,
    GrowFleet,
    ProvisionJobs,
    PlanMachine,
    LeaveSite,
    ExplainWait,
    TerminateInstance,
    IssueIntent,
    RecordIntent,
    ReleaseIntent,
    RecordSweep,
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
    SweepArchives,
    ExpireEvents,
);

impl Command {
    /// The feature level all members must have before this command may be used.
    pub fn level(&self) -> u32 {
        1
    }
}
