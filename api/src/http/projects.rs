//! Projects and their members.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::time::Moment;
use super::users::{User, default_limit};
pub use dstack_domain::model::ProjectRole;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    pub project_id: Uuid,
    pub project_name: String,
    pub owner: User,
    pub created_at: Option<Moment>,
    pub backends: Vec<BackendInfo>,
    pub members: Vec<Member>,
    #[serde(default)]
    pub is_public: bool,
    #[serde(default)]
    pub templates_repo: Option<String>,
}

/// A configured source of machines, without its credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendInfo {
    pub name: String,
    pub config: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    pub user: User,
    pub project_role: ProjectRole,
    pub permissions: MemberPermissions,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberPermissions {
    pub can_manage_ssh_fleets: bool,
    #[serde(default)]
    pub can_manage_secrets: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectsInfoList {
    pub total_count: Option<u64>,
    pub projects: Vec<Project>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProjects {
    #[serde(default = "yes")]
    pub include_not_joined: bool,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub return_total_count: bool,
    #[serde(default)]
    pub name_pattern: Option<String>,
    #[serde(default)]
    pub prev_created_at: Option<Moment>,
    #[serde(default)]
    pub prev_id: Option<Uuid>,
    #[serde(default = "default_limit")]
    pub limit: u32,
    #[serde(default)]
    pub ascending: bool,
}

impl Default for ListProjects {
    fn default() -> Self {
        Self {
            include_not_joined: true,
            username: None,
            return_total_count: false,
            name_pattern: None,
            prev_created_at: None,
            prev_id: None,
            limit: default_limit(),
            ascending: false,
        }
    }
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    pub project_name: String,
    #[serde(default)]
    pub is_public: bool,
    #[serde(default)]
    pub templates_repo: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    #[serde(default)]
    pub is_public: Option<bool>,
    #[serde(default)]
    pub templates_repo: Option<String>,
    #[serde(default)]
    pub reset_templates_repo: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteProjects {
    pub projects_names: Vec<String>,
}

/// `set_members` and `add_members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMembers {
    pub members: Vec<MemberSetting>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberSetting {
    /// A name or an email address.
    pub username: String,
    pub project_role: ProjectRole,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveMembers {
    pub usernames: Vec<String>,
}
