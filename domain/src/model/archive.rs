//! Uploaded archives, known by content. The bytes are stored outside the log.

use crate::ids::{ArchiveId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub id: ArchiveId,
    pub user_id: UserId,
    /// Lower-case hex.
    pub sha256: String,
    pub size: u64,
    pub created_at: Timestamp,
}
