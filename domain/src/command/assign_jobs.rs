//! Placing jobs on machines: all of a group or none.

use super::{Outcome, Reply, events, job_end};
use crate::decide::{addresses, placement};
use crate::ids::{InstanceId, RunId, SubmissionId};
use crate::model::{
    Availability, GpuShare, Instance, InstanceOffer, InstanceRuntime, InstanceStatus, InstanceType,
    JobProvisioningData, JobRuntimeData, JobStatus, Lawful, NetworkMode, Placement, Resources, Run,
    SshConnection, Submission,
};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub submission: SubmissionId,
    pub instance: InstanceId,
    pub blocks: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignJobs {
    pub run: RunId,
    pub assignments: Vec<Assignment>,
}

impl AssignJobs {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.run(self.run).cloned();
        let mut run = found
            .ok_or_else(|| Rejection::stale("The run is gone"))?
            .as_ref()
            .clone();
        if !run.status.is_active() {
            return Err(Rejection::stale(format!("Run {} is not active", run.name)));
        }
        for assignment in &self.assignments {
            let fleet = assign(draft, &run, assignment)?;
            run.fleet_id = Some(fleet);
        }
        draft.put_run(run);
        Ok(Reply::None)
    }
}

fn assign(
    draft: &mut Draft,
    run: &Run,
    order: &Assignment,
) -> Result<crate::ids::FleetId, Rejection> {
    let found = draft
        .submission(order.submission)
        .filter(|s| s.run_id == run.id)
        .cloned();
    let submission = found.ok_or_else(|| Rejection::stale("The job is gone"))?;
    let found = draft.instance(order.instance).cloned();
    let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
    if !placement::has_room(&instance, order.blocks) || instance.project_id != run.project_id {
        return Err(Rejection::stale(format!(
            "Instance {} has no room for {} blocks",
            instance.name, order.blocks
        )));
    }
    hold(draft, run, &submission, &instance, order.blocks)?;
    Ok(instance.fleet_id)
}

/// Gives the job its part of the instance.
pub(super) fn hold(
    draft: &mut Draft,
    run: &Run,
    submission: &Submission,
    instance: &Instance,
    blocks: u32,
) -> Result<(), Rejection> {
    let mut changed = submission.clone();
    give(draft, instance, &mut changed, blocks)?;
    let mut host = instance.clone();
    host.jobs.insert(submission.id);
    host.busy_blocks += blocks;
    settle(draft, &mut host);
    let message = format!(
        "Job assigned to instance. Instance status: {} ({}/{} blocks busy)",
        host.status.shout(),
        host.busy_blocks,
        host.total_blocks.unwrap_or(0)
    );
    let targets = vec![
        events::job(draft, run, &changed),
        events::instance(draft, &host),
    ];
    draft.emit(message, targets, &[run.id.bytes(), host.fleet_id.bytes()]);
    job_end::set_status(draft, run, &mut changed, JobStatus::Provisioning)?;
    draft.put_instance(host);
    draft.put_submission(changed);
    Ok(())
}

/// What the job is told about its part of the instance.
fn give(
    draft: &Draft,
    instance: &Instance,
    submission: &mut Submission,
    blocks: u32,
) -> Result<(), Rejection> {
    let place = place(draft, instance, blocks);
    submission.provisioning_data = Some(provisioning_data(draft, instance)?);
    submission.runtime_data = Some(runtime_data(instance, &place));
    submission.placement = Some(place);
    Ok(())
}

/// The machine came after its jobs: now they are told where it is, and what it has.
pub(super) fn refresh(draft: &mut Draft, instance: &Instance) {
    for id in &instance.jobs {
        let Some(submission) = draft.submission(*id).cloned() else {
            continue;
        };
        let Some(placement) = &submission.placement else {
            continue;
        };
        let mut changed = submission.as_ref().clone();
        if give(draft, instance, &mut changed, placement.blocks).is_ok() {
            draft.put_submission(changed);
        }
    }
}

/// Busy while it has jobs, idle otherwise. An instance that is on its way in or out stays so.
pub(super) fn settle(draft: &mut Draft, instance: &mut Instance) {
    let next = if instance.jobs.is_empty() {
        InstanceStatus::Idle
    } else {
        InstanceStatus::Busy
    };
    if next == instance.status
        || !matches!(instance.status, InstanceStatus::Idle | InstanceStatus::Busy)
    {
        return;
    }
    let message = format!(
        "Instance status changed {} -> {}",
        instance.status.shout(),
        next.shout()
    );
    instance.status = next;
    instance.idle_since = (next == InstanceStatus::Idle).then_some(draft.at);
    let target = events::instance(draft, instance);
    draft.emit(message, vec![target], &[instance.fleet_id.bytes()]);
}

/// The part of the host the job holds.
fn place(draft: &Draft, instance: &Instance, blocks: u32) -> Placement {
    let total = instance.total_blocks.unwrap_or(1).max(1);
    let facts = instance.facts.clone().unwrap_or_default();
    let share = (facts.gpus.len() as u32) * blocks / total;
    let whole = blocks >= total;
    let gpus = match share {
        0 => GpuShare::None,
        _ if whole => GpuShare::All,
        _ => GpuShare::Some(free_gpus(draft, instance, share as usize)),
    };
    Placement {
        instance: instance.id,
        assigned_at: draft.at,
        blocks,
        gpus,
        gpu_count: share,
        cpu_limit: (!whole).then(|| f64::from(facts.cpus) * f64::from(blocks) / f64::from(total)),
        memory_limit_mib: (!whole).then(|| facts.memory_mib * u64::from(blocks) / u64::from(total)),
    }
}

/// The first GPUs of the host that no other job holds.
fn free_gpus(draft: &Draft, instance: &Instance, count: usize) -> Vec<String> {
    let mut held: BTreeSet<String> = BTreeSet::new();
    for job in instance.jobs.iter().filter_map(|id| draft.submission(*id)) {
        if let Some(Placement {
            gpus: GpuShare::Some(uuids),
            ..
        }) = &job.placement
        {
            held.extend(uuids.iter().cloned());
        }
    }
    let facts = instance.facts.as_ref();
    let all = facts.map(|facts| facts.gpus.iter()).into_iter().flatten();
    all.map(|gpu| gpu.uuid.clone())
        .filter(|uuid| !held.contains(uuid))
        .take(count)
        .collect()
}

fn provisioning_data(draft: &Draft, instance: &Instance) -> Result<JobProvisioningData, Rejection> {
    let known = instance.instance_type.clone();
    let instance_type = known
        .ok_or_else(|| Rejection::stale(format!("Instance {} is not known yet", instance.name)))?;
    let facts = instance.facts.as_ref();
    let remote = instance.remote.as_ref();
    let proxy = remote.and_then(|remote| remote.proxy_jump.as_ref());
    Ok(JobProvisioningData {
        backend: instance.backend(),
        base_backend: None,
        instance_type,
        instance_id: instance.name.clone(),
        hostname: remote.map(|remote| remote.hostname.clone()),
        internal_ip: addresses::internal_ip(draft, instance),
        public_ip_enabled: true,
        instance_network: None,
        region: instance.region().to_owned(),
        availability_zone: None,
        reservation: None,
        price: instance.price(),
        username: remote.map(|remote| remote.user.clone()).unwrap_or_default(),
        ssh_port: remote.map(|remote| remote.port),
        dockerized: true,
        ssh_proxy: proxy.map(|proxy| SshConnection {
            hostname: proxy.hostname.clone(),
            username: proxy.user.clone(),
            port: proxy.port,
        }),
        backend_data: None,
        gpu_driver: facts.and_then(|facts| facts.gpu_driver.clone()),
    })
}

fn runtime_data(instance: &Instance, place: &Placement) -> JobRuntimeData {
    let total = instance.total_blocks.unwrap_or(1).max(1);
    let whole = place.blocks >= total;
    JobRuntimeData {
        network_mode: if whole {
            NetworkMode::Host
        } else {
            NetworkMode::Bridge
        },
        gpu: (!whole).then_some(place.gpu_count),
        cpu: place.cpu_limit,
        memory: place.memory_limit_mib.map(|mib| mib as f64 / 1024.0),
        ports: None,
        volume_names: None,
        offer: instance
            .instance_type
            .as_ref()
            .map(|kind| part(instance, kind, place.blocks, Availability::Available)),
        working_dir: None,
        username: None,
    }
}

/// A part of an instance as an offer. The price is the whole instance's.
pub(crate) fn part(
    instance: &Instance,
    kind: &InstanceType,
    blocks: u32,
    availability: Availability,
) -> InstanceOffer {
    let total = instance.total_blocks.unwrap_or(1).max(1);
    let share = |whole: u64| whole * u64::from(blocks) / u64::from(total);
    let whole = &kind.resources;
    let gpus = share(whole.gpus.len() as u64) as usize;
    InstanceOffer {
        backend: instance.backend(),
        instance: InstanceType {
            name: kind.name.clone(),
            resources: Resources {
                cpus: share(u64::from(whole.cpus)) as u32,
                memory_mib: share(whole.memory_mib),
                gpus: whole.gpus.iter().take(gpus).cloned().collect(),
                ..whole.clone()
            },
        },
        region: instance.region().to_owned(),
        price: instance.price(),
        backend_data: Default::default(),
        availability,
        availability_zones: None,
        instance_runtime: InstanceRuntime::Shim,
        blocks,
        total_blocks: total,
    }
}
