//! What applying a run would do. The offers come from the function that places jobs, so a plan
//! shows what would happen.

use axum::extract::{Path, State};
use dstack_api::http::runs::{
    ApplyAction, DEFAULT_OFFERS, GetRunPlan, JobPlan, MOST_OFFERS, RunPlan,
};
use dstack_domain::spec::{JobSpec, MountPoint, RunConfiguration, RunSpec, diff, validate};
use dstack_domain::spec::{effective::effective_run, expand::plan_jobs};

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::Body;
use super::convert::{self, Shown};
use super::errors::HttpError;
use crate::context::Context;
use crate::env;

/// The name in plans of runs that have none.
const UNNAMED: &str = "dry-run";

pub async fn get_plan(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetRunPlan>,
) -> Outcome<RunPlan> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let most = request.max_offers.unwrap_or(DEFAULT_OFFERS);
    if most == 0 || most > MOST_OFFERS {
        return Err(HttpError::invalid(
            "max_offers",
            format!("Input should be from 1 to {MOST_OFFERS}"),
        ));
    }
    let effective = effective(&scope, &request.run_spec)?;
    let state = scope.state();
    let existing = effective
        .run_name
        .as_deref()
        .and_then(|name| state.run_by_name(scope.project_id(), name));
    let fits = existing.is_some_and(|run| {
        !run.status.is_finished() && diff::run_update(&run.spec, &effective).is_possible()
    });
    let shown = Shown {
        jobs: true,
        submissions: usize::MAX,
        connection: true,
        now: env::now(),
    };
    let jobs = plan_jobs(effective.run_name.as_deref().unwrap_or(UNNAMED), &effective);
    let mut job_plans = Vec::with_capacity(jobs.len());
    for job in jobs {
        job_plans.push(job_plan(&context, &scope, &effective, job, &request).await);
    }
    let plan = RunPlan {
        project_name: scope.project.name.clone(),
        user: scope.user().username.clone(),
        job_plans,
        current_resource: existing.map(|run| convert::run(state, run, shown)),
        action: if fits {
            ApplyAction::Update
        } else {
            ApplyAction::Create
        },
        effective_run_spec: Some(effective),
        run_spec: request.run_spec,
    };
    Ok(Answer::new(plan, scope.view.revision))
}

/// Checked, with everything filled in that the client left to the server.
pub fn effective(scope: &Scope, spec: &RunSpec) -> Result<RunSpec, HttpError> {
    validate::run(&spec.configuration).map_err(|error| HttpError::refused(error.one_line()))?;
    if spec.repo_id.is_some() != spec.repo_data.is_some() {
        return Err(HttpError::refused(
            "`repo_id` and `repo_data` belong together: give both or neither",
        ));
    }
    check_kind(&spec.configuration)?;
    for mount in &spec.configuration.common().volumes {
        if let MountPoint::Volume { name, .. } = mount {
            let names = name.as_slice().join(", ");
            return Err(HttpError::refused(format!(
                "Volume {names} not found. This server does not support volumes; use `instance_path` mounts of the host."
            )));
        }
    }
    Ok(effective_run(spec, scope.user().ssh_public_key.as_deref()))
}

fn check_kind(configuration: &RunConfiguration) -> Result<(), HttpError> {
    match configuration {
        RunConfiguration::Task(_) | RunConfiguration::DevEnvironment(_) => Ok(()),
        RunConfiguration::Service(_) => Err(HttpError::refused(
            "This server does not run services yet. Write the work as a task and forward its port with `dstack attach`.",
        )),
    }
}

async fn job_plan(
    context: &Context,
    scope: &Scope,
    spec: &RunSpec,
    job: JobSpec,
    request: &GetRunPlan,
) -> JobPlan {
    let mut offers = match request.for_offers_only {
        true => super::offers::everywhere(context, scope, spec, &job).await,
        false => super::offers::reachable(context, scope, spec, &job).await,
    };
    if request.reverse_offers {
        offers.reverse();
    }
    let total_offers = offers.len() as u64;
    let max_price = offers.iter().map(|offer| offer.price).reduce(f64::max);
    offers.truncate(request.max_offers.unwrap_or(DEFAULT_OFFERS) as usize);
    JobPlan {
        job_spec: job,
        offers,
        total_offers,
        max_price,
    }
}
