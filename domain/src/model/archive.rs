//! Uploaded archives, known by content. The bytes are stored outside the log; they go when no
//! record names them any more.

use crate::ids::{ArchiveId, UserId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub id: ArchiveId,
    pub user_id: UserId,
    /// Lower-case hex.
    pub sha256: String,
    pub size: u64,
    /// When it was last uploaded. Rows of the first data format call it `created_at`.
    #[serde(alias = "created_at")]
    pub used_at: Timestamp,
}

impl Archive {
    /// Kept at least so long after its last upload, whether or not a run names it.
    pub const KEPT: SignedDuration = SignedDuration::from_hours(24);
    /// Whoever asks for it by content is told of it only so long. The other half of its time is
    /// theirs: what they were told of does not vanish before they have submitted the run.
    pub const SHOWN: SignedDuration = SignedDuration::from_hours(12);

    pub fn is_shown(&self, now: Timestamp) -> bool {
        now.duration_since(self.used_at) < Self::SHOWN
    }

    /// From then on it may go, if no unfinished run names it.
    pub fn due_at(&self) -> Timestamp {
        self.used_at
            .saturating_add(Self::KEPT)
            .unwrap_or(Timestamp::MAX)
    }
}
