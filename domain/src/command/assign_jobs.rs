//! Placing jobs on machines: all of a group or none.

use super::{Outcome, Reply, events, job_end};
use crate::decide::{addresses, placement};
use crate::ids::{InstanceId, RunId, SubmissionId};
use crate::model::{
    Availability, GpuShare, Instance, InstanceOffer, InstanceRuntime, InstanceStatus, InstanceType,
    JobProvisioningData, JobRuntimeData, JobStatus, Lawful, NetworkMode, Placement, Resources, Run,
    SshConnection,
};
use crate::rejection::Rejection;
use crate::spec::BackendType;
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
    let place = place(draft, &instance, order);
    let mut changed = submission.as_ref().clone();
    changed.provisioning_data = Some(provisioning_data(draft, &instance)?);
    changed.runtime_data = Some(runtime_data(&instance, &place));
    changed.placement = Some(place);
    let mut host = instance.as_ref().clone();
    host.jobs.insert(submission.id);
    host.busy_blocks += order.blocks;
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
    Ok(instance.fleet_id)
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
fn place(draft: &Draft, instance: &Instance, order: &Assignment) -> Placement {
    let total = instance.total_blocks.unwrap_or(1).max(1);
    let facts = instance.facts.clone().unwrap_or_default();
    let share = (facts.gpus.len() as u32) * order.blocks / total;
    let whole = order.blocks >= total;
    let gpus = match share {
        0 => GpuShare::None,
        _ if whole => GpuShare::All,
        _ => GpuShare::Some(free_gpus(draft, instance, share as usize)),
    };
    Placement {
        instance: instance.id,
        assigned_at: draft.at,
        blocks: order.blocks,
        gpus,
        gpu_count: share,
        cpu_limit: (!whole)
            .then(|| f64::from(facts.cpus) * f64::from(order.blocks) / f64::from(total)),
        memory_limit_mib: (!whole)
            .then(|| facts.memory_mib * u64::from(order.blocks) / u64::from(total)),
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
    let proxy = instance.remote.proxy_jump.as_ref();
    Ok(JobProvisioningData {
        backend: BackendType::Remote,
        base_backend: None,
        instance_type,
        instance_id: instance.name.clone(),
        hostname: Some(instance.remote.hostname.clone()),
        internal_ip: addresses::internal_ip(draft, instance),
        public_ip_enabled: true,
        instance_network: None,
        region: "remote".into(),
        availability_zone: None,
        reservation: None,
        price: 0.0,
        username: instance.remote.user.clone(),
        ssh_port: Some(instance.remote.port),
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
            .map(|kind| offer(kind, place.blocks, total, Availability::Available)),
        working_dir: None,
        username: None,
    }
}

/// A part of a host as an offer. The price is the whole host's: nothing.
pub(crate) fn offer(
    kind: &InstanceType,
    blocks: u32,
    total: u32,
    availability: Availability,
) -> InstanceOffer {
    let share = |whole: u64| whole * u64::from(blocks) / u64::from(total.max(1));
    let whole = &kind.resources;
    let gpus = share(whole.gpus.len() as u64) as usize;
    InstanceOffer {
        backend: BackendType::Remote,
        instance: InstanceType {
            name: kind.name.clone(),
            resources: Resources {
                cpus: share(u64::from(whole.cpus)) as u32,
                memory_mib: share(whole.memory_mib),
                gpus: whole.gpus.iter().take(gpus).cloned().collect(),
                ..whole.clone()
            },
        },
        region: "remote".into(),
        price: 0.0,
        backend_data: Default::default(),
        availability,
        availability_zones: None,
        instance_runtime: InstanceRuntime::Shim,
        blocks,
        total_blocks: total,
    }
}
