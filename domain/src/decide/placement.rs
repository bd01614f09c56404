//! Where jobs can run. The plan a user sees and the leader's placement are this same code.

use super::cloud_offers::better;
use super::requirements::blocks_needed;
use crate::command::{Assignment, part};
use crate::ids::{FleetId, InstanceId, ProjectId};
use crate::model::{
    Availability, Fleet, FleetStatus, Health, Instance, InstanceOffer, InstanceStatus, Submission,
};
use crate::spec::{EntityReference, InstanceSelector, JobSpec, ProfileParams};
use crate::state::State;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a message about a lack of fleets begins; the status text "no fleets" is derived from it.
pub const NO_FLEETS: &str = "No matching fleet found";
const NO_INSTANCE: &str = "Could not reuse any instance for this job";

/// What a run asks for, apart from its jobs.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    pub project: ProjectId,
    pub profile: &'a ProfileParams,
    /// The fleet the run has settled in.
    pub fleet: Option<FleetId>,
}

/// A part of an existing instance that would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    pub instance: InstanceId,
    pub fleet: FleetId,
    pub blocks: u32,
    pub offer: InstanceOffer,
}

/// A place a job could take at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub instance: InstanceId,
    pub blocks: u32,
}

/// Why nothing can be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    NoFleets(String),
    NoCapacity(String),
}

impl Shortage {
    pub fn message(&self) -> &str {
        match self {
            Shortage::NoFleets(message) | Shortage::NoCapacity(message) => message,
        }
    }
}

/// Whether new jobs may go to this instance at all.
pub fn is_eligible(instance: &Instance) -> bool {
    matches!(instance.status, InstanceStatus::Idle | InstanceStatus::Busy)
        && !instance.unreachable
        && instance.health != Health::Failure
        && instance.total_blocks.is_some()
        && instance.lingering.is_empty()
}

pub fn has_room(instance: &Instance, blocks: u32) -> bool {
    is_eligible(instance) && blocks > 0 && instance.free_blocks() >= blocks
}

/// Every instance that satisfies the job, usable ones first, then by price.
pub fn offers(state: &State, wishes: &Wishes, job: &JobSpec) -> Vec<Offer> {
    let mut found: Vec<Offer> = Vec::new();
    for fleet in candidate_fleets(state, wishes, is_multinode(job)) {
        found.extend(fleet_offers(state, wishes, &fleet, job));
    }
    found.sort_by(|a, b| better(&a.offer, &b.offer));
    found
}

/// A place for every job of one replica, or for none.
pub fn place(
    state: &State,
    wishes: &Wishes,
    jobs: &[(&Submission, &JobSpec)],
) -> Result<Vec<Assignment>, Shortage> {
    let multinode = jobs.iter().any(|(_, job)| is_multinode(job));
    let fleets = candidate_fleets(state, wishes, multinode);
    if fleets.is_empty() {
        return Err(Shortage::NoFleets(no_fleets_text(wishes, multinode)));
    }
    for fleet in &fleets {
        if let Some(assignments) = place_in(state, wishes, fleet, jobs) {
            return Ok(assignments);
        }
    }
    Err(Shortage::NoCapacity(NO_INSTANCE.to_owned()))
}

fn is_multinode(job: &JobSpec) -> bool {
    job.requirements.multinode == Some(true)
}

fn no_fleets_text(wishes: &Wishes, multinode: bool) -> String {
    match (&wishes.profile.fleets, multinode) {
        (_, true) => {
            format!("{NO_FLEETS}. Runs of several nodes need a fleet with `placement: cluster`")
        }
        (Some(fleets), _) => {
            let names: Vec<String> = fleets.iter().map(ToString::to_string).collect();
            format!("{NO_FLEETS} among the requested: {}", names.join(", "))
        }
        (None, _) => {
            format!("{NO_FLEETS}. Create one with `dstack apply` of a fleet configuration")
        }
    }
}

/// Active fleets the run may use, by name.
pub(super) fn candidate_fleets(state: &State, wishes: &Wishes, multinode: bool) -> Vec<Arc<Fleet>> {
    let project = state
        .project(wishes.project)
        .map(|project| project.name.as_str())
        .unwrap_or_default();
    let named = |fleet: &Fleet| match &wishes.profile.fleets {
        None => true,
        Some(references) => references
            .iter()
            .any(|reference| refers(reference, project, &fleet.name)),
    };
    state
        .fleets_of(wishes.project)
        .filter(|fleet| fleet.status == FleetStatus::Active)
        .filter(|fleet| wishes.fleet.is_none_or(|settled| settled == fleet.id))
        .filter(|fleet| named(fleet))
        .filter(|fleet| !multinode || fleet.is_cluster())
        .cloned()
        .collect()
}

fn refers(reference: &EntityReference, project: &str, name: &str) -> bool {
    reference.name == name
        && reference
            .project
            .as_deref()
            .is_none_or(|other| other.eq_ignore_ascii_case(project))
}

fn fleet_offers(state: &State, wishes: &Wishes, fleet: &Fleet, job: &JobSpec) -> Vec<Offer> {
    let instances = state.instances_of(fleet.id);
    let offers = instances.filter_map(|instance| {
        let (blocks, availability) = judge(state, wishes, fleet, instance, job)?;
        let kind = instance.instance_type.as_ref()?;
        let offer = part(instance, kind, blocks, availability);
        Some(Offer {
            instance: instance.id,
            fleet: fleet.id,
            blocks,
            offer,
        })
    });
    offers.collect()
}

/// How many blocks of the instance the job would take, and whether they are free now.
fn judge(
    state: &State,
    wishes: &Wishes,
    fleet: &Fleet,
    instance: &Instance,
    job: &JobSpec,
) -> Option<(u32, Availability)> {
    let kind = instance.instance_type.as_ref()?;
    let total = instance.total_blocks?;
    if !matches!(instance.status, InstanceStatus::Idle | InstanceStatus::Busy)
        || !passes_profile(state, wishes, fleet, instance)
    {
        return None;
    }
    let blocks = blocks_needed(&job.requirements, &kind.resources, total)?;
    let availability = if !is_eligible(instance) {
        Availability::NotAvailable
    } else if instance.free_blocks() >= blocks {
        Availability::Idle
    } else {
        Availability::Busy
    };
    Some((blocks, availability))
}

/// Instances of the fleet that could take the job now, in order of their numbers.
pub(super) fn free_spots<'a>(
    state: &'a State,
    wishes: &'a Wishes,
    fleet: &'a Fleet,
    job: &'a JobSpec,
) -> impl Iterator<Item = Spot> + 'a {
    let free = state
        .open_instances_of(fleet.id)
        .filter(|instance| is_eligible(instance));
    free.filter_map(
        move |instance| match judge(state, wishes, fleet, instance, job) {
            Some((blocks, Availability::Idle)) => Some(Spot {
                instance: instance.id,
                blocks,
            }),
            _ => None,
        },
    )
}

fn passes_profile(state: &State, wishes: &Wishes, fleet: &Fleet, instance: &Instance) -> bool {
    let profile = wishes.profile;
    let has = |list: &Option<Vec<String>>, value: &str| {
        list.as_ref()
            .is_none_or(|list| list.iter().any(|item| item.eq_ignore_ascii_case(value)))
    };
    let backend = profile
        .backends
        .as_ref()
        .is_none_or(|list| list.contains(&instance.backend()));
    let chosen = profile.instances.as_ref().is_none_or(|list| {
        list.iter()
            .any(|selector| selects(state, wishes.project, selector, fleet, instance))
    });
    backend
        && chosen
        && has(&profile.regions, instance.region())
        && has(&profile.instance_types, type_name(instance))
        && profile
            .max_price
            .is_none_or(|most| instance.price() <= most)
        && profile.availability_zones.is_none()
        && profile.reservation.is_none()
}

/// Hosts of one's own are all of one type.
fn type_name(instance: &Instance) -> &str {
    let kind = instance.instance_type.as_ref();
    kind.map_or("ssh", |kind| &kind.name)
}

fn selects(
    state: &State,
    project: ProjectId,
    selector: &InstanceSelector,
    fleet: &Fleet,
    instance: &Instance,
) -> bool {
    match selector {
        InstanceSelector::Name { name } => *name == instance.name,
        InstanceSelector::Hostname { hostname } => {
            hostname.eq_ignore_ascii_case(instance.hostname())
        }
        InstanceSelector::FleetInstance {
            fleet: reference,
            instance: num,
        } => {
            let project = state
                .project(project)
                .map(|project| project.name.as_str())
                .unwrap_or_default();
            refers(reference, project, &fleet.name) && *num == instance.num
        }
    }
}

fn place_in(
    state: &State,
    wishes: &Wishes,
    fleet: &Fleet,
    jobs: &[(&Submission, &JobSpec)],
) -> Option<Vec<Assignment>> {
    let assign = |submission: &Submission, spot: Spot| Assignment {
        submission: submission.id,
        instance: spot.instance,
        blocks: spot.blocks,
    };
    if let [(submission, job)] = jobs {
        let spot = free_spots(state, wishes, fleet, job).next()?;
        return Some(vec![assign(submission, spot)]);
    }
    let spots: Vec<Vec<Spot>> = jobs
        .iter()
        .map(|(_, job)| free_spots(state, wishes, fleet, job).collect())
        .collect();
    let chosen = match_whole(&spots)?;
    let mut assignments = Vec::with_capacity(jobs.len());
    for ((submission, _), (options, choice)) in jobs.iter().zip(spots.iter().zip(chosen)) {
        assignments.push(assign(submission, *options.get(choice)?));
    }
    Some(assignments)
}

/// Gives every job an instance of its own (augmenting paths), so that a job with few choices is
/// not starved by one with many. Answers which of its spots each job takes.
fn match_whole(spots: &[Vec<Spot>]) -> Option<Vec<usize>> {
    let mut holder: BTreeMap<InstanceId, usize> = BTreeMap::new();
    let mut choice: Vec<usize> = vec![usize::MAX; spots.len()];
    for job in 0..spots.len() {
        let mut tried = std::collections::BTreeSet::new();
        if !augment(job, spots, &mut holder, &mut choice, &mut tried) {
            return None;
        }
    }
    Some(choice)
}

fn augment(
    first: usize,
    spots: &[Vec<Spot>],
    holder: &mut BTreeMap<InstanceId, usize>,
    choice: &mut [usize],
    tried: &mut std::collections::BTreeSet<InstanceId>,
) -> bool {
    // An explicit stack: a cluster of thousands must not overflow the thread's.
    let mut path: Vec<(usize, usize)> = vec![(first, 0)];
    while let Some((job, at)) = path.pop() {
        let Some(options) = spots.get(job) else {
            continue;
        };
        // A free instance first, so that nodes follow the order of the hosts where they can.
        if at == 0
            && let Some(free) = options
                .iter()
                .position(|o| !holder.contains_key(&o.instance))
        {
            path.push((job, free + 1));
            settle_path(&path, spots, holder, choice);
            return true;
        }
        let Some(offer) = options.get(at) else {
            continue;
        };
        path.push((job, at + 1));
        if tried.insert(offer.instance)
            && let Some(&other) = holder.get(&offer.instance)
        {
            path.push((other, 0));
        }
    }
    false
}

/// Each job on the path takes the spot it stands at; the last one's instance was free.
fn settle_path(
    path: &[(usize, usize)],
    spots: &[Vec<Spot>],
    holder: &mut BTreeMap<InstanceId, usize>,
    choice: &mut [usize],
) {
    for &(job, next) in path {
        let taken = next - 1;
        if let (Some(offer), Some(slot)) = (
            spots.get(job).and_then(|o| o.get(taken)),
            choice.get_mut(job),
        ) {
            *slot = taken;
            holder.insert(offer.instance, job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostFacts;
    use crate::testing::{Lab, big_host};
    use serde_json::json;

    fn placed(
        lab: &mut Lab,
        name: &str,
        extra: serde_json::Value,
    ) -> Result<Vec<String>, Shortage> {
        let run = lab.submit(name, extra);
        let profile = run.spec.merged_profile();
        let wishes = Wishes {
            project: lab.project,
            profile: &profile,
            fleet: None,
        };
        let latest = lab.state.latest_submissions(run.id);
        let jobs: Vec<_> = latest
            .iter()
            .map(|s| (s.as_ref(), lab.state.job_spec(s).unwrap().as_ref()))
            .collect();
        let assignments = place(&lab.state, &wishes, &jobs)?;
        Ok(assignments
            .iter()
            .map(|a| lab.state.instance(a.instance).unwrap().name.clone())
            .collect())
    }

    fn small_host() -> HostFacts {
        HostFacts {
            cpus: 4,
            ..big_host()
        }
    }

    #[test]
    fn a_node_with_few_choices_is_not_starved() {
        let mut lab = Lab::new();
        lab.fleet("lab", &[big_host(), small_host()]);
        let groups = json!({"commands": [], "groups": [
            {"nodes": 1, "commands": ["a"]},
            {"nodes": 1, "commands": ["b"], "resources": {"cpu": "16"}},
        ]});
        assert_eq!(
            placed(&mut lab, "train", groups),
            Ok(vec!["lab-1".to_owned(), "lab-0".to_owned()])
        );
    }

    #[test]
    fn all_nodes_or_none() {
        let mut lab = Lab::new();
        lab.fleet("lab", &[big_host(), big_host()]);
        let hosts = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(
            placed(&mut lab, "two", json!({"nodes": 2})),
            hosts(&["lab-0", "lab-1"])
        );
        let shortage = placed(&mut lab, "three", json!({"nodes": 3})).unwrap_err();
        assert!(matches!(shortage, Shortage::NoCapacity(_)));
    }

    #[test]
    fn wishes_choose_fleets_and_instances() {
        let mut lab = Lab::new();
        lab.fleet("lab", &[big_host(), big_host()]);
        let chosen = |name: &str| Ok(vec![name.to_owned()]);
        assert_eq!(
            placed(&mut lab, "r1", json!({"fleets": ["lab"]})),
            chosen("lab-0")
        );
        assert_eq!(
            placed(&mut lab, "r2", json!({"instances": ["lab-1"]})),
            chosen("lab-1")
        );
        assert_eq!(
            placed(
                &mut lab,
                "r3",
                json!({"instances": [{"hostname": "LAB1.example"}]})
            ),
            chosen("lab-1")
        );
        assert_eq!(
            placed(
                &mut lab,
                "r4",
                json!({"instances": [{"fleet": "lab", "instance": 1}]})
            ),
            chosen("lab-1")
        );
        let shortage = placed(&mut lab, "r5", json!({"fleets": ["gone"]})).unwrap_err();
        assert_eq!(
            shortage.message(),
            "No matching fleet found among the requested: gone"
        );
        for extra in [
            json!({"spot_policy": "spot"}),
            json!({"backends": ["aws"]}),
            json!({"regions": ["eu"]}),
        ] {
            assert!(
                matches!(
                    placed(&mut lab, "r6", extra.clone()),
                    Err(Shortage::NoCapacity(_))
                ),
                "{extra}"
            );
            lab.admin(crate::command::StopRuns {
                project: lab.project,
                names: vec!["r6".into()],
                abort: true,
            })
            .unwrap();
            let run = lab.run("r6").id;
            lab.system(crate::command::FinishRun { run }).unwrap();
        }
    }

    #[test]
    fn a_plan_shows_unusable_hosts_last() {
        let mut lab = Lab::new();
        lab.fleet("lab", &[big_host(), big_host()]);
        let first = lab
            .state
            .instances()
            .find(|i| i.name == "lab-0")
            .unwrap()
            .id;
        lab.system(crate::command::SetReachability {
            instance: first,
            unreachable: true,
            error: None,
        })
        .unwrap();
        let run = lab.submit("train", json!({}));
        let profile = run.spec.merged_profile();
        let wishes = Wishes {
            project: lab.project,
            profile: &profile,
            fleet: None,
        };
        let offers = offers(&lab.state, &wishes, &run.jobs[0]);
        let seen: Vec<_> = offers.iter().map(|o| o.offer.availability).collect();
        assert_eq!(seen, [Availability::Idle, Availability::NotAvailable]);
    }
}
