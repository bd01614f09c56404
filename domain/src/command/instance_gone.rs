//! A host was released: its record goes, and with the last one its fleet.

use super::{Outcome, Reply, events};
use crate::ids::InstanceId;
use crate::model::{InstanceStatus, Lawful};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceGone {
    pub instance: InstanceId,
    pub generation: u64,
    /// What is known to be left behind, when the host could not be reached.
    pub message: Option<String>,
}

impl InstanceGone {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone already"))?;
        if !instance.status.may_become(InstanceStatus::Terminated)
            || instance.generation != self.generation
        {
            return Err(Rejection::stale(format!(
                "Instance {} is not being released",
                instance.name
            )));
        }
        if draft
            .intents_of(instance.fleet_id)
            .any(|intent| intent.instance() == Some(instance.id))
        {
            return Err(Rejection::stale(format!(
                "The machine of instance {} may still be there",
                instance.name
            )));
        }
        let mut message = format!(
            "Instance status changed {} -> TERMINATED",
            instance.status.shout()
        );
        if let Some(note) = &self.message {
            message.push_str(". ");
            message.push_str(note);
        }
        let target = events::instance(draft, &instance);
        draft.emit(message, vec![target], &[instance.fleet_id.bytes()]);
        draft.remove_instance(instance.id);
        let Some(fleet) = draft.fleet(instance.fleet_id).cloned() else {
            return Ok(Reply::None);
        };
        super::delete_fleets::end_if_empty(draft, &fleet);
        Ok(Reply::None)
    }
}
