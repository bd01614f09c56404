//! Hosts with agents, as the protocol describes them: the agent keeps its last accepted desired
//! set on disk, refuses lower epochs, kills what is no longer wanted, and never starts a job twice.

use super::{World, after};
use dstack_domain::decide::{DesiredPhase, DesiredSet, ObservedJob, ObservedJobs, ObservedPhase};
use dstack_domain::ids::SubmissionId;
use dstack_domain::model::{HostFacts, HostGpu, HostNic};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What the processes of a job do when nobody disturbs them.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub pull_ms: i64,
    pub run_ms: i64,
    pub exit_status: i32,
    /// Whether a polite stop ends them within the grace.
    pub heeds_stop: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            pull_ms: 1000,
            run_ms: 5000,
            exit_status: 0,
            heeds_stop: true,
        }
    }
}

/// One run of a job's processes on a host, with why it ended.
#[derive(Clone, Debug)]
pub struct Process {
    pub submission: SubmissionId,
    pub host: String,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub end: Option<End>,
    pub blocks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    ByItself,
    Stopped,
    /// The machine died.
    HostDied,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub address: String,
    pub facts: HostFacts,
    pub agent: Option<Agent>,
    pub silent_until: Option<Timestamp>,
    pub dead_until: Option<Timestamp>,
    /// Never answers at all, from the first day.
    pub unreachable: bool,
}

/// What the agent has on disk.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    pub epoch: u64,
    pub generation: u64,
    /// What the accepted set asks for.
    pub asked: BTreeSet<SubmissionId>,
    pub jobs: BTreeMap<SubmissionId, AgentJob>,
}

#[derive(Clone, Debug)]
pub struct AgentJob {
    pub accepted: Timestamp,
    pub script: Script,
    pub blocks: u32,
    /// Index into the world's processes.
    pub process: Option<usize>,
    pub stop_at: Option<Timestamp>,
    pub exit: Option<ObservedPhase>,
    /// Not in the desired set any more: forgotten as soon as it is dead.
    pub unwanted: bool,
}

impl Host {
    pub fn new(number: u32) -> Self {
        let gpu = |index| HostGpu {
            vendor: "nvidia".into(),
            name: "H100".into(),
            memory_mib: 81920,
            uuid: format!("GPU-{number}-{index}"),
            index,
        };
        let hostname = format!("10.0.{}.{}", number / 250, number % 250);
        let facts = HostFacts {
            cpus: 64,
            memory_mib: 512 * 1024,
            disk_mib: 1024 * 1024,
            arch: "x86_64".into(),
            hostname: hostname.clone(),
            gpus: (0..8).map(gpu).collect(),
            nics: vec![HostNic {
                name: "eth0".into(),
                addresses: vec![format!("{hostname}/24")],
                speed_mbps: 400_000,
            }],
            ..HostFacts::default()
        };
        Self {
            address: format!("{hostname}:22"),
            facts,
            agent: None,
            silent_until: None,
            dead_until: None,
            unreachable: false,
        }
    }

    pub fn answers(&self) -> bool {
        !self.unreachable && self.silent_until.is_none() && self.dead_until.is_none()
    }

    pub fn observed(&self) -> Option<ObservedJobs> {
        let agent = self.agent.as_ref()?;
        let jobs = agent.jobs.iter().map(|(submission, job)| ObservedJob {
            submission: *submission,
            phase: job.phase(),
            ports: BTreeMap::new(),
            container_user: Some("root".into()),
            idle: false,
            working_dir: Some("/workflow".into()),
        });
        Some(ObservedJobs {
            epoch: agent.epoch,
            generation: agent.generation,
            asked: agent.asked.clone(),
            jobs: jobs.collect(),
        })
    }
}

/// Killing takes a moment.
const DEATH_MS: i64 = 2000;

impl AgentJob {
    fn kill(&mut self, now: Timestamp) {
        let at = after(now, if self.process.is_some() { DEATH_MS } else { 0 });
        self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn phase(&self) -> ObservedPhase {
        match (&self.exit, self.process) {
            (Some(exit), _) => exit.clone(),
            (None, Some(_)) => ObservedPhase::Running { started_at: None },
            (None, None) => ObservedPhase::Accepted,
        }
    }
}

impl World {
    pub(super) fn tick_hosts(&mut self) {
        let addresses: Vec<String> = self.hosts.keys().cloned().collect();
        for address in addresses {
            self.misfortune(&address);
            self.tick_host(&address);
        }
    }

    fn misfortune(&mut self, address: &str) {
        let (faults, now) = (self.faults, self.now);
        let goes_silent = self.rng.chance(faults.silence);
        let silence = after(now, self.rng.between(1_000, 100_000) as i64);
        let dies = self.rng.chance(faults.host_death);
        let rebirth = after(now, self.rng.between(5_000, 300_000) as i64);
        let Some(host) = self.hosts.get_mut(address) else {
            return;
        };
        host.silent_until = host
            .silent_until
            .filter(|until| *until > now)
            .or(goes_silent.then_some(silence));
        host.dead_until = host.dead_until.filter(|until| *until > now);
        if dies && host.dead_until.is_none() {
            self.kill_host(address, Some(rebirth));
        }
    }

    /// The machine dies; its agent's disk survives, the processes do not.
    pub fn kill_host(&mut self, address: &str, until: Option<Timestamp>) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(address) else {
            return;
        };
        host.dead_until = Some(until.unwrap_or(Timestamp::MAX));
        let Some(agent) = &mut host.agent else { return };
        for job in agent.jobs.values_mut().filter(|job| job.exit.is_none()) {
            if let Some(process) = job.process.and_then(|at| self.processes.get_mut(at)) {
                process.ended = Some(now);
                process.end = Some(End::HostDied);
            }
            job.exit = Some(ObservedPhase::Exited {
                exit_status: None,
                signal: Some(9),
                reason: Some("executor_error".into()),
                message: Some("The host was restarted".into()),
                at: now,
            });
        }
    }

    fn tick_host(&mut self, address: &str) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(address) else {
            return;
        };
        if host.dead_until.is_some() {
            return;
        }
        let Some(agent) = &mut host.agent else { return };
        for (submission, job) in &mut agent.jobs {
            if job.exit.is_some() {
                continue;
            }
            let begin = after(job.accepted, job.script.pull_ms);
            if job.stop_at.is_some_and(|at| at <= now) {
                end_job(&mut self.processes, job, now, None);
            } else if job.process.is_none() && begin <= now && job.stop_at.is_none() {
                job.process = Some(self.processes.len());
                self.processes.push(Process {
                    submission: *submission,
                    host: address.to_owned(),
                    started: now,
                    ended: None,
                    end: None,
                    blocks: job.blocks,
                });
            } else if job.process.is_some() && after(begin, job.script.run_ms) <= now {
                let status = job.script.exit_status;
                end_job(&mut self.processes, job, now, Some(status));
            }
        }
        agent
            .jobs
            .retain(|_, job| !(job.unwanted && job.exit.is_some()));
    }

    /// The agent takes a whole desired set, unless it comes from an older leader.
    pub(super) fn accept(&mut self, address: &str, epoch: u64, generation: u64, set: &DesiredSet) {
        let now = self.now;
        let scripts = self.scripts.clone();
        let Some(host) = self.hosts.get_mut(address) else {
            return;
        };
        let blocks_of = |share: u32| if share == 0 { 1 } else { share };
        let Some(agent) = &mut host.agent else { return };
        if epoch < agent.epoch {
            return;
        }
        (agent.epoch, agent.generation) = (epoch, generation);
        let wanted: BTreeSet<SubmissionId> = set.jobs.iter().map(|job| job.submission).collect();
        agent.asked.clone_from(&wanted);
        for (submission, job) in &mut agent.jobs {
            if !wanted.contains(submission) {
                job.unwanted = true;
                job.kill(now);
            }
        }
        for order in &set.jobs {
            let script = scripts
                .get(&(order.run_name.clone(), order.job.job_num))
                .copied()
                .unwrap_or_default();
            let known = agent.jobs.get_mut(&order.submission);
            match (order.phase, known) {
                (DesiredPhase::Run, None) => {
                    let job = AgentJob {
                        accepted: now,
                        script,
                        blocks: blocks_of(order.gpu_count),
                        process: None,
                        stop_at: None,
                        exit: None,
                        unwanted: false,
                    };
                    agent.jobs.insert(order.submission, job);
                }
                (DesiredPhase::Stop { grace_s }, Some(job)) if job.stop_at.is_none() => {
                    let wait = if job.script.heeds_stop {
                        1000
                    } else {
                        i64::from(grace_s) * 1000
                    };
                    job.stop_at = Some(after(now, wait));
                }
                (DesiredPhase::Kill, Some(job)) => job.kill(now),
                _ => {}
            }
        }
    }
}

fn end_job(processes: &mut [Process], job: &mut AgentJob, now: Timestamp, status: Option<i32>) {
    if let Some(process) = job.process.and_then(|at| processes.get_mut(at)) {
        process.ended = Some(now);
        process.end = Some(if status.is_some() {
            End::ByItself
        } else {
            End::Stopped
        });
    }
    let reason = match status {
        Some(0) => "done_by_runner",
        Some(_) => "container_exited_with_error",
        None => "terminated_by_server",
    };
    job.exit = Some(ObservedPhase::Exited {
        exit_status: status.or(Some(130)),
        signal: None,
        reason: Some(reason.into()),
        message: None,
        at: now,
    });
}
