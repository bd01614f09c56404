//! What users write, in YAML or over the HTTP API, and what it means.
//!
//! The same types are read from YAML, travel as JSON and are stored as JSON: reading accepts every shorthand, writing emits the
//! complete normal form with its nulls.

pub mod backend_type;
pub mod configuration;
pub mod cron;
pub mod dev_environment;
pub mod duration;
pub mod env;
pub(crate) mod flat;
pub mod fleet;
pub mod gateway;
pub mod job_spec;
pub mod memory;
pub mod mounts;
pub mod names;
pub mod ports;
pub mod profile;
pub mod range;
pub mod resources;
pub mod run_common;
pub mod run_spec;
pub mod service;
pub mod service_model;
pub mod service_traffic;
pub mod shorthand;
pub mod task;
pub mod unix_user;
pub mod volume;

pub use backend_type::BackendType;
pub use configuration::{AnyConfiguration, ConfigurationType, RunConfiguration};
pub use cron::Schedule;
pub use dev_environment::{DevEnvironmentConfiguration, Ide};
pub use duration::{Duration, IdleDuration, OffableDuration};
pub use env::{Env, EnvValue};
pub use fleet::{
    Blocks, FleetConfiguration, FleetNodes, FleetSpec, Placement, ResolvedHost, SshHost,
    SshHostParams, SshKey, SshParams, SshProxyParams,
};
pub use gateway::{Certificate, GatewayConfiguration, GatewaySpec, LoadBalancer};
pub use job_spec::{AppSpec, JobSpec, JobSshKey, Requirements};
pub use memory::Memory;
pub use mounts::{FilePathMapping, MountPoint, RepoExistsAction, RepoSpec};
pub use ports::PortMapping;
pub use profile::{
    CreationPolicy, EntityReference, InstanceSelector, Profile, ProfileParams, ProfileRetry, Retry,
    RetryEvent, RetrySetting, SpotPolicy, StartupOrder, StopCriteria, UtilizationPolicy,
    VastAiOptions,
};
pub use range::Range;
pub use resources::{
    ComputeCapability, CpuArch, CpuSpec, DiskSpec, GpuSpec, GpuVendor, ResourcesSpec,
};
pub use run_common::{PythonVersion, RegistryAuth, RunCommon};
pub use run_spec::{FileArchiveMapping, RunRepoData, RunSpec};
pub use service::{
    GatewayChoice, Https, ReplicaGroup, RouterConfig, RouterType, ScalingSpec,
    ServiceConfiguration, ServicePort,
};
pub use service_model::ServiceModel;
pub use service_traffic::{
    HttpHeader, HttpMethod, PartitioningKey, ProbeConfig, ProbeSpec, RateLimit,
};
pub use shorthand::OneOrMany;
pub use task::{NodeGroup, TaskConfiguration};
pub use unix_user::UnixUser;
pub use volume::{VolumeBackend, VolumeConfiguration};
