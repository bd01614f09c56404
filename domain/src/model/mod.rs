//! What the cluster remembers: plain records and their lawful transitions. They change nowhere
//! but under `command/`.

mod archive;
mod backend;
mod event;
mod fleet;
mod host;
mod instance;
mod intent;
mod project;
mod reason;
mod repo;
mod run;
mod sealed;
mod secret;
mod status;
mod submission;
mod user;
mod wire;

pub use archive::Archive;
pub use backend::Backend;
pub use event::{Event, EventTarget, TargetType};
pub use fleet::{Fleet, FleetStatus, Scarce, Site};
pub use host::{HostFacts, HostGpu, HostNic, ProxyHost, RemoteHost};
pub use instance::{Health, Instance, InstanceReason, InstanceStatus, Made};
pub use intent::{Absence, Intent, Kind, Phase, Purpose, Seen};
pub use project::{Member, Project, ProjectRole};
pub use reason::{JobReason, RetryCause, RunReason};
pub use repo::{Repo, RepoCreds};
pub use run::{ClusterKey, Run, RunStatus};
pub use sealed::Sealed;
pub use secret::Secret;
pub use status::{
    Lawful, run_error, run_status_message, submission_error, submission_status_message,
};
pub use submission::{Exit, GpuShare, JobStatus, Placement, PullProgress, Submission};
pub use user::{GlobalRole, User};
pub use wire::{
    Availability, Disk, Gpu, GpuDriver, HAS_FABRIC, InstanceOffer, InstanceRuntime, InstanceType,
    JobProvisioningData, JobRuntimeData, NetworkMode, Resources, SshConnection,
};
