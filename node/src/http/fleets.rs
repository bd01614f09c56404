//! Fleets.

use std::sync::Arc;

use axum::extract::{Path, State};
use dstack_api::http::fleets::{
    ApplyFleet, DeleteFleetInstances, DeleteFleets, Fleet, FleetStatus, GetFleet, ListFleets,
    ListProjectFleets, MOST_FLEETS,
};
use dstack_domain::command::{self, FleetVersion, Reply};
use dstack_domain::ids::FleetId;
use dstack_domain::model;
use dstack_domain::spec::FleetSpec;

use super::access::{Need, Scope, visible};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::{Body, MaybeBody};
use super::convert;
use super::errors::HttpError;
use super::fleet_plans::{check_backends, effective, orders};
use super::paging::Page;
use super::repetition::{self, Known};
use super::request_id::{self, ClientRequest};
use crate::context::Context;
use crate::env;

/// All fleets of a project.
pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    MaybeBody(_request): MaybeBody<ListProjectFleets>,
) -> Outcome<Vec<Fleet>> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let fleets = scope.state().fleets_of(scope.project_id());
    let shown = fleets
        .map(|fleet| convert::fleet(scope.state(), fleet))
        .collect();
    Ok(Answer::new(shown, scope.view.revision))
}

/// The fleets of all projects the caller is in.
pub async fn list_all(
    State(context): State<Context>,
    caller: Caller,
    MaybeBody(request): MaybeBody<ListFleets>,
) -> Outcome<Vec<Fleet>> {
    let (caller, view) = caller.fresh(&context).await?;
    let page = Page::new(
        request.prev_created_at,
        request.prev_id,
        request.limit,
        MOST_FLEETS,
        request.ascending,
    )?;
    let state = &view.state;
    let wanted = |name: &str| {
        request
            .project_name
            .as_ref()
            .is_none_or(|other| other.eq_ignore_ascii_case(name))
    };
    let projects = visible(state, &caller.user).filter(|project| wanted(&project.name));
    let mut rows: Vec<_> = projects
        .flat_map(|project| state.fleets_of(project.id))
        .collect();
    rows.retain(|fleet| !request.only_active || fleet.status != FleetStatus::Terminated);
    let rows = page.take(rows, |fleet| (fleet.created_at, fleet.id.0));
    let fleets = rows
        .into_iter()
        .map(|fleet| convert::fleet(state, fleet))
        .collect();
    Ok(Answer::new(fleets, view.revision))
}

pub async fn get(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetFleet>,
) -> Outcome<Fleet> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let state = scope.state();
    let found = match (&request.name, request.id) {
        (Some(name), _) => state.fleet_by_name(scope.project_id(), name),
        (None, Some(id)) => state
            .fleet(FleetId::from(id))
            .filter(|fleet| fleet.project_id == scope.project_id()),
        (None, None) => return Err(HttpError::refused("Either name or id must be given")),
    };
    let fleet = found.ok_or_else(|| HttpError::absent("Fleet not found"))?;
    Ok(Answer::new(
        convert::fleet(state, fleet),
        scope.view.revision,
    ))
}

pub async fn apply(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<ApplyFleet>,
) -> Outcome<Fleet> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let spec = effective(&request.plan.spec)?;
    let hosts = orders(&context, &request.plan.spec)?;
    check_backends(&scope, &spec)?;
    let existing = spec
        .configuration
        .name
        .as_deref()
        .and_then(|name| scope.state().fleet_by_name(scope.project_id(), name));
    let planned = request.plan.current_resource.as_ref();
    let command = command::ApplyFleet {
        project: scope.project_id(),
        fleet: FleetId::from(env::uuid()),
        current: existing.and_then(|fleet| version_planned_for(fleet, planned)),
        spec,
        hosts,
        force: request.force,
        name_seed: request_id::seed(),
    };
    let id = match known(&scope, &request_id, &request, &command.spec) {
        Known::Made(fleet) => {
            return Ok(Answer::new(
                convert::fleet(scope.state(), &fleet),
                scope.view.revision,
            ));
        }
        Known::New(id) => id,
    };
    let accepted = scope.submit(&context, id, command).await?;
    let Reply::Fleet(fleet) = accepted.reply else {
        return Err(HttpError::Internal);
    };
    let fleet = scope
        .state()
        .fleet(fleet)
        .ok_or_else(|| HttpError::absent("Fleet not found"))?;
    Ok(Answer::new(
        convert::fleet(scope.state(), fleet),
        scope.view.revision,
    ))
}

/// A named fleet that is created twice within moments is the same one. An update is not looked
/// for: applied twice it is refused as made for an older fleet, which is safe and says so.
fn known(
    scope: &Scope,
    request_id: &ClientRequest,
    request: &ApplyFleet,
    spec: &FleetSpec,
) -> Known<Arc<model::Fleet>> {
    if request_id.is_named()
        || spec.configuration.name.is_none()
        || request.plan.current_resource.is_some()
    {
        return Known::New(request_id.id(scope.user_id()));
    }
    let content = serde_json::to_vec(request).unwrap_or_default();
    let (state, now) = (scope.state(), env::now());
    let counts = |fleet: &Arc<model::Fleet>| {
        let young = now.duration_since(fleet.created_at) < repetition::WINDOW;
        young && fleet.status == FleetStatus::Active && *fleet.spec == *spec
    };
    repetition::resolve(
        state,
        request_id.id_by_content(scope.user_id(), &content),
        |reply| match reply {
            Reply::Fleet(id) => state.fleet(*id).filter(|fleet| counts(fleet)).cloned(),
            _ => None,
        },
    )
}

/// The present version, when the plan was made for it: same fleet, same specification in normal
/// form. The client's copy is never compared byte by byte, it comes back rewritten.
fn version_planned_for(
    fleet: &model::Fleet,
    planned: Option<&dstack_api::http::fleets::FleetSnapshot>,
) -> Option<FleetVersion> {
    let planned = planned?;
    let same =
        planned.id == fleet.id.0 && effective(&planned.spec).is_ok_and(|spec| spec == *fleet.spec);
    same.then_some(FleetVersion {
        fleet: fleet.id,
        version: fleet.version,
    })
}

/// Returns at once; the hosts are released in the background, then the fleet is gone.
pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<DeleteFleets>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let command = command::DeleteFleets {
        project: scope.project_id(),
        names: request.names,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}

pub async fn delete_instances(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Path(project): Path<String>,
    Body(request): Body<DeleteFleetInstances>,
) -> Outcome<()> {
    let mut scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let command = command::DeleteInstances {
        project: scope.project_id(),
        fleet: request.name,
        instance_nums: request.instance_nums,
    };
    let accepted = scope
        .submit(&context, request_id.id(caller.id()), command)
        .await?;
    Ok(Answer::done(accepted.revision))
}
