//! New members of a fleet: hosts that were listed, and machines that a cloud is to make.

use super::apply_fleet::HostOrder;
use super::events;
use crate::ids::InstanceId;
use crate::model::{Fleet, Health, Instance, InstanceOffer, InstanceStatus, Made};
use crate::spec::Blocks;
use crate::state::Draft;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A host one owns: the record is the intention to have it connected.
pub(super) fn add_host(draft: &mut Draft, fleet: &mut Fleet, order: &HostOrder) {
    let mut instance = blank(fleet, draft.at);
    instance.remote = Some(order.remote.clone());
    instance.requested_blocks = order.blocks;
    add(
        draft,
        fleet,
        instance,
        "Instance created on fleet submission",
    );
}

/// A machine that the fleet itself wants.
pub(super) fn add_machine(draft: &mut Draft, fleet: &mut Fleet, message: &str) -> InstanceId {
    const IDLE_SECONDS: u64 = 3 * 24 * 3600;
    let mut instance = blank(fleet, draft.at);
    instance.requested_blocks = fleet.spec.configuration.blocks;
    let idle = fleet.spec.merged_profile().idle_duration;
    let idle_seconds = idle.map_or(Some(IDLE_SECONDS), |idle| idle.limit());
    instance.made = Some(made(None, idle_seconds, false));
    add(draft, fleet, instance, message)
}

/// A machine that a job waits for. It is not divided.
pub(super) fn add_machine_for_job(
    draft: &mut Draft,
    fleet: &mut Fleet,
    offer: &InstanceOffer,
    idle_seconds: Option<u64>,
) -> InstanceId {
    let mut instance = blank(fleet, draft.at);
    instance.instance_type = Some(offer.instance.clone());
    instance.total_blocks = Some(1);
    instance.made = Some(made(Some(offer.clone()), idle_seconds, true));
    add(draft, fleet, instance, "Instance created for a job")
}

fn made(offer: Option<InstanceOffer>, idle_seconds: Option<u64>, for_run: bool) -> Made {
    Made {
        offer,
        intent: None,
        attempt: 0,
        idle_seconds,
        for_run,
        used: false,
        seen_at: None,
    }
}

fn add(draft: &mut Draft, fleet: &mut Fleet, instance: Instance, message: &str) -> InstanceId {
    fleet.next_instance_num += 1;
    let targets = vec![
        events::instance(draft, &instance),
        events::fleet(draft, fleet),
    ];
    let message = format!("{message}. Status: PENDING");
    draft.emit(message, targets, &[fleet.id.bytes()]);
    let id = instance.id;
    draft.put_instance(instance);
    id
}

fn blank(fleet: &Fleet, at: Timestamp) -> Instance {
    let num = fleet.next_instance_num;
    Instance {
        id: InstanceId::derived("instance", &[&fleet.id.bytes(), &num.to_be_bytes()]),
        project_id: fleet.project_id,
        fleet_id: fleet.id,
        num,
        name: format!("{}-{num}", fleet.name),
        created_at: at,
        status: InstanceStatus::Pending,
        remote: None,
        made: None,
        requested_blocks: Blocks::Count(1),
        generation: 0,
        attempts: 0,
        retry_at: None,
        last_error: None,
        host_key: None,
        facts: None,
        instance_type: None,
        agent_version: None,
        runtime: None,
        boot_id: None,
        total_blocks: None,
        unreachable: false,
        health: Health::Healthy,
        jobs: BTreeSet::new(),
        busy_blocks: 0,
        lingering: BTreeSet::new(),
        idle_since: None,
        termination_reason: None,
        termination_message: None,
        finished_at: None,
    }
}
