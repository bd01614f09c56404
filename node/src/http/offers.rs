//! Where a job could run, asked of the function that places it.

use dstack_api::http::offers::InstanceOffer;
use dstack_domain::decide::cloud_offers::{better, suitable};
use dstack_domain::decide::growth;
use dstack_domain::decide::placement::{self, Wishes};
use dstack_domain::spec::{JobSpec, ProfileParams, RunSpec};

use super::access::Scope;
use crate::context::Context;

/// All offers of the project's fleets for one job, the usable ones first.
pub fn offers(scope: &Scope, spec: &RunSpec, job: &JobSpec) -> Vec<InstanceOffer> {
    let profile = spec.merged_profile();
    placement::offers(scope.state(), &wishes(scope, &profile), job)
        .into_iter()
        .map(|offer| offer.offer)
        .collect()
}

fn wishes<'a>(scope: &Scope, profile: &'a ProfileParams) -> Wishes<'a> {
    Wishes {
        project: scope.project_id(),
        profile,
        fleet: None,
    }
}

/// As [`offers`], with what the project's fleets could have made.
pub async fn reachable(
    context: &Context,
    scope: &Scope,
    spec: &RunSpec,
    job: &JobSpec,
) -> Vec<InstanceOffer> {
    let mut all = offers(scope, spec, job);
    let state = scope.state();
    if state.backends_of(scope.project_id()).next().is_none() {
        return all;
    }
    let profile = spec.merged_profile();
    let clouds = context.clouds.offers(state, scope.project_id()).await;
    all.extend(growth::run_offers(
        state,
        &wishes(scope, &profile),
        job,
        &clouds.offers,
    ));
    all.sort_by(better);
    all
}

/// As [`offers`], with what the project's clouds have, unless only named fleets are asked about: for who looks
/// around, because no run gets there without a fleet.
pub async fn everywhere(
    context: &Context,
    scope: &Scope,
    spec: &RunSpec,
    job: &JobSpec,
) -> Vec<InstanceOffer> {
    let mut all = offers(scope, spec, job);
    let profile = spec.merged_profile();
    if profile.fleets.is_none() {
        let clouds = context.clouds.offers(scope.state(), scope.project_id());
        let clouds = clouds.await.offers.clone();
        all.extend(suitable(clouds, &profile, &job.requirements));
        all.sort_by(better);
    }
    all
}
