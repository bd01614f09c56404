//! What a client submits: a configuration, a profile and what the client knows about code and files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::configuration::RunConfiguration;
use super::profile::{Profile, ProfileParams};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "repo_type", rename_all = "lowercase")]
pub enum RunRepoData {
    Remote {
        repo_name: String,
        #[serde(default)]
        repo_branch: Option<String>,
        #[serde(default)]
        repo_hash: Option<String>,
        #[serde(default)]
        repo_config_name: Option<String>,
        #[serde(default)]
        repo_config_email: Option<String>,
    },
    Local {
        repo_dir: String,
    },
    Virtual,
}

/// An uploaded archive and where it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileArchiveMapping {
    pub id: uuid::Uuid,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    #[serde(default, deserialize_with = "super::names::resource_name")]
    pub run_name: Option<String>,
    #[serde(default)]
    pub repo_id: Option<String>,
    #[serde(default)]
    pub repo_data: Option<RunRepoData>,
    #[serde(default)]
    pub repo_code_hash: Option<String>,
    #[serde(default)]
    pub repo_dir: Option<String>,
    #[serde(default)]
    pub file_archives: Vec<FileArchiveMapping>,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub configuration_path: Option<String>,
    pub configuration: RunConfiguration,
    #[serde(default)]
    pub profile: Option<Profile>,
    #[serde(default)]
    pub ssh_key_pub: Option<String>,
}

impl RunSpec {
    pub fn new(configuration: RunConfiguration) -> Self {
        Self {
            run_name: configuration.common().name.clone(),
            repo_id: None,
            repo_data: None,
            repo_code_hash: None,
            repo_dir: None,
            file_archives: Vec::new(),
            working_dir: None,
            configuration_path: None,
            configuration,
            profile: None,
            ssh_key_pub: None,
        }
    }

    /// The parameters to schedule with: the configuration's, then the profile's.
    pub fn merged_profile(&self) -> ProfileParams {
        let own = self.configuration.profile();
        match &self.profile {
            Some(profile) => own.or(&profile.params),
            None => own.clone(),
        }
    }
}
