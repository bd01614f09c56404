//! Fleets. A fleet of one's own hosts needs no consolidation: its hosts are what was written.
//! Left to do is healing: a fleet on its way out must not keep hosts that nobody told to go.

use super::pass::Pass;
use crate::command::DeleteInstances;
use crate::model::{FleetStatus, InstanceStatus};

pub(super) fn decide(pass: &mut Pass) {
    let leaving: Vec<_> = pass
        .draft
        .fleets()
        .filter(|f| f.status == FleetStatus::Terminating)
        .cloned()
        .collect();
    for fleet in leaving {
        let forgotten = |status| {
            !matches!(
                status,
                InstanceStatus::Terminating | InstanceStatus::Terminated
            )
        };
        let instances = pass.draft.instances_of(fleet.id);
        let instance_nums: Vec<u32> = instances
            .filter(|i| forgotten(i.status))
            .map(|i| i.num)
            .collect();
        if !instance_nums.is_empty() {
            pass.propose(DeleteInstances {
                project: fleet.project_id,
                fleet: fleet.name.clone(),
                instance_nums,
            });
        }
    }
}
