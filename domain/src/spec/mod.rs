//! What users write, in YAML or over the HTTP API, and what it means.
//!
//! The same types are read from YAML, travel as JSON and are stored as JSON: reading accepts every shorthand, writing emits the
//! complete normal form with its nulls.
//!
//! The way of a spec: [`parse_yaml`] (client) or [`parse_json`] (server); [`resolve::resolve_for_submission`] (client);
//! [`validate::run_spec`] and [`validate::fleet_spec`] (server); [`effective_run`]; [`run_update`] against what runs already;
//! [`expand_jobs`]; [`resolve::resolve_addresses`] and [`resolve::resolve_secrets`] when a job starts.

pub mod backend_type;
pub mod configuration;
pub mod cron;
pub mod dev_environment;
pub mod diff;
pub mod duration;
pub mod effective;
pub mod env;
pub mod expand;
mod expand_service;
pub(crate) mod flat;
pub mod fleet;
pub mod gateway;
pub mod gpu;
pub mod gpu_names;
pub mod ide;
pub mod interpolate;
pub mod job_spec;
pub mod memory;
pub mod mounts;
pub mod names;
pub(crate) mod outline;
pub mod parse;
pub mod ports;
pub mod profile;
pub mod profiles_file;
pub mod range;
pub mod resolve;
pub mod resources;
pub mod run_common;
pub mod run_spec;
mod schema;
pub mod service;
pub mod service_model;
pub mod service_traffic;
mod shell_script;
pub mod shorthand;
pub mod spec_error;
pub mod task;
pub mod unix_user;
pub mod validate;
pub mod validate_infra;
pub(crate) mod validate_service;
pub(crate) mod validate_task;
pub mod volume;
pub(crate) mod wording;

pub use backend_type::BackendType;
pub use configuration::{AnyConfiguration, ConfigurationType, RunConfiguration};
pub use cron::Schedule;
pub use dev_environment::DevEnvironmentConfiguration;
pub use diff::{
    Change, HostChanges, Update, fleet_update, gateway_update, host_changes, run_changes,
    run_update,
};
pub use duration::{Duration, IdleDuration, OffableDuration};
pub use effective::effective_run;
pub use env::{Env, EnvValue};
pub use expand::{expand_jobs, plan_jobs, replica_jobs};
pub use fleet::{
    Blocks, FleetConfiguration, FleetNodes, FleetSpec, Placement, ResolvedHost, SshHost,
    SshHostParams, SshKey, SshParams, SshProxyParams,
};
pub use gateway::{Certificate, GatewayConfiguration, GatewaySpec, LoadBalancer};
pub use gpu::{ComputeCapability, GpuSpec, GpuVendor};
pub use ide::Ide;
pub use job_spec::{AppSpec, JobSpec, JobSshKey, Requirements};
pub use memory::Memory;
pub use mounts::{FilePathMapping, MountPoint, RepoExistsAction, RepoSpec};
pub use parse::{parse_json, parse_json_value, parse_profiles, parse_yaml, read_stored};
pub use ports::PortMapping;
pub use profile::{
    CreationPolicy, EntityReference, InstanceSelector, Profile, ProfileParams, ProfileRetry, Retry,
    RetryEvent, RetrySetting, SpotPolicy, StartupOrder, StopCriteria, UtilizationPolicy,
    VastAiOptions,
};
pub use profiles_file::ProfilesFile;
pub use range::Range;
pub use resources::{CpuArch, CpuSpec, DiskSpec, ResourcesSpec};
pub use run_common::{PythonVersion, RegistryAuth, RunCommon};
pub use run_spec::{FileArchiveMapping, RunRepoData, RunSpec};
pub use schema::configuration_schema;
pub use service::{
    GatewayChoice, Https, ReplicaGroup, RouterConfig, RouterType, ScalingSpec,
    ServiceConfiguration, ServicePort,
};
pub use service_model::ServiceModel;
pub use service_traffic::{
    HttpHeader, HttpMethod, PartitioningKey, ProbeConfig, ProbeSpec, RateLimit,
};
pub use shorthand::OneOrMany;
pub use spec_error::{Position, SpecError};
pub use task::{NodeGroup, TaskConfiguration};
pub use unix_user::UnixUser;
pub use volume::{VolumeBackend, VolumeConfiguration};
