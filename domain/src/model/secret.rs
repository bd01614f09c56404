//! Secrets of a project.

use super::Sealed;
use crate::ids::{ProjectId, SecretId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub id: SecretId,
    pub project_id: ProjectId,
    pub name: String,
    pub value: Sealed,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
