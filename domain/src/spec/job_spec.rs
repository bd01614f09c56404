//! What one job must do, with nothing left to decide but where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mounts::{MountPoint, RepoExistsAction};
use super::profile::{Retry, UtilizationPolicy, VastAiOptions};
use super::resources::ResourcesSpec;
use super::run_common::RegistryAuth;
use super::run_spec::{FileArchiveMapping, RunRepoData};
use super::service_traffic::ProbeSpec;
use super::unix_user::UnixUser;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requirements {
    pub resources: ResourcesSpec,
    #[serde(default)]
    pub max_price: Option<f64>,
    #[serde(default)]
    pub spot: Option<bool>,
    #[serde(default)]
    pub reservation: Option<String>,
    #[serde(default)]
    pub multinode: Option<bool>,
    #[serde(default)]
    pub backend_options: Option<Vec<VastAiOptions>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppSpec {
    pub port: u16,
    #[serde(default)]
    pub map_to_port: Option<u16>,
    pub app_name: String,
    #[serde(default)]
    pub url_path: Option<String>,
    #[serde(default)]
    pub url_query_params: Option<BTreeMap<String, String>>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSshKey {
    pub private: String,
    pub public: String,
}

impl std::fmt::Debug for JobSshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobSshKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSpec {
    #[serde(default)]
    pub replica_num: u32,
    pub job_num: u32,
    pub job_name: String,
    #[serde(default = "one")]
    pub jobs_per_replica: u32,
    #[serde(default = "zero_name")]
    pub replica_group: String,
    /// Never null on the wire: the released client iterates over it.
    #[serde(default)]
    pub app_specs: Vec<AppSpec>,
    #[serde(default)]
    pub user: Option<UnixUser>,
    pub commands: Vec<String>,
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub home_dir: Option<String>,
    pub image_name: String,
    #[serde(default)]
    pub privileged: bool,
    #[serde(default)]
    pub single_branch: Option<bool>,
    #[serde(default)]
    pub max_duration: Option<u64>,
    #[serde(default)]
    pub stop_duration: Option<u64>,
    #[serde(default)]
    pub utilization_policy: Option<UtilizationPolicy>,
    #[serde(default)]
    pub registry_auth: Option<RegistryAuth>,
    pub requirements: Requirements,
    #[serde(default)]
    pub retry: Option<Retry>,
    #[serde(default)]
    pub volumes: Option<Vec<MountPoint>>,
    /// Filled in by the server, one pair per replica of several nodes.
    #[serde(default)]
    pub ssh_key: Option<JobSshKey>,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub repo_data: Option<RunRepoData>,
    #[serde(default)]
    pub repo_code_hash: Option<String>,
    #[serde(default = "repo_dir")]
    pub repo_dir: String,
    #[serde(default)]
    pub repo_exists_action: Option<RepoExistsAction>,
    #[serde(default)]
    pub file_archives: Vec<FileArchiveMapping>,
    #[serde(default)]
    pub service_port: Option<u16>,
    #[serde(default)]
    pub probes: Vec<ProbeSpec>,
    #[serde(default)]
    pub node_group_index: u32,
    #[serde(default = "zero_name")]
    pub node_group_name: String,
    #[serde(default)]
    pub node_group_job_index: u32,
}

fn one() -> u32 {
    1
}

fn zero_name() -> String {
    "0".to_owned()
}

pub(crate) fn repo_dir() -> String {
    "/workflow".to_owned()
}
