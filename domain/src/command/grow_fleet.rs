//! Fleets that follow what is needed: more machines, fewer machines, and why one is still waited for.

use super::{Assignment, Outcome, Reply, assign_jobs, delete_fleets, events, new_instance};
use crate::ids::{FleetId, InstanceId, RunId, SubmissionId};
use crate::model::{
    Fleet, FleetStatus, InstanceOffer, InstanceReason, InstanceStatus, JobStatus, Lawful,
};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The fleet has fewer machines than it is to have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowFleet {
    pub fleet: FleetId,
    pub count: u32,
}

impl GrowFleet {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let mut fleet = active(draft, self.fleet)?.as_ref().clone();
        room_for(draft, &fleet, self.count)?;
        for _ in 0..self.count {
            let why = "Instance created to meet the fleet's `nodes`";
            new_instance::add_machine(draft, &mut fleet, why);
        }
        draft.put_fleet(fleet);
        Ok(Reply::None)
    }
}

/// Jobs that get machines of the same kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineOrder {
    pub offer: InstanceOffer,
    pub submissions: Vec<SubmissionId>,
}

/// Machines for the jobs of one replica: some that are there, the others to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProvisionJobs {
    pub run: RunId,
    pub fleet: FleetId,
    pub assignments: Vec<Assignment>,
    pub orders: Vec<MachineOrder>,
    pub idle_seconds: Option<u64>,
}

impl ProvisionJobs {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let mut fleet = active(draft, self.fleet)?.as_ref().clone();
        let wanted = self.orders.iter().map(|order| order.submissions.len());
        room_for(draft, &fleet, wanted.sum::<usize>() as u32)?;
        super::AssignJobs {
            run: self.run,
            assignments: self.assignments.clone(),
        }
        .run(draft)?;
        let found = draft.run(self.run).cloned();
        let found = found.ok_or_else(|| Rejection::stale("The run is gone"))?;
        let mut run = found.as_ref().clone();
        run.fleet_id = Some(fleet.id);
        draft.put_run(run.clone());
        for order in &self.orders {
            for id in &order.submissions {
                let job = draft.submission(*id).cloned();
                let job =
                    job.filter(|job| job.run_id == self.run && job.status == JobStatus::Submitted);
                let job = job.ok_or_else(|| Rejection::stale("The job waits no longer"))?;
                let offer = &order.offer;
                let new =
                    new_instance::add_machine_for_job(draft, &mut fleet, offer, self.idle_seconds);
                let new = draft.instance(new).cloned();
                let new = new.ok_or_else(|| Rejection::stale("The instance is gone"))?;
                assign_jobs::hold(draft, &run, &job, &new, 1)?;
            }
        }
        draft.put_fleet(fleet);
        Ok(Reply::None)
    }
}

/// A machine that is not needed, or of no use, is to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TerminateInstance {
    pub instance: InstanceId,
    pub reason: InstanceReason,
    pub message: Option<String>,
}

impl TerminateInstance {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
        let free = instance.jobs.is_empty() && !instance.is_own_host();
        if !free || !instance.status.may_become(InstanceStatus::Terminating) {
            return Err(Rejection::stale(format!(
                "Instance {} cannot go now",
                instance.name
            )));
        }
        let mut changed = instance.as_ref().clone();
        changed.termination_message = self.message.clone();
        delete_fleets::begin_release(draft, &Arc::new(changed), self.reason);
        Ok(Reply::None)
    }
}

/// Not all machines of a cluster could be had in time. Nothing more is tried until the fleet is applied again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GiveUpCluster {
    pub fleet: FleetId,
    pub why: String,
}

impl GiveUpCluster {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let mut fleet = active(draft, self.fleet)?.as_ref().clone();
        if fleet.status_message.is_some() {
            return Err(Rejection::stale("It was given up already"));
        }
        fleet.status_message = Some(self.why.clone());
        let target = events::fleet(draft, &fleet);
        draft.emit(self.why.clone(), vec![target], &[fleet.id.bytes()]);
        draft.put_fleet(fleet);
        Ok(Reply::None)
    }
}

/// Why an instance still waits for its machine, in words for the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainWait {
    pub instance: InstanceId,
    pub why: String,
}

impl ExplainWait {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
        let waits = instance.status == InstanceStatus::Pending;
        if !waits || instance.last_error.as_deref() == Some(&self.why) {
            return Err(Rejection::stale("It is known already"));
        }
        let mut changed = instance.as_ref().clone();
        changed.last_error = Some(self.why.clone());
        let target = events::instance(draft, &changed);
        let message = format!("Instance waits: {}", self.why);
        draft.emit(message, vec![target], &[changed.fleet_id.bytes()]);
        draft.put_instance(changed);
        Ok(Reply::None)
    }
}

fn active(draft: &Draft, id: FleetId) -> Result<Arc<Fleet>, Rejection> {
    let found = draft.fleet(id).cloned();
    let found =
        found.filter(|fleet| fleet.status == FleetStatus::Active && fleet.nodes().is_some());
    found.ok_or_else(|| Rejection::stale("The fleet makes no machines"))
}

fn room_for(draft: &Draft, fleet: &Fleet, count: u32) -> Result<(), Rejection> {
    let most = fleet.nodes().and_then(|nodes| nodes.max);
    let there = draft
        .instances_of(fleet.id)
        .filter(|instance| instance.counts())
        .count() as u32;
    match most {
        Some(most) if there.saturating_add(count) > most => Err(Rejection::stale(format!(
            "Fleet {} is at capacity",
            fleet.name
        ))),
        _ => Ok(()),
    }
}
