//! People and their tokens. Only the hash of a token is searchable; the token itself is sealed.

use super::Sealed;
use crate::ids::UserId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GlobalRole {
    Admin,
    User,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub created_at: Timestamp,
    pub global_role: GlobalRole,
    pub email: Option<String>,
    pub active: bool,
    /// Lower-case hex of sha256 of the token.
    pub token_hash: String,
    pub token: Sealed,
    pub ssh_public_key: Option<String>,
    pub ssh_private_key: Option<Sealed>,
}
