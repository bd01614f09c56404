//! What a server says about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /healthcheck`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerInfo {
    pub server_version: Option<String>,
}

/// A single sign-on provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OAuthProviderInfo {
    pub name: String,
    pub enabled: bool,
}
