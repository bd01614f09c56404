//! Fleets. One of one's own hosts is what was written. One in a cloud follows its `nodes`: never fewer than the least,
//! never idle ones above the most, and in between what runs need. A fleet on its way out keeps nothing.

use super::growth::fleet_offers;
use super::pass::{Pass, after};
use crate::command::{
    DeleteInstances, GiveUpCluster, GrowFleet, LeaveSite, TerminateInstance, holds_site,
};
use crate::model::{Fleet, FleetStatus, Instance, InstanceReason, InstanceStatus};
use crate::spec::FleetNodes;
use std::sync::Arc;

pub(super) fn decide(pass: &mut Pass) {
    let all: Vec<Arc<Fleet>> = pass.draft.fleets().cloned().collect();
    for fleet in all {
        match (fleet.status, fleet.nodes()) {
            (FleetStatus::Terminating, _) => leave(pass, &fleet),
            (FleetStatus::Active, Some(nodes)) => follow(pass, &fleet, nodes),
            _ => {}
        }
        give_up_site(pass, &fleet);
    }
}

/// Healing: hosts that nobody told to go.
fn leave(pass: &mut Pass, fleet: &Fleet) {
    let instances = pass.draft.instances_of(fleet.id);
    let forgotten = instances.filter(|instance| instance.counts());
    let instance_nums: Vec<u32> = forgotten.map(|instance| instance.num).collect();
    if !instance_nums.is_empty() {
        pass.propose(DeleteInstances {
            project: fleet.project_id,
            fleet: fleet.name.clone(),
            instance_nums,
        });
    }
}

fn follow(pass: &mut Pass, fleet: &Fleet, nodes: FleetNodes) {
    let members: Vec<Arc<Instance>> = pass
        .draft
        .instances_of(fleet.id)
        .filter(|instance| instance.counts())
        .cloned()
        .collect();
    if fleet.status_message.is_some() {
        return scatter(pass, fleet, &members);
    }
    if let Some(limit) = whole_within(fleet, nodes) {
        gather(pass, fleet, &members, limit);
    }
    let mut left = members.len() as u32;
    for instance in members.iter().rev().filter(|one| one.jobs.is_empty()) {
        if let Some((reason, why)) = unwanted(pass, fleet, nodes, instance, left)
            && pass.propose(TerminateInstance {
                instance: instance.id,
                reason,
                message: why,
            })
        {
            left -= 1;
        }
    }
    if left < nodes.min {
        pass.propose(GrowFleet {
            fleet: fleet.id,
            count: nodes.min - left,
        });
    }
}

/// Seconds within which a cluster of several must be whole; `retry` says so. Without it a fleet tries for ever.
fn whole_within(fleet: &Fleet, nodes: FleetNodes) -> Option<i64> {
    let several = fleet.is_cluster() && nodes.target.max(nodes.min) > 1;
    let retry = fleet.spec.merged_profile().retry.filter(|_| several)?;
    i64::try_from(retry.resolve()?.duration.as_secs()).ok()
}

/// A cluster is whole or not at all: what was had is worth nothing to anybody without the rest.
fn gather(pass: &mut Pass, fleet: &Fleet, members: &[Arc<Instance>], limit: i64) {
    let missing = members.iter().filter(|one| one.facts.is_none());
    let Some(first) = missing.min_by_key(|one| one.created_at) else {
        return;
    };
    if pass.due(after(first.created_at, limit)) {
        let why = first
            .last_error
            .as_deref()
            .unwrap_or("a machine is not up yet");
        let (name, minutes) = (&first.name, limit / 60);
        pass.propose(GiveUpCluster {
            fleet: fleet.id,
            why: format!(
                "Not all machines could be had within {minutes} minutes, so those that were had are released: {name}: {why}. Apply the fleet again to try anew"
            ),
        });
    }
}

fn scatter(pass: &mut Pass, fleet: &Fleet, members: &[Arc<Instance>]) {
    for instance in members.iter().filter(|one| one.jobs.is_empty()) {
        pass.propose(TerminateInstance {
            instance: instance.id,
            reason: InstanceReason::NoOffers,
            message: fleet.status_message.clone(),
        });
    }
}

/// Why a machine without jobs is to go, if it is.
fn unwanted(
    pass: &mut Pass,
    fleet: &Fleet,
    nodes: FleetNodes,
    instance: &Instance,
    left: u32,
) -> Option<(InstanceReason, Option<String>)> {
    let made = instance.made.as_ref()?;
    if !matches_spec(fleet, instance) {
        return Some((InstanceReason::FleetSpecMismatch, None));
    }
    if nodes.max.is_some_and(|most| left > most) {
        return Some((InstanceReason::MaxInstancesLimit, None));
    }
    if left <= nodes.min {
        return None;
    }
    match instance.status {
        // Its cluster was never whole: nothing of it is kept.
        InstanceStatus::Idle if made.for_run && !made.used => {
            Some((InstanceReason::JobFinished, None))
        }
        InstanceStatus::Idle => {
            let limit = i64::try_from(made.idle_seconds?).ok()?;
            let due = pass.due(after(instance.idle_since?, limit));
            due.then_some((InstanceReason::IdleTimeout, None))
        }
        // The job it was made for is over before it began.
        InstanceStatus::Pending | InstanceStatus::Provisioning if made.for_run => {
            let why = instance.last_error.clone();
            let reason = match why {
                Some(_) => InstanceReason::NoOffers,
                None => InstanceReason::JobFinished,
            };
            Some((reason, why))
        }
        _ => None,
    }
}

/// What was chosen under an older specification of the fleet may not fit the present one.
fn matches_spec(fleet: &Fleet, instance: &Instance) -> bool {
    let chosen = instance.made.as_ref().and_then(|made| made.offer.clone());
    let Some(offer) = chosen.filter(|_| fleet.version > 0) else {
        return true;
    };
    !fleet_offers(&fleet.spec, &[offer]).is_empty()
}

/// A cluster whose last machine is told to go may begin elsewhere; its fabric goes after the machines.
fn give_up_site(pass: &mut Pass, fleet: &Fleet) {
    let held = |pass: &Pass| pass.draft.instances_of(fleet.id).any(|one| holds_site(one));
    if fleet.site.is_some() && !held(pass) {
        pass.propose(LeaveSite { fleet: fleet.id });
    }
}
