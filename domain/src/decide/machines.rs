//! Instances that a cloud makes: choosing what to make, giving up what never answers, and seeing to it that nothing of
//! an instance on its way out stays behind.

use super::growth::{choose, fleet_offers_here, job_offers};
use super::pass::{Pass, after};
use super::placement::Wishes;
use crate::command::{
    ExplainWait, FinishJob, InstanceGone, PlanMachine, ReleaseIntent, TerminateInstance,
    TerminateJob,
};
use crate::ids::{InstanceId, SubmissionId};
use crate::model::{
    Fleet, HAS_FABRIC, Instance, InstanceOffer, InstanceReason, InstanceStatus, Intent, JobReason,
    Made, Phase,
};
use crate::step::Action;
use std::sync::Arc;

/// From a machine's first sight to its agent's first answer. The largest take minutes to boot.
const BOOT_SECONDS: i64 = 20 * 60;
/// Silence after which an idle machine is of no use to anybody.
const USELESS_SECONDS: i64 = 20 * 60;
/// How long after nothing suitable was on offer the clouds are asked again.
const ASK_AGAIN_SECONDS: i64 = 60;

pub(super) fn decide(pass: &mut Pass) {
    let made = pass.draft.instances().filter(|one| !one.is_own_host());
    let ids: Vec<InstanceId> = made.map(|instance| instance.id).collect();
    for id in ids {
        let Some(instance) = pass.draft.instance(id).cloned() else {
            continue;
        };
        let Some(made) = &instance.made else { continue };
        let record = made.intent.and_then(|id| pass.draft.intent(id).cloned());
        match (instance.status, record) {
            (InstanceStatus::Terminating, _) => leave(pass, &instance),
            (InstanceStatus::Pending, None) => plan(pass, &instance, made),
            (InstanceStatus::Pending | InstanceStatus::Provisioning, Some(record)) => {
                await_boot(pass, &instance, made, &record);
            }
            (InstanceStatus::Idle | InstanceStatus::Busy, record) => {
                keep(pass, &instance, record.as_deref());
            }
            _ => {}
        }
    }
}

/// What it has in the account goes first, then its record.
fn leave(pass: &mut Pass, instance: &Instance) {
    let things: Vec<Arc<Intent>> = pass
        .draft
        .intents_of(instance.fleet_id)
        .filter(|intent| intent.instance() == Some(instance.id))
        .cloned()
        .collect();
    for intent in things {
        if intent.phase != Phase::Releasing {
            pass.propose(ReleaseIntent {
                intent: intent.id,
                why: format!("instance {} is to go", instance.name),
                avoid: false,
            });
        }
    }
    pass.propose(InstanceGone {
        instance: instance.id,
        generation: instance.generation,
        message: None,
    });
}

fn plan(pass: &mut Pass, instance: &Instance, made: &Made) {
    let Some(fleet) = pass.draft.fleet(instance.fleet_id).cloned() else {
        return;
    };
    let Some(offers) = pass.offers(fleet.project_id) else {
        return;
    };
    let mut able = able(pass, &fleet, instance, &offers.offers);
    // What was chosen with its siblings is tried first.
    if let Some(first) = &made.offer
        && let Some(at) = able.iter().position(|offer| same_place(offer, first))
    {
        able.swap(0, at);
    }
    match choose(&fleet, &able, pass.now) {
        Ok(offer) => {
            let fabric_nodes = fabric_nodes(pass, &fleet, offer);
            pass.propose(PlanMachine {
                instance: instance.id,
                offer: offer.clone(),
                fabric_nodes,
            });
        }
        Err(refused) => {
            let (why, until) = match refused {
                Some((place, scarce)) => (scarce.words(&place), scarce.until),
                None => {
                    let at = after(pass.now, ASK_AGAIN_SECONDS);
                    (offers.nothing("No backend has an offer that fits"), at)
                }
            };
            do_without(pass, instance, why);
            pass.due(until);
        }
    }
}

fn able(
    pass: &Pass,
    fleet: &Fleet,
    instance: &Instance,
    offers: &[InstanceOffer],
) -> Vec<InstanceOffer> {
    let job = instance.jobs.first().and_then(|id| {
        let submission = pass.draft.submission(*id)?;
        let run = pass.draft.run(submission.run_id)?;
        Some((run.clone(), pass.draft.job_spec(submission)?.clone()))
    });
    let Some((run, job)) = job else {
        return fleet_offers_here(fleet, offers);
    };
    let profile = run.spec.merged_profile();
    let wishes = Wishes {
        project: run.project_id,
        profile: &profile,
        fleet: run.fleet_id,
    };
    job_offers(fleet, &wishes, &job, offers)
}

fn same_place(a: &InstanceOffer, b: &InstanceOffer) -> bool {
    a.backend == b.backend && a.region == b.region && a.instance.name == b.instance.name
}

/// For how many machines the first one of a cluster has a fabric made: as many as there may ever be.
fn fabric_nodes(pass: &Pass, fleet: &Fleet, offer: &InstanceOffer) -> Option<u32> {
    let nodes = fleet.nodes()?;
    let joined = fleet.is_cluster() && offer.backend_data.contains_key(HAS_FABRIC);
    let members = pass.draft.instances_of(fleet.id).filter(|one| one.counts());
    joined.then(|| {
        nodes
            .max
            .unwrap_or(nodes.target.max(members.count() as u32))
    })
}

/// A job does not wait for what cannot be had: its run decides whether to try again. A fleet waits.
fn do_without(pass: &mut Pass, instance: &Instance, why: String) {
    if instance.jobs.is_empty() {
        pass.propose(ExplainWait {
            instance: instance.id,
            why,
        });
        return;
    }
    end_jobs(
        pass,
        instance,
        JobReason::FailedToStartDueToNoCapacity,
        &why,
    );
}

/// Its jobs end: no process of theirs is left anywhere.
fn end_jobs(pass: &mut Pass, instance: &Instance, reason: JobReason, why: &str) {
    let jobs: Vec<SubmissionId> = instance.jobs.iter().copied().collect();
    for submission in jobs {
        pass.propose(TerminateJob {
            submission,
            reason,
            message: Some(why.to_owned()),
        });
        pass.propose(FinishJob {
            submission,
            confirmed: true,
        });
    }
}

fn await_boot(pass: &mut Pass, instance: &Instance, made: &Made, record: &Intent) {
    if record.phase != Phase::Observed {
        return;
    }
    let limit = made.seen_at.map(|seen| after(seen, BOOT_SECONDS));
    if limit.is_some_and(|limit| pass.due(limit)) {
        let last = instance.last_error.as_deref();
        let said = last.map(|last| format!(" ({last})")).unwrap_or_default();
        let minutes = BOOT_SECONDS / 60;
        pass.propose(ReleaseIntent {
            intent: record.id,
            why: format!("it did not answer within {minutes} minutes{said}"),
            avoid: true,
        });
    } else if instance.remote.is_some() && instance.retry_at.is_none_or(|at| pass.due(at)) {
        pass.act(Action::ConnectHost {
            instance: instance.id,
            generation: instance.generation,
        });
    }
}

fn keep(pass: &mut Pass, instance: &Instance, record: Option<&Intent>) {
    if record.is_none_or(|record| record.phase == Phase::Releasing) {
        let why = "The machine is gone from the cloud";
        end_jobs(pass, instance, JobReason::InstanceUnreachable, why);
        terminate(pass, instance, why);
        return;
    }
    if instance.unreachable
        && instance.jobs.is_empty()
        && let Some(since) = pass.facts.silent_since(instance.id)
        && pass.due(after(since, USELESS_SECONDS))
    {
        terminate(pass, instance, "It has been silent for 20 minutes");
    }
}

fn terminate(pass: &mut Pass, instance: &Instance, why: &str) {
    pass.propose(TerminateInstance {
        instance: instance.id,
        reason: InstanceReason::Unreachable,
        message: Some(why.to_owned()),
    });
}
