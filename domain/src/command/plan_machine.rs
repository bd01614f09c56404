//! The records that come before any call: of the machine an instance is to be, and of the fabric of its cluster.

use super::{Outcome, Reply, events};
use crate::ids::{FleetId, InstanceId, IntentId};
use crate::model::{
    Fleet, FleetStatus, Instance, InstanceOffer, InstanceStatus, Intent, Purpose, Site,
};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

/// Characters of the fleet's name that go into the names of its machines: there is room for no more.
const NAME_MOST: usize = 24;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanMachine {
    pub instance: InstanceId,
    pub offer: InstanceOffer,
    /// For the first machine of a cluster: how many its fabric must hold; none where there is no fabric.
    pub fabric_nodes: Option<u32>,
}

impl PlanMachine {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
        let found = draft.fleet(instance.fleet_id).cloned();
        let fleet = found.ok_or_else(|| Rejection::stale("The fleet is gone"))?;
        let mut changed = instance.as_ref().clone();
        let made = changed.made.as_mut();
        let made = made.ok_or_else(|| Rejection::stale("It is a host of one's own"))?;
        let waits = instance.status == InstanceStatus::Pending && made.intent.is_none();
        if !waits || fleet.status != FleetStatus::Active {
            return Err(Rejection::stale(format!(
                "Instance {} does not wait for a machine",
                instance.name
            )));
        }
        let attempt = made.attempt.to_be_bytes();
        let parts = [&instance.id.0.as_bytes()[..], &attempt];
        let fabric = match fleet.is_cluster() {
            true => self.settle(draft, &fleet, &parts)?,
            false => None,
        };
        let id = IntentId::derived("machine", &parts);
        made.intent = Some(id);
        made.offer = Some(self.offer.clone());
        changed.instance_type = Some(self.offer.instance.clone());
        let purpose = Purpose::Machine {
            instance: instance.id,
            fabric,
        };
        let key = key(&fleet, &instance.num.to_string(), id);
        self.record(draft, &fleet, id, key, purpose);
        draft.put_instance(changed);
        Ok(Reply::None)
    }

    /// The place of the cluster: chosen by its first machine, binding for all others.
    fn settle(
        &self,
        draft: &mut Draft,
        fleet: &Fleet,
        parts: &[&[u8]],
    ) -> Result<Option<IntentId>, Rejection> {
        if let Some(site) = &fleet.site {
            return match is_at(&self.offer, site) {
                true => Ok(site.fabric),
                false => Err(Rejection::stale(format!(
                    "Fleet {} is in {}, with {}",
                    fleet.name, site.region, site.product
                ))),
            };
        }
        let fabric = self.fabric_nodes.map(|nodes| {
            let id = IntentId::derived("fabric", parts);
            let key = key(fleet, "ib", id);
            self.record(draft, fleet, id, key, Purpose::Fabric { nodes });
            id
        });
        let mut changed = fleet.clone();
        changed.site = Some(Site {
            backend: self.offer.backend,
            region: self.offer.region.clone(),
            product: self.offer.instance.name.clone(),
            fabric,
        });
        draft.put_fleet(changed);
        Ok(fabric)
    }

    fn record(
        &self,
        draft: &mut Draft,
        fleet: &Fleet,
        id: IntentId,
        key: String,
        purpose: Purpose,
    ) {
        let (project, backend) = (fleet.project_id, self.offer.backend);
        let planned = Intent::new(id, project, backend, key, purpose, draft.at);
        draft.put_intent(Intent {
            fleet_id: Some(fleet.id),
            offer: Some(self.offer.clone()),
            ..planned
        });
    }
}

/// Whether the offer is of the cluster's place.
pub(crate) fn is_at(offer: &InstanceOffer, site: &Site) -> bool {
    offer.backend == site.backend
        && offer.region == site.region
        && offer.instance.name == site.product
}

/// A name that people recognise in their account, and that nothing else has: the record's id is in it.
fn key(fleet: &Fleet, what: &str, id: IntentId) -> String {
    let name: String = fleet.name.chars().take(NAME_MOST).collect();
    let id = id.0.simple().to_string();
    let unique = id.get(..8).unwrap_or_default();
    format!("{}-{what}-{unique}", name.trim_end_matches('-'))
}

/// The last machine of a cluster is gone, so the next one may be elsewhere. Its fabric goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaveSite {
    pub fleet: FleetId,
}

impl LeaveSite {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.fleet(self.fleet).cloned();
        let fleet = found.ok_or_else(|| Rejection::stale("The fleet is gone"))?;
        if fleet.site.is_none() || draft.instances_of(fleet.id).any(|one| holds_site(one)) {
            return Err(Rejection::stale("The fleet is where it is"));
        }
        let mut changed = fleet.as_ref().clone();
        changed.site = None;
        let target = events::fleet(draft, &changed);
        draft.emit(
            "Fleet has no machines left: its cluster is given up",
            vec![target],
            &[changed.id.bytes()],
        );
        draft.put_fleet(changed);
        Ok(Reply::None)
    }
}

/// Whether the cluster stays where it is because of this instance.
pub(crate) fn holds_site(instance: &Instance) -> bool {
    let planned = instance
        .made
        .as_ref()
        .is_some_and(|made| made.intent.is_some());
    planned && instance.status != InstanceStatus::Terminating
}
