//! Which machines a cloud is to make: for a fleet that wants more of them, and for jobs that find no room. The plan a
//! user sees and the leader's choice are this same code.

use super::cloud_offers::suitable;
use super::placement::{Shortage, Wishes, candidate_fleets, free_spots};
use super::requirements::blocks_needed;
use crate::command::{Assignment, MachineOrder, ProvisionJobs, is_at, place_of};
use crate::facts::CloudOffers;
use crate::ids::{InstanceId, RunId};
use crate::model::{Fleet, InstanceOffer, Scarce, Submission};
use crate::spec::{CreationPolicy, FleetSpec, JobSpec, Requirements, ResourcesSpec};
use crate::state::State;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// How long a machine that was made for a run may idle, in seconds, unless somebody says otherwise.
const IDLE_SECONDS: u64 = 300;

/// Offers that satisfy the fleet, cheapest first; of a cluster that has a place, those of that place.
pub(super) fn fleet_offers_here(fleet: &Fleet, offers: &[InstanceOffer]) -> Vec<InstanceOffer> {
    let mut found = fleet_offers(&fleet.spec, offers);
    if let Some(site) = &fleet.site {
        found.retain(|offer| is_at(offer, site));
    }
    found
}

/// Offers that satisfy the specification of a fleet, cheapest first.
pub fn fleet_offers(spec: &FleetSpec, offers: &[InstanceOffer]) -> Vec<InstanceOffer> {
    if spec.configuration.nodes.is_none() {
        return Vec::new();
    }
    let wanted = Requirements {
        resources: spec
            .configuration
            .resources
            .clone()
            .unwrap_or_else(ResourcesSpec::unconstrained),
        max_price: None,
        spot: None,
        reservation: None,
        multinode: None,
        backend_options: None,
    };
    suitable(offers.to_vec(), &spec.merged_profile(), &wanted)
}

/// Offers that satisfy the fleet and the job alike.
pub fn job_offers(
    fleet: &Fleet,
    wishes: &Wishes,
    job: &JobSpec,
    offers: &[InstanceOffer],
) -> Vec<InstanceOffer> {
    let closed = wishes.profile.creation_policy == Some(CreationPolicy::Reuse)
        || wishes.profile.instances.is_some();
    if closed {
        return Vec::new();
    }
    let found = fleet_offers_here(fleet, offers);
    let mut found = suitable(found, wishes.profile, &job.requirements);
    found.retain(|offer| blocks_needed(&job.requirements, &offer.instance.resources, 1).is_some());
    found
}

/// What a run could have made, over all fleets it may use, cheapest first.
pub fn run_offers(
    state: &State,
    wishes: &Wishes,
    job: &JobSpec,
    offers: &[InstanceOffer],
) -> Vec<InstanceOffer> {
    let multinode = job.requirements.multinode == Some(true);
    let mut found: Vec<InstanceOffer> = Vec::new();
    for fleet in candidate_fleets(state, wishes, multinode) {
        for offer in job_offers(&fleet, wishes, job, offers) {
            if !found.contains(&offer) {
                found.push(offer);
            }
        }
    }
    found.sort_by(super::cloud_offers::better);
    found
}

/// The first that can be tried now; else when the earliest of those that were refused can, and why.
pub(super) fn choose<'a>(
    fleet: &'a Fleet,
    offers: &'a [InstanceOffer],
    now: Timestamp,
) -> Result<&'a InstanceOffer, Option<(String, &'a Scarce)>> {
    let usable = || {
        let all = offers.iter();
        all.filter(|offer| offer.availability.is_available())
    };
    let is_open = |offer: &&InstanceOffer| {
        let scarce = fleet.scarce.get(&place_of(offer));
        scarce.is_none_or(|scarce| scarce.until <= now)
    };
    if let Some(offer) = usable().find(is_open) {
        return Ok(offer);
    }
    let first = usable()
        .filter_map(|offer| Some((place_of(offer), fleet.scarce.get(&place_of(offer))?)))
        .min_by_key(|(_, scarce)| scarce.until);
    Err(first)
}

/// Places for all jobs of one replica: machines of one fleet that are there, and for the others new ones.
pub(super) fn grow(
    state: &State,
    wishes: &Wishes,
    run: RunId,
    jobs: &[(&Submission, &JobSpec)],
    clouds: &CloudOffers,
    now: Timestamp,
) -> Result<ProvisionJobs, Shortage> {
    let multinode = jobs
        .iter()
        .any(|(_, job)| job.requirements.multinode == Some(true));
    let mut full: Option<String> = None;
    let mut refused: Option<String> = None;
    let mut best: Option<(f64, ProvisionJobs)> = None;
    for fleet in candidate_fleets(state, wishes, multinode) {
        match grow_in(state, wishes, &fleet, run, jobs, &clouds.offers, now) {
            Ok((price, growth)) if best.as_ref().is_none_or(|(least, _)| price < *least) => {
                best = Some((price, growth));
            }
            Ok(_) | Err(Obstacle::Unfit) => {}
            Err(Obstacle::Full) => full = Some(format!("Fleet {} is at capacity", fleet.name)),
            Err(Obstacle::Refused(why)) => refused = Some(why),
        }
    }
    let nothing = "Could not reuse any instance for this job, and no backend has an offer for it";
    best.map(|(_, growth)| growth).ok_or_else(|| {
        let why = refused.or(full);
        Shortage::NoCapacity(why.unwrap_or_else(|| clouds.nothing(nothing)))
    })
}

enum Obstacle {
    /// It makes no machine of the kind.
    Unfit,
    Full,
    /// Everything that would do was refused a moment ago.
    Refused(String),
}

fn grow_in(
    state: &State,
    wishes: &Wishes,
    fleet: &Fleet,
    run: RunId,
    jobs: &[(&Submission, &JobSpec)],
    offers: &[InstanceOffer],
    now: Timestamp,
) -> Result<(f64, ProvisionJobs), Obstacle> {
    let mut growth = ProvisionJobs {
        run,
        fleet: fleet.id,
        assignments: Vec::new(),
        orders: Vec::new(),
        idle_seconds: idle_seconds(fleet, wishes),
    };
    if fleet.status_message.is_some() {
        return Err(Obstacle::Unfit);
    }
    let mut taken: BTreeSet<InstanceId> = BTreeSet::new();
    let mut settled: Option<InstanceOffer> = None;
    let mut price = 0.0;
    for (submission, job) in jobs {
        let spot = free_spots(state, wishes, fleet, job).find(|spot| taken.insert(spot.instance));
        if let Some(spot) = spot {
            growth.assignments.push(Assignment {
                submission: submission.id,
                instance: spot.instance,
                blocks: spot.blocks,
            });
            continue;
        }
        let mut able = job_offers(fleet, wishes, job, offers);
        // A cluster is made of one type, in one place.
        if let Some(first) = settled.as_ref().filter(|_| fleet.is_cluster()) {
            able.retain(|offer| offer == first);
        }
        let offer = match choose(fleet, &able, now) {
            Ok(offer) => offer.clone(),
            Err(Some((place, scarce))) => {
                return Err(Obstacle::Refused(scarce.words(&place)));
            }
            Err(None) => return Err(Obstacle::Unfit),
        };
        price += offer.price;
        settled.get_or_insert_with(|| offer.clone());
        order(&mut growth, offer, submission);
    }
    let new: usize = growth
        .orders
        .iter()
        .map(|order| order.submissions.len())
        .sum();
    let most = fleet.nodes().and_then(|nodes| nodes.max);
    let there = state
        .instances_of(fleet.id)
        .filter(|one| one.counts())
        .count();
    if most.is_some_and(|most| there + new > most as usize) {
        return Err(Obstacle::Full);
    }
    Ok((price, growth))
}

fn order(growth: &mut ProvisionJobs, offer: InstanceOffer, submission: &Submission) {
    match growth.orders.iter_mut().find(|order| order.offer == offer) {
        Some(order) => order.submissions.push(submission.id),
        None => growth.orders.push(MachineOrder {
            offer,
            submissions: vec![submission.id],
        }),
    }
}

/// The least of what the run and the fleet allow.
fn idle_seconds(fleet: &Fleet, wishes: &Wishes) -> Option<u64> {
    let fleet = fleet.spec.merged_profile().idle_duration;
    let given = [wishes.profile.idle_duration, fleet];
    let limits: Vec<Option<u64>> = given
        .into_iter()
        .flatten()
        .map(|idle| idle.limit())
        .collect();
    match limits.iter().flatten().min() {
        Some(least) => Some(*least),
        None if limits.is_empty() => Some(IDLE_SECONDS),
        None => None,
    }
}
