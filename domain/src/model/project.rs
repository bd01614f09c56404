//! Projects: the boundary of names and of trust.

use super::Sealed;
use crate::ids::{ProjectId, UserId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ordered by power.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ProjectRole {
    User,
    Manager,
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub user: UserId,
    pub role: ProjectRole,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub owner: UserId,
    pub created_at: Timestamp,
    pub is_public: bool,
    /// In the order they joined.
    pub members: Vec<Member>,
    /// The key pair by which the cluster reaches this project's machines.
    pub ssh_public_key: String,
    pub ssh_private_key: Sealed,
}

impl Project {
    pub fn role_of(&self, user: UserId) -> Option<ProjectRole> {
        if self.owner == user {
            return Some(ProjectRole::Admin);
        }
        self.members.iter().find(|m| m.user == user).map(|m| m.role)
    }
}
