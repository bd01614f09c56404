//! Git repositories that runs use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of repository it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "repo_type", rename_all = "lowercase")]
pub enum RepoInfo {
    Remote { repo_name: String },
    Local { repo_dir: String },
    Virtual {},
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteRepoCreds {
    pub clone_url: String,
    #[serde(default)]
    pub private_key: Option<String>,
    #[serde(default)]
    pub oauth_token: Option<String>,
}

impl std::fmt::Debug for RemoteRepoCreds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteRepoCreds")
            .field("clone_url", &self.clone_url)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitRepo {
    pub repo_id: String,
    pub repo_info: RepoInfo,
    #[serde(default)]
    pub repo_creds: Option<RemoteRepoCreds>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRepo {
    pub repo_id: String,
    pub include_creds: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRepos {
    pub repos_ids: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepoHead {
    pub repo_id: String,
    pub repo_info: RepoInfo,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepoHeadWithCreds {
    pub repo_id: String,
    pub repo_info: RepoInfo,
    pub repo_creds: Option<RemoteRepoCreds>,
}
