//! Repositories a project has initialised. Credentials are per user and sealed.

use super::Sealed;
use crate::ids::{ProjectId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repo {
    pub project_id: ProjectId,
    pub repo_id: String,
    /// Upstream's tagged `repo_info`, kept as it came.
    pub info: serde_json::Value,
    pub creds: BTreeMap<UserId, RepoCreds>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoCreds {
    /// The JSON of upstream's `RemoteRepoCreds`, sealed whole.
    pub creds: Sealed,
}
