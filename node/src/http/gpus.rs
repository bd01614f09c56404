//! `gpus/list`: what `dstack offer --group-by` shows.

use axum::extract::{Path, State};
use dstack_api::http::gpus::{GpuList, GroupBy, ListGpus};
use dstack_domain::spec::RunSpec;
use dstack_domain::spec::expand::plan_jobs;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::Body;
use super::errors::HttpError;
use super::offer_groups::{By, cpus, gpus};
use super::{offers, run_plans};
use crate::context::Context;

pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<ListGpus>,
) -> Outcome<GpuList> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let by = by(request.group_by.as_deref().unwrap_or_default())?;
    let spec = run_plans::effective(&scope, &request.run_spec)?;
    let jobs = plan_jobs("offers", &spec);
    let offers = match jobs.first() {
        Some(job) => offers::everywhere(&context, &scope, &spec, job).await,
        None => Vec::new(),
    };
    let list = if wants_no_gpu(&spec) {
        GpuList {
            gpus: Vec::new(),
            cpus: Some(cpus(&offers, by, request.reverse)),
        }
    } else {
        GpuList {
            gpus: gpus(&offers, by, request.reverse),
            cpus: None,
        }
    };
    Ok(Answer::new(list, scope.view.revision))
}

fn by(words: &[GroupBy]) -> Result<By, HttpError> {
    let by = By {
        backend: words.contains(&GroupBy::Backend),
        region: words.contains(&GroupBy::Region),
        count: words.contains(&GroupBy::Count),
    };
    if by.region && !by.backend {
        return Err(HttpError::refused(
            "Cannot group by 'region' without also grouping by 'backend'",
        ));
    }
    Ok(by)
}

fn wants_no_gpu(spec: &RunSpec) -> bool {
    let gpu = &spec.configuration.common().resources.gpu;
    gpu.as_ref().is_some_and(|gpu| gpu.count.max == Some(0))
}
