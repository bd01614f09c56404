//! Sources of machines a project may use, as upstream's clients configure them.

use super::Sealed;
use crate::ids::ProjectId;
use crate::spec::BackendType;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    pub project_id: ProjectId,
    pub kind: BackendType,
    /// In upstream's shape, without `creds`.
    pub config: serde_json::Value,
    /// Upstream's `creds`, as JSON.
    pub creds: Sealed,
    /// Also tells one configuration from the next.
    pub updated_at: Timestamp,
}
