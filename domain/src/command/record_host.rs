//! What became of an attempt to connect or to release a host.

use super::{Outcome, Reply, events};
use crate::ids::InstanceId;
use crate::model::{
    Disk, Gpu, HostFacts, Instance, InstanceReason, InstanceStatus, InstanceType, Lawful, Resources,
};
use crate::rejection::Rejection;
use crate::spec::{Blocks, GpuVendor};
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordHost {
    pub instance: InstanceId,
    /// That of the action; an older attempt's outcome is refused.
    pub generation: u64,
    pub outcome: HostOutcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostOutcome {
    /// Logged in; the agent is being brought up.
    Reached {
        host_key: String,
    },
    Connected(Box<ConnectedHost>),
    Failed {
        reason: String,
    },
}

/// The agent answered and said what the host is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectedHost {
    pub facts: HostFacts,
    pub host_key: Option<String>,
    pub agent_version: String,
    pub runtime: String,
    pub boot_id: String,
}

/// Seconds between attempts: first at once after a glitch, then ever less often.
const RETRY_SECONDS: [i64; 6] = [1, 2, 5, 10, 20, 30];

impl RecordHost {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let found = draft.instance(self.instance).cloned();
        let instance = found.ok_or_else(|| Rejection::stale("The instance is gone"))?;
        if instance.generation != self.generation {
            return Err(Rejection::stale(format!(
                "Instance {} is at generation {}, this outcome is of {}",
                instance.name, instance.generation, self.generation
            )));
        }
        let mut changed = instance.as_ref().clone();
        match &self.outcome {
            HostOutcome::Reached { host_key } => reached(draft, &mut changed, host_key)?,
            HostOutcome::Connected(host) => connected(draft, &mut changed, host)?,
            HostOutcome::Failed { reason } => failed(draft, &mut changed, reason),
        }
        if changed != *instance {
            draft.put_instance(changed);
        }
        Ok(Reply::None)
    }
}

fn reached(draft: &mut Draft, instance: &mut Instance, host_key: &str) -> Result<(), Rejection> {
    check_key(instance, host_key)?;
    instance.host_key = Some(host_key.to_owned());
    if instance.status == InstanceStatus::Pending {
        set_status(draft, instance, InstanceStatus::Provisioning);
    }
    Ok(())
}

fn check_key(instance: &Instance, host_key: &str) -> Result<(), Rejection> {
    match &instance.host_key {
        Some(known) if known != host_key => Err(Rejection::error(format!(
            "Host {} shows another host key than before",
            instance.hostname()
        ))
        .hint("If the host was reinstalled, remove it from the fleet and add it again.")),
        _ => Ok(()),
    }
}

fn connected(
    draft: &mut Draft,
    instance: &mut Instance,
    host: &ConnectedHost,
) -> Result<(), Rejection> {
    if let Some(key) = &host.host_key {
        check_key(instance, key)?;
        instance.host_key = Some(key.clone());
    }
    if instance.status == InstanceStatus::Terminating {
        return Err(Rejection::stale(format!(
            "Instance {} is being released",
            instance.name
        )));
    }
    instance.agent_version = Some(host.agent_version.clone());
    instance.runtime = Some(host.runtime.clone());
    instance.boot_id = Some(host.boot_id.clone());
    instance.facts = Some(host.facts.clone());
    instance.attempts = 0;
    instance.retry_at = None;
    instance.last_error = None;
    instance.generation += 1;
    if matches!(
        instance.status,
        InstanceStatus::Pending | InstanceStatus::Provisioning
    ) {
        let split = match instance.total_blocks {
            Some(blocks) => Ok(blocks),
            None => split(instance.requested_blocks, &host.facts),
        };
        match split {
            Ok(blocks) => {
                instance.total_blocks = Some(blocks);
                if instance.is_own_host() {
                    instance.instance_type = Some(instance_type(&host.facts));
                }
                welcome(draft, instance);
            }
            Err(message) => {
                instance.termination_reason = Some(InstanceReason::Error);
                instance.termination_message = Some(message.clone());
                instance.last_error = Some(message);
                set_status(draft, instance, InstanceStatus::Terminating);
            }
        }
    }
    Ok(())
}

/// Idle, or busy with the jobs that waited for it.
fn welcome(draft: &mut Draft, instance: &mut Instance) {
    if instance.jobs.is_empty() {
        instance.idle_since = Some(draft.at);
        set_status(draft, instance, InstanceStatus::Idle);
    } else {
        set_status(draft, instance, InstanceStatus::Busy);
        super::assign_jobs::refresh(draft, instance);
    }
}

fn failed(draft: &mut Draft, instance: &mut Instance, reason: &str) {
    let step = (instance.attempts as usize).min(RETRY_SECONDS.len() - 1);
    let wait = RETRY_SECONDS.get(step).copied().unwrap_or(30);
    let news = instance.last_error.as_deref() != Some(reason);
    instance.attempts = instance.attempts.saturating_add(1);
    instance.generation += 1;
    instance.last_error = Some(reason.to_owned());
    instance.retry_at = Some(
        draft
            .at
            .saturating_add(jiff::SignedDuration::from_secs(wait))
            .unwrap_or(draft.at),
    );
    if news {
        let verb = if instance.status == InstanceStatus::Terminating {
            "release"
        } else {
            "connect to"
        };
        let target = events::instance(draft, instance);
        draft.emit(
            format!("Failed to {verb} host: {reason}"),
            vec![target],
            &[instance.fleet_id.bytes()],
        );
    }
}

fn set_status(draft: &mut Draft, instance: &mut Instance, next: InstanceStatus) {
    let mut message = format!(
        "Instance status changed {} -> {}",
        instance.status.shout(),
        next.shout()
    );
    if let Some(why) = instance
        .termination_message
        .as_ref()
        .filter(|_| next == InstanceStatus::Terminating)
    {
        message.push_str(&format!(". Termination reason: ERROR ({why})"));
    }
    instance.status = next;
    let target = events::instance(draft, instance);
    draft.emit(message, vec![target], &[instance.fleet_id.bytes()]);
}

/// Into how many equal blocks the host is split; CPUs and GPUs must divide evenly.
fn split(requested: Blocks, facts: &HostFacts) -> Result<u32, String> {
    let (cpus, gpus) = (facts.cpus.max(1), facts.gpus.len() as u32);
    let blocks = match requested {
        Blocks::Count(count) => count.max(1),
        Blocks::Auto if gpus > 0 => gpus.min(cpus),
        Blocks::Auto => cpus,
    };
    if cpus % blocks != 0 || gpus % blocks != 0 {
        return Err(format!(
            "Cannot split into blocks: {cpus} CPUs and {gpus} GPUs do not divide by {blocks}"
        ));
    }
    Ok(blocks)
}

fn instance_type(facts: &HostFacts) -> InstanceType {
    let vendor = |text: &str| GpuVendor::parse(text).map(|vendor| vendor.as_str().to_owned());
    let gpus = facts.gpus.iter().map(|gpu| Gpu {
        name: gpu_name(&gpu.name),
        memory_mib: gpu.memory_mib,
        vendor: vendor(&gpu.vendor),
    });
    let arch = match facts.arch.as_str() {
        "x86_64" | "amd64" | "x86" => Some("x86"),
        "aarch64" | "arm64" | "arm" => Some("arm"),
        _ => None,
    };
    InstanceType {
        name: "ssh".into(),
        resources: Resources {
            cpus: facts.cpus,
            memory_mib: facts.memory_mib,
            gpus: gpus.collect(),
            spot: false,
            disk: Disk {
                size_mib: facts.disk_mib,
            },
            cpu_arch: arch.map(str::to_owned),
            description: String::new(),
        },
    }
}

/// The name users write (`H100`), from what drivers say (`NVIDIA H100 80GB HBM3`).
fn gpu_name(raw: &str) -> String {
    const BRANDS: [&str; 8] = [
        "nvidia", "amd", "intel", "tesla", "geforce", "instinct", "quadro", "radeon",
    ];
    let words: Vec<&str> = raw
        .split([' ', '-', '_'])
        .filter(|word| !word.is_empty() && !BRANDS.contains(&word.to_ascii_lowercase().as_str()))
        .collect();
    let Some(first) = words.first() else {
        return raw.to_owned();
    };
    let mut name = (*first).to_owned();
    let mut rest = words.iter().skip(1).peekable();
    if matches!(first.to_ascii_uppercase().as_str(), "RTX" | "GTX") {
        while let Some(word) =
            rest.next_if(|word| **word == "PRO" || word.starts_with(|c: char| c.is_ascii_digit()))
        {
            name.push_str(word);
        }
    }
    for suffix in ["Ada", "NVL"] {
        if rest.clone().any(|word| *word == suffix) {
            name.push_str(suffix);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_named_as_users_name_them() {
        for (raw, name) in [
            ("NVIDIA H100 80GB HBM3", "H100"),
            ("NVIDIA A100-SXM4-80GB", "A100"),
            ("NVIDIA H100 NVL", "H100NVL"),
            ("NVIDIA GeForce RTX 4090", "RTX4090"),
            ("NVIDIA RTX 6000 Ada Generation", "RTX6000Ada"),
            ("Tesla T4", "T4"),
            ("AMD Instinct MI300X OAM", "MI300X"),
            ("H100", "H100"),
            ("NVIDIA", "NVIDIA"),
        ] {
            assert_eq!(gpu_name(raw), name);
        }
    }

    #[test]
    fn a_host_splits_only_evenly() {
        let facts = |cpus: u32| HostFacts {
            cpus,
            ..HostFacts::default()
        };
        assert_eq!(split(Blocks::Count(1), &facts(3)), Ok(1));
        assert_eq!(split(Blocks::Auto, &facts(6)), Ok(6));
        assert!(split(Blocks::Count(4), &facts(6)).is_err());
    }
}
