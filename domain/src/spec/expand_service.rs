//! From a service to its replicas.

use super::expand::{Parts, Place, job, user_commands};
use super::job_spec::JobSpec;
use super::profile::ProfileParams;
use super::run_spec::RunSpec;
use super::service::{ReplicaGroup, ServiceConfiguration};
use super::service_model::ServiceModel;
use super::service_traffic::{HttpHeader, HttpMethod, HttpTag, ProbeSpec};

/// A replica group, or the service itself as its only one.
pub(super) struct ServiceGroup<'a> {
    pub(super) min: u32,
    group: Option<&'a ReplicaGroup>,
}

pub(super) fn service_groups(service: &ServiceConfiguration) -> Vec<ServiceGroup<'_>> {
    match &service.groups {
        Some(groups) => groups
            .iter()
            .map(|group| ServiceGroup {
                min: group.replicas.min.unwrap_or(0),
                group: Some(group),
            })
            .collect(),
        None => {
            let min = service.replicas.map_or(1, |range| range.min.unwrap_or(0));
            vec![ServiceGroup { min, group: None }]
        }
    }
}

pub(super) fn service_job(
    spec: &RunSpec,
    service: &ServiceConfiguration,
    profile: &ProfileParams,
    place: &Place<'_>,
    group: usize,
) -> Option<JobSpec> {
    let groups = service_groups(service);
    let own = groups.get(group)?.group;
    let mut common = service.run.clone();
    let mut profile = profile.clone();
    let mut commands = &service.commands;
    let mut resources = &service.run.resources;
    if let Some(own) = own {
        common.image = own.image.clone().or(common.image);
        common.python = own.python.clone().or(common.python);
        common.nvcc = own.nvcc.or(common.nvcc);
        common.docker = own.docker.or(common.docker);
        common.privileged = own.privileged.unwrap_or(common.privileged);
        profile.spot_policy = own.spot_policy.or(profile.spot_policy);
        profile.reservation = own.reservation.clone().or(profile.reservation);
        commands = &own.commands;
        resources = &own.resources;
    }
    let parts = Parts {
        common: &common,
        profile: &profile,
        resources,
        ports: &[],
    };
    let mut job = job(spec, &parts, place, 0);
    job.commands = user_commands(&common, commands);
    job.replica_group = match own {
        Some(own) => own.name.clone().unwrap_or_else(|| group.to_string()),
        None => "0".to_owned(),
    };
    job.service_port = Some(service.port.0.container_port);
    let routed = groups
        .iter()
        .any(|group| group.group.is_some_and(|group| group.router.is_some()));
    let is_router = own.is_some_and(|own| own.router.is_some());
    job.probes = probes(service, !routed || is_router);
    Some(job)
}

/// A chat model is asked a short question unless other probes, or none, are wanted.
fn probes(service: &ServiceConfiguration, automatic: bool) -> Vec<ProbeSpec> {
    match (&service.probes, &service.model) {
        (Some(probes), _) => probes.iter().map(ProbeSpec::from).collect(),
        (None, Some(ServiceModel::Openai { name, prefix, .. })) if automatic => {
            let body = serde_json::json!({
                "model": name,
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 1,
            });
            let header = HttpHeader {
                name: "Content-Type".to_owned(),
                value: "application/json".to_owned(),
            };
            vec![ProbeSpec {
                r#type: HttpTag,
                url: format!("{}/chat/completions", prefix.trim_end_matches('/')),
                method: HttpMethod::Post,
                headers: vec![header],
                body: Some(body.to_string()),
                timeout: 30,
                interval: 15,
                ready_after: 1,
                until_ready: false,
            }]
        }
        _ => Vec::new(),
    }
}
