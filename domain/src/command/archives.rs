//! Uploaded archives: one record per user and content.

use super::{Outcome, Reply};
use crate::access;
use crate::ids::ArchiveId;
use crate::model::Archive;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

/// Proposed after a majority stores the bytes. The same content again answers the first id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterArchive {
    pub id: ArchiveId,
    pub sha256: String,
    pub size: u64,
}

impl RegisterArchive {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let user = access::require_person(draft, draft.actor)?;
        if let Some(known) = draft.archive_by_hash(user.id, &self.sha256) {
            return Ok(Reply::Archive(known.id));
        }
        let archive = Archive {
            id: self.id,
            user_id: user.id,
            sha256: self.sha256.clone(),
            size: self.size,
            created_at: draft.at,
        };
        draft.put_archive(archive);
        Ok(Reply::Archive(self.id))
    }
}
