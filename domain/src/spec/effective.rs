//! A spec with what its author left to us filled in, so that two specs that mean the same compare equal.

use super::configuration::RunConfiguration;
use super::fleet::FleetSpec;
use super::gpu::GpuVendor;
use super::gpu_names::common_vendor;
use super::profile::ProfileParams;
use super::resources::ResourcesSpec;
use super::run_spec::{RunRepoData, RunSpec};

/// `key` is the public key of the caller, used when the spec brings none.
pub fn effective_run(spec: &RunSpec, key: Option<&str>) -> RunSpec {
    let mut spec = spec.clone();
    if spec.repo_id.is_none() && spec.repo_data.is_none() {
        spec.repo_id = Some("none".to_owned());
        spec.repo_data = Some(RunRepoData::Virtual);
    }
    if spec.ssh_key_pub.is_none() {
        spec.ssh_key_pub = key.map(str::to_owned);
    }
    let common = spec.configuration.common_mut();
    common.priority.get_or_insert(0);
    let own_image = common.image.is_some() || common.docker == Some(true);
    infer_vendor(&mut common.resources, own_image);
    match &mut spec.configuration {
        RunConfiguration::Task(task) => match &mut task.groups {
            Some(groups) => groups
                .iter_mut()
                .for_each(|group| infer_vendor(&mut group.resources, own_image)),
            None => {
                task.nodes.get_or_insert(1);
            }
        },
        RunConfiguration::Service(service) => {
            for group in service.groups.iter_mut().flatten() {
                let own_image = own_image || group.image.is_some() || group.docker == Some(true);
                infer_vendor(&mut group.resources, own_image);
            }
        }
        RunConfiguration::DevEnvironment(_) => {}
    }
    spec
}

/// The default image is made for NVIDIA, and most names belong to one vendor.
pub(crate) fn infer_vendor(resources: &mut ResourcesSpec, own_image: bool) {
    let Some(gpu) = &mut resources.gpu else {
        return;
    };
    if gpu.vendor.is_some() || gpu.count.max == Some(0) {
        return;
    }
    gpu.vendor = match gpu.name.as_deref() {
        None | Some([]) => (!own_image).then_some(GpuVendor::Nvidia),
        Some(names) => common_vendor(names),
    };
}

impl FleetSpec {
    /// The parameters to create machines with: the configuration's, then the profile's.
    pub fn merged_profile(&self) -> ProfileParams {
        let fleet = &self.configuration;
        let own = ProfileParams {
            backends: fleet.backends.clone(),
            regions: fleet.regions.clone(),
            availability_zones: fleet.availability_zones.clone(),
            instance_types: fleet.instance_types.clone(),
            reservation: fleet.reservation.clone(),
            spot_policy: fleet.spot_policy,
            retry: fleet.retry.clone(),
            max_price: fleet.max_price,
            idle_duration: fleet.idle_duration,
            tags: fleet.tags.clone(),
            backend_options: fleet.backend_options.clone(),
            ..ProfileParams::default()
        };
        own.or(&self.profile.params)
    }
}
