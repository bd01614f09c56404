//! Deleting fleets and single instances. Hosts are released by the leader; the record goes last.

use super::{Outcome, Reply, events};
use crate::access;
use crate::ids::ProjectId;
use crate::model::{
    Fleet, FleetStatus, Instance, InstanceReason, InstanceStatus, Lawful, ProjectRole,
};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Unknown names are ignored, as upstream does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteFleets {
    pub project: ProjectId,
    pub names: Vec<String>,
}

impl DeleteFleets {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let fleets: Vec<Arc<Fleet>> = self
            .names
            .iter()
            .filter_map(|name| draft.fleet_by_name(self.project, name))
            .cloned()
            .collect();
        let in_use: Vec<&str> = fleets
            .iter()
            .filter(|fleet| is_in_use(draft, fleet))
            .map(|fleet| fleet.name.as_str())
            .collect();
        if !in_use.is_empty() {
            return Err(Rejection::error(format!(
                "Failed to delete fleets: {}. Fleets are in use",
                in_use.join(", ")
            ))
            .hint("Stop the runs that use them first: `dstack stop`."));
        }
        for fleet in fleets {
            delete(draft, &fleet);
        }
        Ok(Reply::None)
    }
}

fn delete(draft: &mut Draft, fleet: &Arc<Fleet>) {
    if !fleet.status.may_become(FleetStatus::Terminating) {
        return;
    }
    let mut changed = fleet.as_ref().clone();
    changed.status = FleetStatus::Terminating;
    let target = events::fleet(draft, &changed);
    draft.emit(
        "Fleet status changed ACTIVE -> TERMINATING",
        vec![target],
        &[fleet.id.bytes()],
    );
    draft.put_fleet(changed);
    let instances: Vec<Arc<Instance>> = draft.instances_of(fleet.id).cloned().collect();
    for instance in &instances {
        if instance.status.may_become(InstanceStatus::Terminating) {
            begin_release(draft, instance, InstanceReason::TerminatedByUser);
        }
    }
    if let Some(fleet) = draft.fleet(fleet.id).cloned() {
        end_if_empty(draft, &fleet);
    }
}

/// A fleet on its way out goes with its last instance, and the last thing that was made for it.
pub(super) fn end_if_empty(draft: &mut Draft, fleet: &Fleet) {
    let empty = draft.instances_of(fleet.id).next().is_none()
        && draft.intents_of(fleet.id).next().is_none();
    if fleet.status != FleetStatus::Terminating || !empty {
        return;
    }
    let target = events::fleet(draft, fleet);
    draft.emit("Fleet deleted", vec![target], &[fleet.id.bytes()]);
    draft.remove_fleet(fleet.id);
}

fn is_in_use(draft: &Draft, fleet: &Fleet) -> bool {
    draft
        .instances_of(fleet.id)
        .any(|instance| !instance.jobs.is_empty())
        || draft
            .unfinished_runs()
            .any(|run| run.fleet_id == Some(fleet.id))
}

/// The record of the intention to release a host.
pub(super) fn begin_release(draft: &mut Draft, instance: &Arc<Instance>, reason: InstanceReason) {
    let mut changed = instance.as_ref().clone();
    changed.status = InstanceStatus::Terminating;
    changed.termination_reason = Some(reason);
    changed.generation += 1;
    changed.attempts = 0;
    changed.retry_at = None;
    let message = format!(
        "Instance status changed {} -> TERMINATING",
        instance.status.shout()
    );
    let target = events::instance(draft, &changed);
    draft.emit(message, vec![target], &[changed.fleet_id.bytes()]);
    draft.put_instance(changed);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteInstances {
    pub project: ProjectId,
    pub fleet: String,
    pub instance_nums: Vec<u32>,
}

impl DeleteInstances {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let found = draft.fleet_by_name(self.project, &self.fleet).cloned();
        let fleet = found.ok_or_else(|| Rejection::not_exists("Fleet not found"))?;
        let chosen: Vec<Arc<Instance>> = draft
            .instances_of(fleet.id)
            .filter(|i| self.instance_nums.contains(&i.num))
            .cloned()
            .collect();
        if let Some(busy) = chosen.iter().find(|instance| !instance.jobs.is_empty()) {
            return Err(Rejection::error(format!(
                "Failed to delete instance {}. Instance is in use",
                busy.num
            ))
            .hint("Stop the run first: `dstack stop`."));
        }
        for instance in chosen {
            if instance.status.may_become(InstanceStatus::Terminating) {
                begin_release(draft, &instance, InstanceReason::TerminatedByUser);
            }
        }
        Ok(Reply::None)
    }
}
