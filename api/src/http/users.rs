//! Users and their credentials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Moment;
pub use dstack_domain::model::GlobalRole;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    pub id: Uuid,
    pub username: String,
    pub created_at: Option<Moment>,
    pub global_role: GlobalRole,
    pub email: Option<String>,
    pub active: bool,
    pub permissions: UserPermissions,
    pub ssh_public_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPermissions {
    pub can_create_projects: bool,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserWithCreds {
    #[serde(flatten)]
    pub user: User,
    pub creds: UserTokenCreds,
    pub ssh_private_key: Option<String>,
}

/// The token and the key must not reach a log through `{:?}`.
impl std::fmt::Debug for UserWithCreds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserWithCreds")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserTokenCreds {
    pub token: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsersInfoList {
    pub total_count: Option<u64>,
    pub users: Vec<User>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
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

impl Default for ListUsers {
    fn default() -> Self {
        Self {
            return_total_count: false,
            name_pattern: None,
            prev_created_at: None,
            prev_id: None,
            limit: default_limit(),
            ascending: false,
        }
    }
}

/// Rows of users and projects in one page, at most.
pub const MOST_ROWS: u32 = 2000;

pub(crate) fn default_limit() -> u32 {
    MOST_ROWS
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetUser {
    pub username: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    pub username: String,
    pub global_role: GlobalRole,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteUsers {
    pub users: Vec<String>,
}
