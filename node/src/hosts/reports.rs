//! From the agent protocol to the words of the domain.

use dstack_api::agent::{self, HostFacts, phase};
use dstack_domain::decide::{ObservedJob, ObservedJobs, ObservedPhase};
use dstack_domain::ids::SubmissionId;
use dstack_domain::model;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Jobs with ids that are none of ours are left out.
/// `asked` is what the set of that generation asked for.
pub fn observed(observed: &agent::Observed, asked: BTreeSet<SubmissionId>) -> ObservedJobs {
    ObservedJobs {
        epoch: observed.epoch,
        generation: observed.generation,
        asked,
        jobs: observed.jobs.iter().filter_map(job).collect(),
    }
}

fn job(job: &agent::ObservedJob) -> Option<ObservedJob> {
    let submission: SubmissionId = job.submission_id.parse().ok()?;
    let phase = match job.phase.as_str() {
        // Waiting for archives is a part of being accepted that only the hands care about.
        phase::ACCEPTED | phase::WAITING_ARCHIVES => ObservedPhase::Accepted,
        phase::PULLING => ObservedPhase::Pulling {
            progress: job.pull.map(progress),
        },
        phase::CREATING => ObservedPhase::Creating,
        phase::RUNNING => ObservedPhase::Running {
            started_at: micros(job.started_at_us),
        },
        phase::EXITED => ObservedPhase::Exited {
            exit_status: job.has_exit_status.then_some(job.exit_status),
            signal: (job.signal != 0).then_some(job.signal),
            reason: text(&job.reason),
            message: text(&job.message),
            at: micros(job.finished_at_us).unwrap_or(Timestamp::UNIX_EPOCH),
        },
        other => {
            tracing::warn!(%submission, phase = other, "the agent speaks of a phase this version does not know");
            return None;
        }
    };
    let port = |(inside, outside): (&u32, &u32)| {
        Some((u16::try_from(*inside).ok()?, u16::try_from(*outside).ok()?))
    };
    Some(ObservedJob {
        submission,
        phase,
        ports: job.ports.iter().filter_map(port).collect(),
        container_user: text(&job.user),
        idle: job.idle,
        working_dir: text(&job.working_dir),
    })
}

fn progress(progress: agent::PullProgress) -> model::PullProgress {
    model::PullProgress {
        downloaded_bytes: progress.downloaded,
        extracted_bytes: progress.extracted,
        total_bytes: progress.total,
        is_total_bytes_final: progress.total_final,
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn micros(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_microsecond(micros).ok())?
}

pub fn facts(facts: HostFacts) -> model::HostFacts {
    let gpus: Vec<model::HostGpu> = facts.gpus.into_iter().map(gpu).collect();
    let driver = text(&facts.gpu_driver).map(|version| model::GpuDriver {
        vendor: gpus.first().map(|gpu| gpu.vendor.clone()),
        version,
    });
    model::HostFacts {
        cpus: facts.cpus,
        memory_mib: facts.memory_mib,
        disk_mib: facts.disk_mib,
        arch: facts.arch,
        hostname: facts.hostname,
        gpu_driver: driver,
        gpus,
        nics: facts.nics.into_iter().map(nic).collect(),
        infiniband: facts.infiniband,
        kernel: facts.kernel,
        os: facts.os,
    }
}

fn gpu(gpu: agent::Gpu) -> model::HostGpu {
    model::HostGpu {
        vendor: gpu.vendor,
        name: gpu.name,
        memory_mib: gpu.memory_mib,
        uuid: gpu.uuid,
        index: gpu.index,
    }
}

fn nic(nic: agent::Nic) -> model::HostNic {
    model::HostNic {
        name: nic.name,
        addresses: nic.addresses,
        speed_mbps: nic.speed_mbps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(phase: &str) -> agent::ObservedJob {
        agent::ObservedJob {
            submission_id: "7e3e3f0e-3f6c-4c39-9b7e-111111111111".into(),
            phase: phase.into(),
            has_exit_status: true,
            exit_status: 3,
            finished_at_us: 5,
            ports: [(8000, 33000), (70_000, 1)].into(),
            ..agent::ObservedJob::default()
        }
    }

    #[test]
    fn what_the_agent_says_is_understood() {
        let all = agent::Observed {
            epoch: 4,
            generation: 2,
            jobs: vec![
                reported("exited"),
                reported("waiting-archives"),
                reported("dancing"),
                agent::ObservedJob {
                    submission_id: "x".into(),
                    ..reported("running")
                },
            ],
        };
        let all = observed(&all, BTreeSet::new());
        assert_eq!((all.epoch, all.generation, all.jobs.len()), (4, 2, 2));
        let at = Timestamp::from_microsecond(5).unwrap();
        let (exit_status, signal, reason, message) = (Some(3), None, None, None);
        assert_eq!(
            all.jobs[0].phase,
            ObservedPhase::Exited {
                exit_status,
                signal,
                reason,
                message,
                at
            }
        );
        assert_eq!(all.jobs[0].ports, [(8000, 33000)].into());
        assert_eq!(all.jobs[1].phase, ObservedPhase::Accepted);
    }
}
