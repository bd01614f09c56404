//! From a validated run to the jobs it consists of.

use super::configuration::RunConfiguration;
use super::dev_environment::{self, DevEnvironmentConfiguration};
use super::duration::OffableDuration;
use super::effective::infer_vendor;
use super::expand_service::{service_groups, service_job};
use super::interpolate::{Reference, Stage, interpolate};
use super::job_spec::{AppSpec, JobSpec, Requirements, repo_dir};
use super::mounts::MountPoint;
use super::ports::{PortMapping, RESERVED_PORTS};
use super::profile::{ProfileParams, SpotPolicy};
use super::resources::{CpuArch, ResourcesSpec};
use super::run_common::RunCommon;
use super::run_spec::RunSpec;
use super::shell_script;
use super::shorthand::OneOrMany;
use super::task::{NodeGroup, TaskConfiguration};
use super::unix_user::UnixUser;

pub const DEFAULT_IMAGE: &str = "dstackai/base:0.16-base-ubuntu24.04";
pub const DEFAULT_IMAGE_WITH_NVCC: &str = "dstackai/base:0.16-devel-ubuntu24.04";
pub const DOCKER_IMAGE: &str = "dstackai/dind:latest";
/// Upstream takes the version its own server runs on; there is none here, so the newest that the image brings.
pub const DEFAULT_PYTHON: &str = "3.13";
pub const DEFAULT_STOP_DURATION: u64 = 300;

/// The jobs to submit: every node of a task, the least number of replicas of every group of a service.
pub fn expand_jobs(run_name: &str, spec: &RunSpec) -> Vec<JobSpec> {
    match &spec.configuration {
        RunConfiguration::Service(service) => {
            let mut replica = 0;
            let mut jobs = Vec::new();
            for (index, group) in service_groups(service).iter().enumerate() {
                for _ in 0..group.min {
                    jobs.extend(replica_jobs(run_name, spec, replica, index));
                    replica += 1;
                }
            }
            jobs
        }
        _ => replica_jobs(run_name, spec, 0, 0),
    }
}

/// The jobs to show in a plan: at least one per group, even of a service that starts with no replica.
pub fn plan_jobs(run_name: &str, spec: &RunSpec) -> Vec<JobSpec> {
    let RunConfiguration::Service(service) = &spec.configuration else {
        return expand_jobs(run_name, spec);
    };
    let mut replica = 0;
    let mut jobs = Vec::new();
    for (index, group) in service_groups(service).iter().enumerate() {
        for _ in 0..group.min.max(1) {
            jobs.extend(replica_jobs(run_name, spec, replica, index));
            replica += 1;
        }
    }
    jobs
}

/// All jobs of one replica; `group` is the index of the replica group of a service, and 0 otherwise.
pub fn replica_jobs(run_name: &str, spec: &RunSpec, replica: u32, group: usize) -> Vec<JobSpec> {
    let profile = spec.merged_profile();
    let place = Place {
        run_name,
        replica,
        jobs_per_replica: 1,
        group_index: 0,
        group_name: "0",
        in_group: 0,
    };
    match &spec.configuration {
        RunConfiguration::DevEnvironment(dev) => {
            vec![dev_environment_job(spec, dev, &profile, &place)]
        }
        RunConfiguration::Task(task) => match &task.groups {
            None => node_jobs(spec, task, &profile, &place),
            Some(groups) => node_group_jobs(spec, groups, &profile, &place),
        },
        RunConfiguration::Service(service) => service_job(spec, service, &profile, &place, group)
            .into_iter()
            .collect(),
    }
}

fn dev_environment_job(
    spec: &RunSpec,
    dev: &DevEnvironmentConfiguration,
    profile: &ProfileParams,
    place: &Place<'_>,
) -> JobSpec {
    let common = &dev.run;
    let mut job = job(
        spec,
        &Parts {
            common,
            profile,
            resources: &common.resources,
            ports: &dev.ports,
        },
        place,
        0,
    );
    let mut commands = prelude(common);
    commands.extend(dev_environment::commands(dev, place.run_name));
    job.commands = shell(common, &commands);
    job.single_branch = Some(common.single_branch.unwrap_or(false));
    job
}

fn node_jobs(
    spec: &RunSpec,
    task: &TaskConfiguration,
    profile: &ProfileParams,
    place: &Place<'_>,
) -> Vec<JobSpec> {
    let common = &task.run;
    let parts = Parts {
        common,
        profile,
        resources: &common.resources,
        ports: &task.ports,
    };
    let nodes = task.nodes.unwrap_or(1);
    let commands = user_commands(common, &task.commands);
    let one = |node| {
        let mut job = job(
            spec,
            &parts,
            &Place {
                jobs_per_replica: nodes,
                in_group: node,
                ..*place
            },
            node,
        );
        job.commands.clone_from(&commands);
        job
    };
    (0..nodes).map(one).collect()
}

/// Job numbers run through the groups in order, so that the first node of the first group is the master.
fn node_group_jobs(
    spec: &RunSpec,
    groups: &[NodeGroup],
    profile: &ProfileParams,
    place: &Place<'_>,
) -> Vec<JobSpec> {
    let common = spec.configuration.common();
    let jobs_per_replica = groups.iter().map(|group| group.nodes).sum();
    let mut jobs = Vec::new();
    for (group_index, group) in (0..).zip(groups) {
        let name = group
            .name
            .clone()
            .unwrap_or_else(|| group_index.to_string());
        let parts = Parts {
            common,
            profile,
            resources: &group.resources,
            ports: &group.ports,
        };
        let commands = user_commands(common, &group.commands);
        for in_group in 0..group.nodes {
            let place = Place {
                jobs_per_replica,
                group_index,
                group_name: &name,
                in_group,
                ..*place
            };
            let mut job = job(spec, &parts, &place, jobs.len() as u32);
            job.commands.clone_from(&commands);
            jobs.push(job);
        }
    }
    jobs
}

/// Where a job stands among its siblings.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) run_name: &'a str,
    pub(super) replica: u32,
    pub(super) jobs_per_replica: u32,
    pub(super) group_index: u32,
    pub(super) group_name: &'a str,
    pub(super) in_group: u32,
}

/// What differs between the groups of one run.
pub(super) struct Parts<'a> {
    pub(super) common: &'a RunCommon,
    pub(super) profile: &'a ProfileParams,
    pub(super) resources: &'a ResourcesSpec,
    pub(super) ports: &'a [PortMapping],
}

pub(super) fn job(spec: &RunSpec, parts: &Parts<'_>, place: &Place<'_>, job_num: u32) -> JobSpec {
    let Parts {
        common, profile, ..
    } = parts;
    let docker = common.docker == Some(true);
    JobSpec {
        replica_num: place.replica,
        job_num,
        job_name: format!("{}-{job_num}-{}", place.run_name, place.replica),
        jobs_per_replica: place.jobs_per_replica,
        replica_group: "0".to_owned(),
        app_specs: app_specs(parts.ports),
        user: common
            .user
            .as_deref()
            .and_then(|user| UnixUser::parse(user).ok()),
        commands: Vec::new(),
        env: common.env.values(),
        home_dir: Some(common.home_dir.clone()),
        image_name: image(common),
        privileged: common.privileged || docker,
        single_branch: Some(common.single_branch.unwrap_or(true)),
        max_duration: profile.max_duration.and_then(OffableDuration::limit),
        stop_duration: match profile.stop_duration {
            None => Some(DEFAULT_STOP_DURATION),
            Some(duration) => duration.limit(),
        },
        utilization_policy: profile.utilization_policy.clone(),
        registry_auth: common.registry_auth.clone(),
        requirements: requirements(parts, place.jobs_per_replica),
        retry: profile.retry.as_ref().and_then(|retry| retry.resolve()),
        volumes: Some(volumes(&common.volumes, job_num)),
        ssh_key: None,
        working_dir: common
            .working_dir
            .clone()
            .or_else(|| spec.working_dir.clone()),
        repo_data: spec.repo_data.clone(),
        repo_code_hash: spec.repo_code_hash.clone(),
        repo_dir: spec.repo_dir.clone().unwrap_or_else(repo_dir),
        repo_exists_action: common.repos.first().map(|repo| repo.if_exists),
        file_archives: spec.file_archives.clone(),
        service_port: None,
        probes: Vec::new(),
        node_group_index: place.group_index,
        node_group_name: place.group_name.to_owned(),
        node_group_job_index: place.in_group,
    }
}

fn requirements(parts: &Parts<'_>, jobs_per_replica: u32) -> Requirements {
    let own_image = parts.common.image.is_some() || parts.common.docker == Some(true);
    let mut resources = parts.resources.clone();
    infer_vendor(&mut resources, own_image);
    if parts.common.image.is_none() && resources.cpu.arch.is_none() {
        resources.cpu.arch = Some(CpuArch::X86);
    }
    Requirements {
        resources,
        max_price: parts.profile.max_price,
        spot: parts
            .profile
            .spot_policy
            .unwrap_or(SpotPolicy::OnDemand)
            .as_requirement(),
        reservation: parts.profile.reservation.clone(),
        multinode: Some(jobs_per_replica > 1),
        backend_options: parts.profile.backend_options.clone(),
    }
}

fn image(common: &RunCommon) -> String {
    match &common.image {
        Some(image) => image.clone(),
        None if common.docker == Some(true) => DOCKER_IMAGE.to_owned(),
        None if common.nvcc == Some(true) => DEFAULT_IMAGE_WITH_NVCC.to_owned(),
        None => DEFAULT_IMAGE.to_owned(),
    }
}

fn app_specs(ports: &[PortMapping]) -> Vec<AppSpec> {
    let open = ports
        .iter()
        .filter(|port| !RESERVED_PORTS.contains(&port.container_port));
    open.enumerate()
        .map(|(index, port)| AppSpec {
            port: port.container_port,
            map_to_port: port.local_port,
            app_name: format!("app_{index}"),
            url_path: None,
            url_query_params: None,
        })
        .collect()
}

/// The names may tell the nodes apart: `data-${{ dstack.node_rank }}`.
fn volumes(mounts: &[MountPoint], job_num: u32) -> Vec<MountPoint> {
    let named = |name: &String| {
        let number = |reference: &Reference| {
            Ok(matches!(reference, Reference::JobNum | Reference::NodeRank)
                .then(|| job_num.to_string()))
        };
        interpolate(name, Stage::Last, number).unwrap_or_else(|_| name.clone())
    };
    mounts
        .iter()
        .map(|mount| match mount {
            MountPoint::Volume {
                name: OneOrMany::One(name),
                path,
            } => MountPoint::Volume {
                name: OneOrMany::One(named(name)),
                path: path.clone(),
            },
            MountPoint::Volume {
                name: OneOrMany::Many(names),
                path,
            } => MountPoint::Volume {
                name: OneOrMany::Many(names.iter().map(named).collect()),
                path: path.clone(),
            },
            MountPoint::Instance { .. } => mount.clone(),
        })
        .collect()
}

/// What the images we bring need before the user's commands.
fn prelude(common: &RunCommon) -> Vec<String> {
    if common.image.is_some() {
        return Vec::new();
    }
    if common.docker == Some(true) {
        return vec!["start-dockerd".to_owned()];
    }
    let version = common
        .python
        .as_ref()
        .map_or(DEFAULT_PYTHON, |version| version.as_str());
    vec![shell_script::python_environment(version)]
}

/// Empty when the image's own command is to be run.
pub(super) fn user_commands(common: &RunCommon, commands: &[String]) -> Vec<String> {
    if let Some(entrypoint) = &common.entrypoint {
        let mut argv = shell_words::split(entrypoint).unwrap_or_default();
        argv.extend(commands.iter().cloned());
        return argv;
    }
    let mut all = prelude(common);
    all.extend(commands.iter().cloned());
    if all.is_empty() {
        Vec::new()
    } else {
        shell(common, &all)
    }
}

fn shell(common: &RunCommon, commands: &[String]) -> Vec<String> {
    let shell = match common.shell.as_deref() {
        Some("sh") => "/bin/sh",
        Some("bash") => "/bin/bash",
        Some(path) => path,
        None if common.image.is_some() => "/bin/sh",
        None => "/bin/bash",
    };
    vec![
        shell.to_owned(),
        "-i".to_owned(),
        "-c".to_owned(),
        shell_script::join(commands),
    ]
}
