//! Flags about contact with a host. A host of one's own is never dropped for silence.

use super::{Outcome, Reply, events};
use crate::ids::{InstanceId, SubmissionId};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetReachability {
    pub instance: InstanceId,
    pub unreachable: bool,
    pub error: Option<String>,
}

impl SetReachability {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
        if instance.unreachable == self.unreachable {
            return Err(Rejection::stale("The flag is set so already"));
        }
        let mut changed = instance.as_ref().clone();
        changed.unreachable = self.unreachable;
        changed.last_error = if self.unreachable {
            self.error.clone()
        } else {
            None
        };
        let message = match (&self.error, self.unreachable) {
            (Some(error), true) => format!("Instance became unreachable: {error}"),
            (None, true) => "Instance became unreachable".to_owned(),
            (_, false) => "Instance became reachable".to_owned(),
        };
        let target = events::instance(draft, &changed);
        draft.emit(message, vec![target], &[changed.fleet_id.bytes()]);
        draft.put_instance(changed);
        Ok(Reply::None)
    }
}

/// The agent reported a set without these jobs: their processes are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfirmGone {
    pub instance: InstanceId,
    pub submissions: BTreeSet<SubmissionId>,
}

impl ConfirmGone {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
        let mut changed = instance.as_ref().clone();
        changed
            .lingering
            .retain(|submission| !self.submissions.contains(submission));
        if changed.lingering == instance.lingering {
            return Err(Rejection::stale("Nothing of this was waited for"));
        }
        draft.put_instance(changed);
        Ok(Reply::None)
    }
}
