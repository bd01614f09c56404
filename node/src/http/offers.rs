//! Where a job could run, asked of the function that places it.

use dstack_api::http::offers::InstanceOffer;
use dstack_domain::decide::placement::{self, Wishes};
use dstack_domain::spec::{JobSpec, RunSpec};

use super::access::Scope;

/// All offers for one job, the usable ones first.
pub fn offers(scope: &Scope, spec: &RunSpec, job: &JobSpec) -> Vec<InstanceOffer> {
    let profile = spec.merged_profile();
    let wishes = Wishes {
        project: scope.project_id(),
        profile: &profile,
        fleet: None,
    };
    placement::offers(scope.state(), &wishes, job)
        .into_iter()
        .map(|offer| offer.offer)
        .collect()
}
