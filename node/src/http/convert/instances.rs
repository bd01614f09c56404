//! Machines of fleets.

use dstack_api::http::instances::Instance as WireInstance;
use dstack_api::http::offers::{Disk, InstanceType, Resources};
use dstack_domain::model::{Instance, Phase};
use dstack_domain::state::State;

/// Until a host was seen, its record shows upstream's placeholder, which tables print as nothing much.
fn unknown_type() -> InstanceType {
    InstanceType {
        name: "ssh".to_owned(),
        resources: Resources {
            cpus: 2,
            memory_mib: 8,
            gpus: Vec::new(),
            spot: false,
            disk: Disk { size_mib: 102_400 },
            cpu_arch: None,
            description: String::new(),
        },
    }
}

pub fn instance(state: &State, record: &Instance) -> WireInstance {
    let project = state.project(record.project_id);
    let fleet = state.fleet(record.fleet_id);
    let kind = match record.is_own_host() {
        true => Some(unknown_type()),
        false => None,
    };
    // While it waits for its next attempt, the last failure is the best answer to "why".
    let message = record
        .termination_message
        .clone()
        .or_else(|| doubt(state, record))
        .or_else(|| record.last_error.clone());
    // Before an offer was chosen there is nothing to say.
    let chosen = record.made.as_ref().map(|made| made.offer.is_some());
    let shown = chosen.unwrap_or(true);
    WireInstance {
        id: record.id.0,
        project_name: project
            .map(|project| project.name.clone())
            .unwrap_or_default(),
        backend: shown.then(|| record.backend()),
        instance_type: record.instance_type.clone().or(kind),
        name: record.name.clone(),
        fleet_id: Some(record.fleet_id.0),
        fleet_name: fleet.map(|fleet| fleet.name.clone()),
        instance_num: record.num,
        job_name: job_name(state, record),
        hostname: record.remote.as_ref().map(|remote| remote.hostname.clone()),
        status: record.status,
        unreachable: record.unreachable,
        health_status: record.health,
        termination_reason: record.termination_reason.and_then(word),
        termination_reason_message: message,
        created: record.created_at.into(),
        finished_at: record.finished_at.map(Into::into),
        region: shown.then(|| record.region().to_owned()),
        availability_zone: None,
        price: shown.then(|| record.price()),
        total_blocks: Some(record.total_blocks.unwrap_or(1)),
        busy_blocks: record.busy_blocks,
        gpu_driver: record
            .facts
            .as_ref()
            .and_then(|facts| facts.gpu_driver.clone()),
    }
}

/// What is not known of its machine, and what that may cost.
fn doubt(state: &State, record: &Instance) -> Option<String> {
    let intent = state.intent(record.made.as_ref()?.intent?)?;
    let why = intent.last_error.as_deref()?;
    if intent.phase != Phase::Doubtful {
        return None;
    }
    let price = intent.price();
    Some(format!(
        "Machine {} may be there, at ${price:.2} an hour, and is looked for: {why}",
        intent.key
    ))
}

/// The job that runs here, the first by id when blocks are shared.
fn job_name(state: &State, record: &Instance) -> Option<String> {
    let submission = state.submission(*record.jobs.first()?)?;
    state.job_spec(submission).map(|spec| spec.job_name.clone())
}

/// The word serde writes for an enum of plain words.
fn word<T: serde::Serialize>(value: T) -> Option<String> {
    serde_json::to_value(value)
        .ok()?
        .as_str()
        .map(str::to_owned)
}
