//! Fleets.

use dstack_api::http::fleets::Fleet as WireFleet;
use dstack_domain::model::{Fleet, InstanceStatus};
use dstack_domain::state::State;

use super::instance;

/// With the machines that still are; a finished one is only in the events.
pub fn fleet(state: &State, record: &Fleet) -> WireFleet {
    let project = state.project(record.project_id);
    let alive = state
        .instances_of(record.id)
        .filter(|instance| instance.status != InstanceStatus::Terminated);
    WireFleet {
        id: record.id.0,
        name: record.name.clone(),
        project_name: project
            .map(|project| project.name.clone())
            .unwrap_or_default(),
        spec: record.spec.as_ref().clone(),
        created_at: record.created_at.into(),
        status: record.status,
        status_message: record.status_message.clone(),
        instances: alive.map(|record| instance(state, record)).collect(),
    }
}
