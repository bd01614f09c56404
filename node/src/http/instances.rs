//! Machines over all fleets.

use axum::extract::{Path, State};
use dstack_api::http::instances::{GetInstance, Instance, InstanceStatus, ListInstances};
use dstack_domain::ids::InstanceId;

use super::access::{Need, Scope, visible};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::convert;
use super::errors::HttpError;
use super::paging::Page;
use crate::context::Context;

pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    MaybeBody(request): MaybeBody<ListInstances>,
) -> Outcome<Vec<Instance>> {
    let (caller, view) = caller.fresh(&context).await?;
    let page = Page::new(
        request.prev_created_at,
        request.prev_id,
        request.limit,
        u32::MAX,
        request.ascending,
    )?;
    let state = &view.state;
    let wanted = |name: &str| {
        let named =
            |names: &Vec<String>| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        request.project_names.as_ref().is_none_or(named)
    };
    let projects = visible(state, &caller.user).filter(|project| wanted(&project.name));
    let fleets = projects.flat_map(|project| state.fleets_of(project.id));
    let chosen = fleets.filter(|fleet| {
        request
            .fleet_ids
            .as_ref()
            .is_none_or(|ids| ids.contains(&fleet.id.0))
    });
    let mut rows: Vec<_> = chosen
        .flat_map(|fleet| state.instances_of(fleet.id))
        .collect();
    rows.retain(|instance| !request.only_active || instance.status != InstanceStatus::Terminated);
    let rows = page.take(rows, |instance| (instance.created_at, instance.id.0));
    let instances = rows
        .into_iter()
        .map(|instance| convert::instance(state, instance))
        .collect();
    Ok(Answer::new(instances, view.revision))
}

pub async fn get(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetInstance>,
) -> Outcome<Instance> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let found = scope.state().instance(InstanceId::from(request.id));
    let instance = found
        .filter(|instance| instance.project_id == scope.project_id())
        .ok_or_else(|| HttpError::absent("Instance not found"))?;
    Ok(Answer::new(
        convert::instance(scope.state(), instance),
        scope.view.revision,
    ))
}
