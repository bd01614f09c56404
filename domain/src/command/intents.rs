//! The ledger's records: when the call is allowed, what was seen, and when it is to go.

use super::{Outcome, Reply, events};
use crate::ids::IntentId;
use crate::model::{
    Fleet, FleetStatus, Instance, InstanceStatus, Intent, Kind, Lawful, Phase, Purpose, RemoteHost,
    Scarce, Seen,
};
use crate::rejection::Rejection;
use crate::state::Draft;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Seconds between looks at what tells nothing.
const RETRY_SECONDS: [i64; 5] = [1, 2, 4, 8, 10];
/// Seconds to the next look at what was not there, or has no address yet.
const LOOK_SECONDS: i64 = 4;
/// Seconds to the next look at a machine that is there, should anybody want one.
const REFRESH_SECONDS: i64 = 30;
/// Seconds after which a type that was refused in a place is asked for again: doubled by each refusal.
const SCARCE_SECONDS: i64 = 30;
const SCARCE_MOST_SECONDS: i64 = 600;

/// The one call that makes it may begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IssueIntent {
    pub intent: IntentId,
}

impl IssueIntent {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let intent = find(draft, self.intent)?;
        let mut changed = intent.as_ref().clone();
        step(&mut changed, Phase::Issued)?;
        changed.issued_at = Some(draft.at);
        tell(draft, &changed, "is being made");
        draft.put_intent(changed);
        Ok(Reply::None)
    }
}

/// What came of a call. Four-valued, as the call was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sighting {
    Seen(Seen),
    /// A healthy answer that says no.
    Refused {
        why: String,
    },
    /// It may have happened or not.
    Unknown {
        why: String,
    },
    /// A healthy answer that does not show it.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordIntent {
    pub intent: IntentId,
    /// That of the action; an older attempt's outcome is refused.
    pub generation: u64,
    pub sighting: Sighting,
}

impl RecordIntent {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let intent = find(draft, self.intent)?;
        if intent.generation != self.generation || intent.phase == Phase::Planned {
            return Err(Rejection::stale(format!(
                "{} is at generation {}, this outcome is of {}",
                intent.key, intent.generation, self.generation
            )));
        }
        let mut changed = intent.as_ref().clone();
        changed.generation += 1;
        match &self.sighting {
            Sighting::Seen(seen) => observed(draft, changed, seen),
            Sighting::Refused { why } => refused(draft, changed, why),
            Sighting::Unknown { why } => unknown(draft, changed, why),
            Sighting::Absent => absent(draft, changed),
        }
    }
}

fn observed(draft: &mut Draft, mut intent: Intent, seen: &Seen) -> Outcome {
    let first = intent.seen.is_none();
    intent.seen = Some(seen.clone());
    intent.absence = None;
    if matches!(intent.phase, Phase::Issued | Phase::Doubtful) {
        step(&mut intent, Phase::Observed)?;
    }
    if intent.phase == Phase::Releasing {
        intent.retry_at = Some(later(draft.at, wait(&mut intent)));
    } else {
        intent.attempts = 0;
        intent.last_error = None;
        let up = seen.address.is_some() || intent.kind() != Kind::Machine;
        let pause = if up { REFRESH_SECONDS } else { LOOK_SECONDS };
        intent.retry_at = Some(later(draft.at, pause));
        if first {
            tell(draft, &intent, "is there");
            plenty(draft, &intent);
        }
        appear(draft, &intent, seen);
    }
    draft.put_intent(intent);
    Ok(Reply::None)
}

/// The instance learns where its machine is.
fn appear(draft: &mut Draft, intent: &Intent, seen: &Seen) {
    let Some(instance) = holder(draft, intent) else {
        return;
    };
    let mut changed = instance.as_ref().clone();
    if changed.status == InstanceStatus::Pending {
        changed.status = InstanceStatus::Provisioning;
        let target = events::instance(draft, &changed);
        draft.emit(
            "Instance status changed PENDING -> PROVISIONING",
            vec![target],
            &[changed.fleet_id.bytes()],
        );
        changed.last_error = None;
    }
    if let Some(made) = &mut changed.made {
        made.seen_at.get_or_insert(draft.at);
    }
    if let Some(address) = &seen.address {
        let remote = RemoteHost {
            hostname: address.clone(),
            port: seen.port,
            user: seen.user.clone(),
            identity: None,
            identity_public: None,
            proxy_jump: None,
            internal_ip: seen.internal_address.clone(),
        };
        if changed.remote.as_ref() != Some(&remote) {
            changed.remote = Some(remote);
            changed.generation += 1;
            changed.attempts = 0;
            changed.retry_at = None;
        }
    }
    if changed != *instance {
        draft.put_instance(changed);
    }
}

fn refused(draft: &mut Draft, intent: Intent, why: &str) -> Outcome {
    if intent.phase != Phase::Issued {
        // A look or a release was refused: that says nothing about the thing.
        return unknown(draft, intent, why);
    }
    let scarce = scarce(draft, &intent, why);
    let why = scarce.map_or_else(|| why.to_owned(), |scarce| scarce.words(&place(&intent)));
    release(draft, intent, &why)
}

fn unknown(draft: &mut Draft, mut intent: Intent, why: &str) -> Outcome {
    let news = intent.last_error.as_deref() != Some(why);
    if intent.phase == Phase::Issued {
        step(&mut intent, Phase::Doubtful)?;
    }
    intent.retry_at = Some(later(draft.at, wait(&mut intent)));
    intent.last_error = Some(why.to_owned());
    if news {
        let state = match intent.phase {
            Phase::Doubtful => "may or may not be there",
            Phase::Releasing => "is not gone yet",
            _ => "could not be looked at",
        };
        tell(draft, &intent, &format!("{state}: {why}"));
    }
    draft.put_intent(intent);
    Ok(Reply::None)
}

fn absent(draft: &mut Draft, mut intent: Intent) -> Outcome {
    intent.note_absence(draft.at);
    intent.retry_at = Some(later(draft.at, LOOK_SECONDS));
    intent.attempts = 0;
    match intent.phase {
        // A call that makes something does not answer so.
        Phase::Issued => step(&mut intent, Phase::Doubtful)?,
        Phase::Observed if intent.is_absent(draft.at) => {
            step(&mut intent, Phase::Releasing)?;
            intent.retry_at = None;
            tell(
                draft,
                &intent,
                "is gone from the cloud, though nobody here ended it",
            );
            restart(draft, &intent, "its machine is gone from the cloud");
        }
        // It was never made. What may have been made for it, a disk say, goes with one more call.
        Phase::Doubtful if intent.is_absent(draft.at) => {
            step(&mut intent, Phase::Releasing)?;
            intent.retry_at = None;
            restart(draft, &intent, "it was never made");
        }
        Phase::Releasing if intent.is_absent(draft.at) => {
            return release(draft, intent, "it is gone");
        }
        _ => {}
    }
    draft.put_intent(intent);
    Ok(Reply::None)
}

/// The end of a record, and what follows for whoever wanted the thing.
fn release(draft: &mut Draft, mut intent: Intent, why: &str) -> Outcome {
    step(&mut intent, Phase::Released)?;
    tell(draft, &intent, &format!("ends: {why}"));
    draft.remove_intent(intent.id);
    if let Some(instance) = holder(draft, &intent) {
        detach(draft, &instance, why);
    }
    if intent.kind() == Kind::Fabric {
        without_fabric(draft, &intent, why);
    }
    let fleet = intent.fleet_id.and_then(|id| draft.fleet(id).cloned());
    if let Some(fleet) = fleet {
        super::delete_fleets::end_if_empty(draft, &fleet);
    }
    Ok(Reply::None)
}

/// The instance waits for another machine, as if there had been none.
pub(super) fn detach(draft: &mut Draft, instance: &Arc<Instance>, why: &str) {
    let mut changed = instance.as_ref().clone();
    if let Some(made) = &mut changed.made {
        made.intent = None;
        made.seen_at = None;
        made.attempt += 1;
    }
    changed.remote = None;
    changed.host_key = None;
    changed.generation += 1;
    changed.attempts = 0;
    changed.retry_at = None;
    if changed.status == InstanceStatus::Provisioning {
        changed.status = InstanceStatus::Pending;
    }
    if changed.status == InstanceStatus::Pending {
        changed.last_error = Some(why.to_owned());
        let target = events::instance(draft, &changed);
        let message = format!("Instance waits for another machine: {why}");
        draft.emit(message, vec![target], &[changed.fleet_id.bytes()]);
    }
    draft.put_instance(changed);
}

/// There is no fabric, so no machine is made for it, and the cluster may settle elsewhere.
fn without_fabric(draft: &mut Draft, fabric: &Intent, why: &str) {
    let Some(fleet) = fabric.fleet_id.and_then(|id| draft.fleet(id).cloned()) else {
        return;
    };
    let planned: Vec<Arc<Intent>> = draft
        .intents_of(fleet.id)
        .filter(|one| one.fabric() == Some(fabric.id) && one.phase == Phase::Planned)
        .cloned()
        .collect();
    for machine in planned {
        draft.remove_intent(machine.id);
        if let Some(instance) = holder(draft, &machine) {
            detach(draft, &instance, why);
        }
    }
    let here = fleet.site.as_ref().and_then(|site| site.fabric) == Some(fabric.id);
    let in_use = draft
        .intents_of(fleet.id)
        .any(|one| one.fabric() == Some(fabric.id));
    if here && !in_use {
        let mut changed = fleet.as_ref().clone();
        changed.site = None;
        draft.put_fleet(changed);
    }
}

/// It is to go. What nobody was asked for yet ends at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseIntent {
    pub intent: IntentId,
    pub why: String,
    /// Whether the type is not to be tried there again for a while.
    pub avoid: bool,
}

impl ReleaseIntent {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let intent = find(draft, self.intent)?;
        if self.avoid {
            scarce(draft, &intent, &self.why);
        }
        let mut changed = intent.as_ref().clone();
        if changed.phase == Phase::Planned {
            return release(draft, changed, &self.why);
        }
        step(&mut changed, Phase::Releasing)?;
        changed.generation += 1;
        changed.attempts = 0;
        changed.retry_at = None;
        changed.absence = None;
        tell(draft, &changed, &format!("is to go: {}", self.why));
        draft.put_intent(changed);
        restart(draft, &intent, &self.why);
        Ok(Reply::None)
    }
}

/// An instance that is still on its way in goes on with another machine, a cluster without machines in another place.
fn restart(draft: &mut Draft, intent: &Intent, why: &str) {
    if intent.kind() == Kind::Fabric {
        without_fabric(draft, intent, why);
    }
    if let Some(instance) = holder(draft, intent)
        && matches!(
            instance.status,
            InstanceStatus::Pending | InstanceStatus::Provisioning
        )
    {
        detach(draft, &instance, why);
    }
}

fn find(draft: &Draft, id: IntentId) -> Result<Arc<Intent>, Rejection> {
    let found = draft.intent(id).cloned();
    found.ok_or_else(|| Rejection::stale("The record has ended"))
}

fn step(intent: &mut Intent, next: Phase) -> Result<(), Rejection> {
    let phase = intent.phase;
    if !phase.may_become(next) {
        return Err(Rejection::stale(format!(
            "{} is {} and cannot become {}",
            intent.key,
            phase.shout(),
            next.shout()
        )));
    }
    intent.phase = next;
    Ok(())
}

/// The instance that is this machine; none when it has another one by now.
fn holder(draft: &Draft, intent: &Intent) -> Option<Arc<Instance>> {
    let instance = draft.instance(intent.instance()?)?;
    let made = instance.made.as_ref()?;
    (made.intent == Some(intent.id)).then(|| instance.clone())
}

fn tell(draft: &mut Draft, intent: &Intent, what: &str) {
    let instance = intent.instance().and_then(|id| draft.instance(id).cloned());
    let fleet = intent.fleet_id.and_then(|id| draft.fleet(id).cloned());
    let target = match (instance, &fleet, draft.project(intent.project_id)) {
        (Some(instance), _, _) => events::instance(draft, &instance),
        (None, Some(fleet), _) => events::fleet(draft, fleet),
        (None, None, Some(project)) => events::project(project),
        (None, None, None) => return,
    };
    let scopes: Vec<[u8; 16]> = intent.fleet_id.iter().map(|id| id.bytes()).collect();
    let what = format!("{} {} {what}", capital(intent.kind()), intent.key);
    draft.emit(what, vec![target], &scopes);
}

fn capital(kind: Kind) -> &'static str {
    match kind {
        Kind::Machine => "Machine",
        Kind::Disk => "Disk",
        Kind::Fabric => "Fabric",
    }
}

/// `TYPE in REGION`, with what is made of it.
fn place(intent: &Intent) -> String {
    let offer = intent.offer.as_ref().map(place_of).unwrap_or_default();
    match intent.purpose {
        Purpose::Fabric { nodes } => format!("fabric for {nodes} of {offer}"),
        _ => offer,
    }
}

/// How a fleet remembers what it could not have.
pub(crate) fn place_of(offer: &crate::model::InstanceOffer) -> String {
    format!("{} in {}", offer.instance.name, offer.region)
}

/// Notes that the type is not to be had there for now.
fn scarce(draft: &mut Draft, intent: &Intent, why: &str) -> Option<Scarce> {
    let fleet = intent.fleet_id.and_then(|id| draft.fleet(id).cloned());
    let (Some(fleet), Some(offer)) = (fleet, &intent.offer) else {
        return None;
    };
    let mut changed: Fleet = fleet.as_ref().clone();
    let at = draft.at;
    let place = place_of(offer);
    let known = changed.scarce.get(&place);
    // Machines that were asked for together are refused together: that counts once.
    let times = match known {
        Some(known) if known.until > at => known.times,
        Some(known) => known.times.saturating_add(1),
        None => 1,
    };
    let factor = 1_i64 << times.saturating_sub(1).min(8);
    let seconds = (SCARCE_SECONDS * factor).min(SCARCE_MOST_SECONDS);
    let until = known
        .map_or(at, |known| known.until)
        .max(later(at, seconds));
    let why = why.to_owned();
    let scarce = Scarce {
        until,
        pause: seconds,
        times,
        why,
    };
    changed.scarce.insert(place, scarce.clone());
    draft.put_fleet(changed);
    Some(scarce)
}

/// It was to be had, so the next refusal is a first one.
fn plenty(draft: &mut Draft, intent: &Intent) {
    let fleet = intent.fleet_id.and_then(|id| draft.fleet(id).cloned());
    let (Some(fleet), Some(offer)) = (fleet, &intent.offer) else {
        return;
    };
    if fleet.status == FleetStatus::Active && fleet.scarce.contains_key(&place_of(offer)) {
        let mut changed = fleet.as_ref().clone();
        changed.scarce.remove(&place_of(offer));
        draft.put_fleet(changed);
    }
}

/// Seconds to the next look. What is on its way out is looked after more often: others may wait for its end.
fn wait(intent: &mut Intent) -> i64 {
    let step = (intent.attempts as usize).min(RETRY_SECONDS.len() - 1);
    intent.attempts = intent.attempts.saturating_add(1);
    let most = match intent.phase {
        Phase::Releasing => LOOK_SECONDS,
        _ => i64::MAX,
    };
    RETRY_SECONDS.get(step).copied().unwrap_or(10).min(most)
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(at)
}
