//! Sources of machines, as upstream's clients and its `server/config.yml` configure them.

use dstack_domain::spec::BackendType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// With credentials: for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrusoeBackend {
    pub r#type: BackendType,
    /// Of the cloud's own project.
    pub project_id: String,
    /// Locations; all of them when absent.
    #[serde(default)]
    pub regions: Option<Vec<String>>,
    /// Another address of the cloud's API: for the simulator. Ours alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How many calls a second the account takes; five, unless told otherwise. Ours alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<u32>,
    /// What becomes of things in the account that bear our mark and that no record means. Ours alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strays: Option<Strays>,
    pub creds: CrusoeCreds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strays {
    /// They are shown, and cost money until somebody removes them.
    Observe,
    /// They are removed, a few at a time.
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrusoeCreds {
    #[serde(default)]
    pub r#type: AccessKeyType,
    pub access_key: String,
    pub secret_key: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessKeyType {
    #[default]
    AccessKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteBackends {
    pub backends_names: Vec<BackendType>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendYaml {
    pub config_yaml: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedBackendYaml {
    pub name: BackendType,
    pub config_yaml: String,
}
