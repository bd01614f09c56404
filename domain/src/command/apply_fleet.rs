//! Creating a fleet, or changing its hosts in place. The record of a new host is the intention to
//! connect it; the leader acts on that record.

use super::{Outcome, Reply, events, new_instance};
use crate::access;
use crate::ids::{FleetId, ProjectId};
use crate::model::{
    Fleet, FleetStatus, Instance, InstanceReason, InstanceStatus, Lawful, ProjectRole, RemoteHost,
};
use crate::rejection::Rejection;
use crate::spec::diff::{Update, fleet_update};
use crate::spec::{Blocks, FleetSpec, names};
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One host with its keys sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostOrder {
    pub remote: RemoteHost,
    pub blocks: Blocks,
}

/// Which version of a fleet a plan was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetVersion {
    pub fleet: FleetId,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplyFleet {
    pub project: ProjectId,
    /// The id of the fleet if it is new.
    pub fleet: FleetId,
    /// Effective, without private keys.
    pub spec: FleetSpec,
    pub hosts: Vec<HostOrder>,
    pub current: Option<FleetVersion>,
    pub force: bool,
    /// For a name, when the specification has none.
    pub name_seed: u64,
}

impl ApplyFleet {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::User)?;
        let named = self.spec.configuration.name.as_deref();
        let existing = named
            .and_then(|name| draft.fleet_by_name(self.project, name))
            .cloned();
        self.check_unique_hosts()?;
        match existing {
            None => self.create(draft),
            Some(fleet) if fleet.status != FleetStatus::Active => Err(Rejection::error(format!(
                "Fleet {} is being deleted",
                fleet.name
            ))
            .hint("Wait until it is gone, then apply again.")),
            Some(fleet) => self.update(draft, &fleet),
        }
    }

    fn check_unique_hosts(&self) -> Result<(), Rejection> {
        let mut seen = BTreeSet::new();
        for order in &self.hosts {
            if !seen.insert(order.remote.address()) {
                return Err(Rejection::error(format!(
                    "Host {} is listed twice",
                    order.remote.address()
                )));
            }
        }
        Ok(())
    }

    fn create(&self, draft: &mut Draft) -> Outcome {
        if draft.fleet(self.fleet).is_some() {
            return Err(Rejection::exists("A fleet with this id exists"));
        }
        let user = access::require_person(draft, draft.actor)?;
        let name = match &self.spec.configuration.name {
            Some(name) => name.clone(),
            None => names::generate_name(self.name_seed, |n| {
                draft.fleet_by_name(self.project, n).is_some()
            }),
        };
        let mut spec = self.spec.clone();
        spec.configuration.name = Some(name.clone());
        let mut fleet = Fleet {
            id: self.fleet,
            project_id: self.project,
            user_id: user.id,
            name,
            spec: Arc::new(spec),
            created_at: draft.at,
            status: FleetStatus::Active,
            status_message: None,
            version: 0,
            next_instance_num: 0,
            site: None,
            scarce: BTreeMap::new(),
        };
        let target = events::fleet(draft, &fleet);
        draft.emit(
            "Fleet created. Status: ACTIVE",
            vec![target],
            &[fleet.id.bytes()],
        );
        self.add_hosts(draft, &mut fleet, &self.hosts)?;
        for _ in 0..fleet.nodes().map_or(0, |nodes| nodes.target) {
            new_instance::add_machine(draft, &mut fleet, "Instance created on fleet submission");
        }
        draft.put_fleet(fleet);
        Ok(Reply::Fleet(self.fleet))
    }

    fn update(&self, draft: &mut Draft, fleet: &Arc<Fleet>) -> Outcome {
        if !self.force
            && !self
                .current
                .is_some_and(|c| c.fleet == fleet.id && c.version == fleet.version)
        {
            return Err(Rejection::error(
                "Failed to apply plan. Resource has been changed. Try again or use force apply.",
            ));
        }
        self.check_updatable(fleet)?;
        let mut updated = fleet.as_ref().clone();
        updated.version += 1;
        updated.spec = Arc::new(self.spec.clone());
        // Whatever could not be had for the old specification is asked for again.
        updated.scarce.clear();
        updated.status_message = None;
        let wanted: BTreeMap<String, &HostOrder> = self
            .hosts
            .iter()
            .map(|order| (order.remote.address(), order))
            .collect();
        let present: Vec<Arc<Instance>> = draft.instances_of(fleet.id).cloned().collect();
        let mut kept = BTreeSet::new();
        for instance in present.iter().filter(|present| present.is_own_host()) {
            let address = instance.remote.as_ref().map(RemoteHost::address);
            let address = address.unwrap_or_default();
            match wanted.get(&address) {
                Some(order) if instance.status != InstanceStatus::Terminating => {
                    kept.insert(address);
                    refresh(draft, instance, order);
                }
                Some(_) => {
                    return Err(Rejection::error(format!(
                        "Host {} is still being released",
                        instance.hostname()
                    ))
                    .hint("Wait until it is gone, then apply again."));
                }
                None => remove_host(draft, instance)?,
            }
        }
        let added: Vec<HostOrder> = self
            .hosts
            .iter()
            .filter(|order| !kept.contains(&order.remote.address()))
            .cloned()
            .collect();
        self.add_hosts(draft, &mut updated, &added)?;
        let target = events::fleet(draft, &updated);
        draft.emit("Fleet updated", vec![target], &[updated.id.bytes()]);
        draft.put_fleet(updated);
        Ok(Reply::Fleet(fleet.id))
    }

    /// Hosts may come and go; anything else needs a new fleet.
    fn check_updatable(&self, fleet: &Fleet) -> Result<(), Rejection> {
        let Update::Impossible(changes) = fleet_update(&fleet.spec, &self.spec) else {
            return Ok(());
        };
        let fields: Vec<String> = changes.into_iter().map(|change| change.path).collect();
        Err(Rejection::error(format!(
            "Failed to update fleet {}. Fields that cannot be updated in place: {}",
            fleet.name,
            fields.join(", ")
        ))
        .hint("Delete the fleet and create it again."))
    }

    fn add_hosts(
        &self,
        draft: &mut Draft,
        fleet: &mut Fleet,
        hosts: &[HostOrder],
    ) -> Result<(), Rejection> {
        let mut taken: Vec<String> = Vec::new();
        for order in hosts {
            if draft.instance_at(&order.remote.address()).is_some() {
                taken.push(order.remote.hostname.clone());
            }
        }
        if !taken.is_empty() {
            return Err(Rejection::error(format!(
                "Instances [{}] are already assigned to a fleet",
                taken.join(", ")
            ))
            .hint(
                "A host can be in one fleet only. Find it with `dstack fleet -v` in every project.",
            ));
        }
        for order in hosts {
            new_instance::add_host(draft, fleet, order);
        }
        Ok(())
    }
}

/// A host that stays: new credentials count, so that a wrong key can be corrected by applying again.
fn refresh(draft: &mut Draft, instance: &Arc<Instance>, order: &HostOrder) {
    let open = |host: &RemoteHost| {
        let mut host = host.clone();
        host.identity = None;
        if let Some(proxy) = &mut host.proxy_jump {
            proxy.identity = None;
        }
        host
    };
    let waiting = matches!(
        instance.status,
        InstanceStatus::Pending | InstanceStatus::Provisioning
    );
    if !waiting && instance.remote.as_ref().map(open) == Some(open(&order.remote)) {
        return;
    }
    let mut changed = instance.as_ref().clone();
    changed.remote = Some(order.remote.clone());
    if waiting {
        changed.requested_blocks = order.blocks;
    }
    changed.generation += 1;
    changed.attempts = 0;
    changed.retry_at = None;
    draft.put_instance(changed);
}

fn remove_host(draft: &mut Draft, instance: &Arc<Instance>) -> Result<(), Rejection> {
    if !instance.jobs.is_empty() {
        return Err(Rejection::error(format!(
            "Cannot remove host {}: a job runs on it",
            instance.hostname()
        ))
        .hint("Stop the run first: `dstack stop`."));
    }
    if instance.status.may_become(InstanceStatus::Terminating) {
        super::delete_fleets::begin_release(draft, instance, InstanceReason::FleetSpecMismatch);
    }
    Ok(())
}
