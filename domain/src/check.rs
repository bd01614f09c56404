//! Invariants of a state, graded. Used by tests after every entry, by tools, and in production.

use crate::ids::SubmissionId;
use crate::model::{InstanceStatus, JobStatus, RunStatus};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Odd, but harmless.
    Notice,
    /// Something leaks or is stuck.
    Leak,
    /// The state contradicts itself.
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub grade: Grade,
    pub what: String,
}

pub fn check(state: &State) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_instances(state, &mut findings);
    check_submissions(state, &mut findings);
    check_runs(state, &mut findings);
    check_names(state, &mut findings);
    check_ledger(state, &mut findings);
    findings
}

fn broken(findings: &mut Vec<Finding>, what: String) {
    findings.push(Finding {
        grade: Grade::Broken,
        what,
    });
}

fn check_instances(state: &State, findings: &mut Vec<Finding>) {
    for instance in state.instances() {
        let name = &instance.name;
        if state.fleet(instance.fleet_id).is_none() {
            findings.push(Finding {
                grade: Grade::Leak,
                what: format!("instance {name} has no fleet"),
            });
        }
        let total = instance.total_blocks.unwrap_or(0);
        let mut held = 0;
        let mut gpus: BTreeMap<&str, SubmissionId> = BTreeMap::new();
        for id in &instance.jobs {
            let Some(submission) = state.submission(*id) else {
                broken(
                    findings,
                    format!("instance {name} holds the unknown job {id}"),
                );
                continue;
            };
            if submission.status.is_finished() || submission.instance() != Some(instance.id) {
                broken(
                    findings,
                    format!("instance {name} holds job {id}, which ended or is elsewhere"),
                );
            }
            let Some(placement) = &submission.placement else {
                continue;
            };
            held += placement.blocks;
            if let crate::model::GpuShare::Some(uuids) = &placement.gpus {
                for uuid in uuids {
                    if let Some(other) = gpus.insert(uuid, *id) {
                        broken(
                            findings,
                            format!("GPU {uuid} of {name} is held by {other} and {id}"),
                        );
                    }
                }
            }
        }
        if held != instance.busy_blocks || held > total {
            broken(
                findings,
                format!(
                    "instance {name}: jobs hold {held} blocks, {} counted, {total} there",
                    instance.busy_blocks
                ),
            );
        }
        // A machine in a cloud may have jobs before it is there.
        let comes = !instance.is_own_host()
            && matches!(
                instance.status,
                InstanceStatus::Pending | InstanceStatus::Provisioning
            );
        let busy = instance.status == InstanceStatus::Busy;
        if busy == instance.jobs.is_empty() && !comes {
            broken(
                findings,
                format!(
                    "instance {name} is {:?} with {} jobs",
                    instance.status,
                    instance.jobs.len()
                ),
            );
        }
    }
}

fn check_submissions(state: &State, findings: &mut Vec<Finding>) {
    for submission in state.submissions() {
        let id = submission.id;
        if state.run(submission.run_id).is_none() {
            broken(findings, format!("job {id} has no run"));
        }
        let holds = submission
            .instance()
            .and_then(|instance| state.instance(instance));
        let held = holds.is_some_and(|instance| instance.jobs.contains(&id));
        let should = submission.placement.is_some() && !submission.status.is_finished();
        if held != should {
            broken(
                findings,
                format!(
                    "job {id} is {:?}, held by its instance: {held}",
                    submission.status
                ),
            );
        }
        let placed = !matches!(
            submission.status,
            JobStatus::Provisioning | JobStatus::Pulling | JobStatus::Running
        );
        if !placed && submission.placement.is_none() {
            broken(
                findings,
                format!("job {id} is {:?} without a machine", submission.status),
            );
        }
        if submission.status.is_finished() != submission.finished_at.is_some() {
            broken(
                findings,
                format!(
                    "job {id} is {:?}, end recorded: {:?}",
                    submission.status, submission.finished_at
                ),
            );
        }
    }
}

fn check_runs(state: &State, findings: &mut Vec<Finding>) {
    let finished: BTreeSet<_> = state.finished_runs().map(|run| run.id).collect();
    for run in state.runs_newest_first() {
        let name = &run.name;
        let over = run.status.is_finished();
        if over
            && state
                .submissions_of(run.id)
                .any(|submission| !submission.status.is_finished())
        {
            broken(
                findings,
                format!("run {name} is {:?} while a job of it is not", run.status),
            );
        }
        if over != finished.contains(&run.id) || over != run.finished_at.is_some() {
            broken(
                findings,
                format!(
                    "run {name} is {:?}, the index of finished runs disagrees",
                    run.status
                ),
            );
        }
        if run.deleted && !over {
            broken(findings, format!("run {name} is deleted but not over"));
        }
        let waits_for_nothing = run.status == RunStatus::Pending
            && run.retry_at.is_none()
            && run.next_triggered_at.is_none();
        if waits_for_nothing && !run.jobs.is_empty() {
            findings.push(Finding {
                grade: Grade::Leak,
                what: format!("run {name} waits for nothing"),
            });
        }
    }
}

fn check_names(state: &State, findings: &mut Vec<Finding>) {
    let mut names = BTreeSet::new();
    for run in state.runs_newest_first().filter(|run| !run.deleted) {
        if !names.insert((run.project_id, run.name.clone())) {
            broken(findings, format!("two runs are named {}", run.name));
        }
    }
    let mut hosts = BTreeSet::new();
    let own = state.instances().filter(|instance| instance.is_own_host());
    for remote in own.filter_map(|instance| instance.remote.as_ref()) {
        if !hosts.insert(remote.address()) {
            broken(
                findings,
                format!("host {} is in two places", remote.address()),
            );
        }
    }
}

/// Everything that may lie in an account has a record, and every record an owner who will see to its end.
fn check_ledger(state: &State, findings: &mut Vec<Finding>) {
    let mut keys = BTreeSet::new();
    for intent in state.intents() {
        let key = &intent.key;
        if !keys.insert((intent.project_id, intent.kind(), key.clone())) {
            broken(findings, format!("two records are named {key}"));
        }
        if intent.issued_at.is_none() && intent.may_exist() && intent.fleet_id.is_some() {
            broken(findings, format!("{key} may exist, but was never issued"));
        }
        if intent.fleet_id.is_some_and(|id| state.fleet(id).is_none()) {
            let what = format!("{key} has no fleet");
            findings.push(Finding {
                grade: Grade::Leak,
                what,
            });
        }
        if let Some(instance) = intent.instance()
            && state.instance(instance).is_none()
        {
            let what = format!("machine {key} has no instance");
            findings.push(Finding {
                grade: Grade::Leak,
                what,
            });
        }
        if intent.fabric().is_some_and(|id| state.intent(id).is_none()) {
            broken(
                findings,
                format!("machine {key} is in a fabric without a record"),
            );
        }
    }
    for instance in state.instances() {
        let record = instance.made.as_ref().and_then(|made| made.intent);
        if record.is_some_and(|id| state.intent(id).is_none()) {
            let name = &instance.name;
            broken(findings, format!("the machine of {name} has no record"));
        }
    }
}
