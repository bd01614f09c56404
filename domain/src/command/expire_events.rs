//! The audit log keeps what is young enough. How young that is, the leader says.

use super::{Outcome, Reply};
use crate::rejection::Rejection;
use crate::state::Draft;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Events recorded before this moment go. Whoever proposes it chooses the moment so that not many
/// go at once: applying it takes time in proportion to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpireEvents {
    pub before: Timestamp,
}

impl ExpireEvents {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        if self.before > draft.at {
            return Err(Rejection::error(
                "Events of the future cannot expire: a clock is ahead of the log",
            ));
        }
        draft.expire_events(self.before);
        Ok(Reply::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Lab;

    #[test]
    fn what_has_not_happened_yet_cannot_expire() {
        let mut lab = Lab::new();
        let now = lab.now;
        assert!(lab.system(ExpireEvents { before: now }).is_ok());
        let later = now + jiff::SignedDuration::from_secs(1);
        assert!(lab.system(ExpireEvents { before: later }).is_err());
    }
}
