//! Rules between the keys of a service.

use std::collections::BTreeSet;

use super::interpolate::Reference;
use super::range::Range;
use super::service::{ReplicaGroup, RouterType, ScalingSpec, ServiceConfiguration};
use super::service_traffic::{HttpMethod, ProbeConfig};
use super::spec_error::SpecError;
use super::validate::{Checked, allow, commands, refuse, resources, unique_names};

const MOST_PROBES: usize = 10;
const LONGEST_PROBE_TIMEOUT: u64 = 300;
const MOST_REPLICAS: u32 = 10_000;

pub(crate) fn service(service: &ServiceConfiguration) -> Checked {
    if let Some(groups) = &service.groups {
        replica_groups(service, groups)?;
    } else {
        if service.commands.is_empty() && service.run.image.is_none() {
            return refuse(
                "commands",
                "a service needs `commands`, or an `image` that brings its own",
            );
        }
        let range = service.replicas.unwrap_or(Range::exactly(1));
        replicas("replicas", "scaling", &range, service.scaling.as_ref())?;
        commands("commands", &service.commands, |_| false)?;
    }
    if service.profile.schedule.is_some() && can_scale_to_zero(service) {
        return refuse(
            "schedule",
            "a service that can scale to zero replicas cannot have a schedule",
        );
    }
    rate_limits(service)?;
    probes(service.probes.as_deref().unwrap_or_default())
}

fn can_scale_to_zero(service: &ServiceConfiguration) -> bool {
    let ranges: Vec<_> = match &service.groups {
        Some(groups) => groups.iter().map(|group| group.replicas).collect(),
        None => service.replicas.into_iter().collect(),
    };
    !ranges.is_empty() && ranges.iter().all(|range| range.min.unwrap_or(0) == 0)
}

fn replicas(
    path: &str,
    scaling_path: &str,
    range: &Range<u32>,
    scaling: Option<&ScalingSpec>,
) -> Checked {
    let fixed = range.min == range.max;
    if range.max.is_some_and(|max| max > MOST_REPLICAS) {
        return refuse(
            path,
            format!("a service has at most {MOST_REPLICAS} replicas"),
        );
    }
    match (fixed, scaling) {
        (false, None) => Err(SpecError::new(
            path,
            format!(
                "the number of replicas `{range}` is a range, and nothing says when to change it"
            ),
        )
        .with_hint("add `scaling: {metric: rps, target: 10}`, or write one number")),
        (true, Some(_)) => Err(SpecError::new(
            scaling_path,
            "the number of replicas is fixed, so there is nothing to scale",
        )
        .with_hint("write a range such as `replicas: 1..4`")),
        _ => Ok(()),
    }
}

fn replica_groups(service: &ServiceConfiguration, groups: &[ReplicaGroup]) -> Checked {
    if groups.is_empty() {
        return refuse("groups", "the list is empty; leave the key out instead");
    }
    let beside = [
        ("replicas", service.replicas.is_some()),
        ("scaling", service.scaling.is_some()),
        ("commands", !service.commands.is_empty()),
    ];
    if let Some((key, _)) = beside.into_iter().find(|(_, given)| *given) {
        return Err(
            SpecError::new(key, format!("`{key}` cannot stand beside `groups`"))
                .with_hint("put it into each group"),
        );
    }
    unique_names(groups.iter().map(|group| group.name.as_deref()))?;
    for (index, group) in groups.iter().enumerate() {
        let path = format!("groups[{index}]");
        replicas(
            &format!("{path}.replicas"),
            &format!("{path}.scaling"),
            &group.replicas,
            group.scaling.as_ref(),
        )?;
        both_levels(service, group, &path)?;
        let image = service.run.image.is_some() || group.image.is_some();
        let docker = service.run.docker == Some(true) || group.docker == Some(true);
        if group.commands.is_empty() && !image {
            return refuse(
                path,
                "each group needs `commands`, or an `image` that brings its own",
            );
        }
        resources(
            &format!("{path}.resources"),
            &group.resources,
            image,
            docker,
        )?;
        let exists = |reference: &Reference| match reference {
            Reference::ReplicaAddress { group, replica } => groups
                .get(*group)
                .is_some_and(|group| *replica < group.replicas.min.unwrap_or(0) as usize),
            _ => false,
        };
        commands(&format!("{path}.commands"), &group.commands, exists)?;
    }
    routers(service, groups)
}

/// A property stands either at the top or in groups, and the sources of the image exclude each other across both.
fn both_levels(service: &ServiceConfiguration, group: &ReplicaGroup, path: &str) -> Checked {
    let run = &service.run;
    let pairs = [
        ("image", run.image.is_some(), group.image.is_some()),
        ("docker", run.docker.is_some(), group.docker.is_some()),
        ("privileged", run.privileged, group.privileged.is_some()),
        ("python", run.python.is_some(), group.python.is_some()),
        ("nvcc", run.nvcc.is_some(), group.nvcc.is_some()),
        (
            "spot_policy",
            service.profile.spot_policy.is_some(),
            group.spot_policy.is_some(),
        ),
        (
            "reservation",
            service.profile.reservation.is_some(),
            group.reservation.is_some(),
        ),
    ];
    if let Some((key, ..)) = pairs.iter().find(|(_, top, own)| *top && *own) {
        let error = SpecError::new(
            format!("{path}.{key}"),
            format!("`{key}` is given for the service and for the group"),
        );
        return Err(error.with_hint("keep it in one of the two places"));
    }
    let given = |key: &str| {
        pairs
            .iter()
            .any(|(name, top, own)| *name == key && (*top || *own))
    };
    let docker = run.docker == Some(true) || group.docker == Some(true);
    let nvcc = run.nvcc == Some(true) || group.nvcc == Some(true);
    let conflict = [
        ("image", "python", given("image") && given("python")),
        ("image", "docker", given("image") && docker),
        ("python", "docker", given("python") && docker),
        ("nvcc", "docker", nvcc && docker),
    ];
    match conflict.into_iter().find(|(.., clash)| *clash) {
        Some((one, other, _)) => refuse(
            path,
            format!("`{one}` and `{other}` cannot be used together"),
        ),
        None => Ok(()),
    }
}

fn routers(service: &ServiceConfiguration, groups: &[ReplicaGroup]) -> Checked {
    let mut routers = groups
        .iter()
        .enumerate()
        .filter_map(|(index, group)| Some((index, group, group.router?)));
    let Some((index, group, router)) = routers.next() else {
        return Ok(());
    };
    if let Some((second, ..)) = routers.next() {
        return refuse(
            format!("groups[{second}].router"),
            "a service has at most one router group",
        );
    }
    if group.replicas != Range::exactly(1) {
        return refuse(
            format!("groups[{index}].replicas"),
            "a router group has exactly 1 replica",
        );
    }
    if router.r#type == RouterType::Dynamo
        && service
            .profile
            .retry
            .as_ref()
            .is_some_and(|retry| retry.resolve().is_some())
    {
        return refuse("retry", "a service with a Dynamo router cannot be retried");
    }
    Ok(())
}

fn rate_limits(service: &ServiceConfiguration) -> Checked {
    let mut seen = BTreeSet::new();
    for (index, limit) in service.rate_limits.iter().enumerate() {
        if !seen.insert(limit.prefix.as_str()) {
            return refuse(
                format!("rate_limits[{index}]"),
                format!("the prefix `{}` is limited twice", limit.prefix),
            );
        }
    }
    Ok(())
}

fn probes(probes: &[ProbeConfig]) -> Checked {
    if probes.len() > MOST_PROBES {
        return refuse(
            "probes",
            format!(
                "{} probes are given, {MOST_PROBES} are supported",
                probes.len()
            ),
        );
    }
    for (index, probe) in probes.iter().enumerate() {
        let path = format!("probes[{index}]");
        if probes[..index].contains(probe) {
            return refuse(path, "the same probe is given twice");
        }
        self::probe(&path, probe)?;
    }
    Ok(())
}

fn probe(path: &str, probe: &ProbeConfig) -> Checked {
    let url = probe.url.as_deref().unwrap_or("/");
    if !url.starts_with('/') || url.len() > 2048 {
        return refuse(
            format!("{path}.url"),
            format!("`{url}` must start with `/` and have at most 2048 characters"),
        );
    }
    if probe.headers.len() > 16 {
        return refuse(format!("{path}.headers"), "a probe has at most 16 headers");
    }
    if let Some(body) = &probe.body {
        if body.is_empty() || body.chars().count() > 2048 {
            return refuse(format!("{path}.body"), "a body has 1 to 2048 characters");
        }
        if matches!(
            probe.method.unwrap_or_default(),
            HttpMethod::Get | HttpMethod::Head
        ) {
            let error = SpecError::new(
                format!("{path}.body"),
                "a request of this method has no body",
            );
            return Err(error.with_hint("add `method: post`"));
        }
    }
    if probe
        .timeout
        .is_some_and(|timeout| !(1..=LONGEST_PROBE_TIMEOUT).contains(&timeout.as_secs()))
    {
        return refuse(
            format!("{path}.timeout"),
            format!("a timeout is 1s to {LONGEST_PROBE_TIMEOUT}s"),
        );
    }
    if probe
        .interval
        .is_some_and(|interval| interval.as_secs() < 1)
    {
        return refuse(format!("{path}.interval"), "an interval is at least 1s");
    }
    let rule = "only env.NAME can be used here";
    let usable = |reference: &Reference| matches!(reference, Reference::Env(_));
    allow(&format!("{path}.url"), url, rule, usable)?;
    allow(
        &format!("{path}.body"),
        probe.body.as_deref().unwrap_or_default(),
        rule,
        usable,
    )?;
    for header in &probe.headers {
        allow(&format!("{path}.headers"), &header.value, rule, usable)?;
    }
    Ok(())
}
