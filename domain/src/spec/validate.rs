//! Rules between keys, checked by the client before it sends and by the server before it stores.
//!
//! Rules about a single value live with its type, where the parser knows the position.

use std::collections::BTreeSet;

use super::configuration::{AnyConfiguration, RunConfiguration};
use super::dev_environment::DevEnvironmentConfiguration;
use super::fleet::FleetSpec;
use super::gpu::GpuVendor;
use super::ide::Ide;
use super::interpolate::{Reference, references};
use super::mounts::MountPoint;
use super::ports::PortMapping;
use super::resources::{CpuArch, ResourcesSpec};
use super::run_common::RunCommon;
use super::run_spec::RunSpec;
use super::spec_error::SpecError;
use super::{validate_infra, validate_service, validate_task};

pub type Checked = Result<(), SpecError>;

/// What a retention of metrics of one hour can judge.
const LONGEST_UTILIZATION_WINDOW: u64 = 3600;

pub fn configuration(configuration: &AnyConfiguration) -> Checked {
    match configuration {
        AnyConfiguration::Run(run_configuration) => run(run_configuration),
        AnyConfiguration::Fleet(fleet) => validate_infra::fleet(fleet),
        AnyConfiguration::Volume(volume) => validate_infra::volume(volume),
        AnyConfiguration::Gateway(gateway) => validate_infra::gateway(gateway),
    }
}

/// What the server checks before it plans or stores.
pub fn run_spec(spec: &RunSpec) -> Checked {
    if spec.repo_id.is_some() != spec.repo_data.is_some() {
        let missing = if spec.repo_id.is_some() {
            "repo_data"
        } else {
            "repo_id"
        };
        return refuse(
            missing,
            "`repo_id` and `repo_data` are given together or not at all",
        );
    }
    run(&spec.configuration).map_err(|error| error.under("configuration"))
}

/// As [`run_spec`]. The keys of the hosts must be there: the client puts them in.
pub fn fleet_spec(spec: &FleetSpec) -> Checked {
    let fleet = &spec.configuration;
    let keys = fleet
        .ssh_config
        .as_ref()
        .map_or(Ok(()), validate_infra::ssh_credentials);
    validate_infra::fleet(fleet)
        .and(keys)
        .map_err(|error| error.under("configuration"))
}

pub fn run(configuration: &RunConfiguration) -> Checked {
    common(configuration.common())?;
    profile(configuration)?;
    match configuration {
        RunConfiguration::DevEnvironment(configuration) => dev_environment(configuration),
        RunConfiguration::Task(configuration) => validate_task::task(configuration),
        RunConfiguration::Service(configuration) => validate_service::service(configuration),
    }
}

pub(crate) fn refuse<T>(
    path: impl Into<String>,
    message: impl Into<String>,
) -> Result<T, SpecError> {
    Err(SpecError::new(path, message))
}

fn common(run: &RunCommon) -> Checked {
    image_sources(run)?;
    if run.repos.len() > 1 {
        return refuse(
            "repos",
            format!(
                "{} repositories are given, one is supported",
                run.repos.len()
            ),
        );
    }
    if let Some(shell) = &run.shell
        && !(shell == "sh" || shell == "bash" || shell.starts_with('/'))
    {
        return refuse(
            "shell",
            format!("`{shell}` is not a shell: write `sh`, `bash` or an absolute path"),
        );
    }
    if let Some(dir) = &run.working_dir
        && !dir.starts_with(['/', '~'])
    {
        let error = SpecError::new("working_dir", format!("`{dir}` is not absolute"));
        return Err(error.with_hint("start it with `/` or `~`"));
    }
    if let Some(entrypoint) = &run.entrypoint
        && shell_words::split(entrypoint).is_err()
    {
        return refuse("entrypoint", "a quote in it is not closed");
    }
    mounts(&run.volumes)?;
    for (name, value) in run.env.values() {
        allow(
            &format!("env.{name}"),
            &value,
            "only secrets.NAME can be used here",
            |r| matches!(r, Reference::Secret(_)),
        )?;
    }
    if let Some(auth) = &run.registry_auth {
        let usable = |r: &Reference| matches!(r, Reference::Secret(_) | Reference::Env(_));
        let rule = "only env.NAME and secrets.NAME can be used here";
        allow("registry_auth.username", &auth.username, rule, usable)?;
        allow("registry_auth.password", &auth.password, rule, usable)?;
    }
    resources(
        "resources",
        &run.resources,
        run.image.is_some(),
        run.docker == Some(true),
    )
}

fn image_sources(run: &RunCommon) -> Checked {
    let docker = run.docker == Some(true);
    let conflict = |one: &str, other: &str| {
        SpecError::new(
            one,
            format!("`{one}` and `{other}` cannot be used together"),
        )
        .with_hint("remove one of them")
    };
    if run.image.is_some() && run.python.is_some() {
        return Err(conflict("python", "image")
            .with_hint("`python` belongs to the default image; install it in your own"));
    }
    if run.image.is_some() && docker {
        return Err(conflict("docker", "image"));
    }
    if run.python.is_some() && docker {
        return Err(conflict("docker", "python"));
    }
    if run.nvcc == Some(true) && docker {
        return Err(conflict("docker", "nvcc"));
    }
    Ok(())
}

fn mounts(volumes: &[MountPoint]) -> Checked {
    let mut seen = BTreeSet::new();
    for (index, mount) in volumes.iter().enumerate() {
        let path = format!("volumes[{index}]");
        let target = mount.path();
        let tidy = target.len() > 1 && !target.ends_with('/') && !target.contains("//");
        if !tidy {
            let message =
                format!("`{target}` cannot be a mount path: not `/`, no `//`, no `/` at the end");
            return refuse(path, message);
        }
        if !seen.insert(target) {
            return refuse(path, format!("two volumes are mounted at `{target}`"));
        }
        if let MountPoint::Volume { name, .. } = mount {
            for name in name.as_slice() {
                let usable = |r: &Reference| matches!(r, Reference::JobNum | Reference::NodeRank);
                allow(
                    &path,
                    name,
                    "only dstack.job_num and dstack.node_rank can be used here",
                    usable,
                )?;
            }
        }
    }
    Ok(())
}

pub(crate) fn resources(
    path: &str,
    resources: &ResourcesSpec,
    image: bool,
    docker: bool,
) -> Checked {
    let vendor = resources
        .gpu
        .as_ref()
        .filter(|gpu| gpu.count.max != Some(0))
        .and_then(|gpu| {
            gpu.vendor.or_else(|| {
                super::gpu_names::common_vendor(gpu.name.as_deref().unwrap_or_default())
            })
        });
    if let Some(vendor) = vendor
        && !matches!(vendor, GpuVendor::Nvidia | GpuVendor::Google)
        && !image
        && !docker
    {
        let message = format!(
            "{} accelerators need an image of their own: the default one is made for NVIDIA",
            vendor.as_str()
        );
        return Err(SpecError::new(format!("{path}.gpu"), message).with_hint("add `image: …`"));
    }
    if resources.cpu.arch == Some(CpuArch::Arm) {
        if docker {
            return refuse(
                format!("{path}.cpu"),
                "`docker: true` is not available on ARM",
            );
        }
        if !image {
            let error = SpecError::new(
                format!("{path}.cpu"),
                "ARM needs an image of its own: the default one is for x86",
            );
            return Err(error.with_hint("add `image: …`"));
        }
    }
    Ok(())
}

fn profile(configuration: &RunConfiguration) -> Checked {
    let profile = configuration.profile();
    if let Some(instances) = &profile.instances
        && instances.is_empty()
    {
        return refuse(
            "instances",
            "the list is empty; leave the key out to allow every instance",
        );
    }
    if let Some(policy) = &profile.utilization_policy
        && policy.time_window.as_secs() > LONGEST_UTILIZATION_WINDOW
    {
        return refuse(
            "utilization_policy.time_window",
            format!(
                "{} is longer than metrics are kept (1h)",
                policy.time_window
            ),
        );
    }
    Ok(())
}

fn dev_environment(configuration: &DevEnvironmentConfiguration) -> Checked {
    if configuration.run.entrypoint.is_some() {
        return refuse(
            "entrypoint",
            "a dev environment has no entrypoint; it is kept open for you to connect",
        );
    }
    if configuration.version.is_some() && configuration.ide.is_none() {
        return Err(SpecError::new(
            "version",
            "`version` is the version of an IDE, and no `ide` is given",
        )
        .with_hint("add `ide: vscode`"));
    }
    if let (Some(Ide::Windsurf), Some(version)) = (configuration.ide, &configuration.version)
        && !version
            .split_once('@')
            .is_some_and(|(version, commit)| !version.is_empty() && !commit.is_empty())
    {
        return refuse(
            "version",
            format!("`{version}` is not a version of Windsurf: write `version@commit`"),
        );
    }
    if configuration.run.dstack && configuration.inactivity_duration.is_some() {
        return refuse(
            "dstack",
            "`dstack: true` and `inactivity_duration` cannot be used together",
        );
    }
    ports("ports", &configuration.ports)?;
    commands("init", &configuration.init, |_| false)
}

/// A group without a name is called by its index.
pub(crate) fn unique_names<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Checked {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let name = name.map_or_else(|| index.to_string(), str::to_owned);
        if !seen.insert(name.clone()) {
            return refuse(
                format!("groups[{index}].name"),
                format!("two groups are called `{name}`"),
            );
        }
    }
    Ok(())
}

pub(crate) fn ports(path: &str, ports: &[PortMapping]) -> Checked {
    let (mut local, mut container) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        if !container.insert(port.container_port) {
            return refuse(
                format!("{path}[{index}]"),
                format!("container port {} is mapped twice", port.container_port),
            );
        }
        if let Some(number) = port.local_port
            && !local.insert(number)
        {
            return refuse(
                format!("{path}[{index}]"),
                format!("local port {number} is used twice"),
            );
        }
    }
    Ok(())
}

/// `exists` says whether an address that a command refers to will ever exist.
pub(crate) fn commands(
    path: &str,
    commands: &[String],
    exists: impl Fn(&Reference) -> bool,
) -> Checked {
    for (index, command) in commands.iter().enumerate() {
        let path = format!("{path}[{index}]");
        for reference in
            references(command).map_err(|message| SpecError::new(path.clone(), message))?
        {
            match reference {
                Reference::RunArgs => {}
                Reference::NodeAddress { .. } | Reference::ReplicaAddress { .. }
                    if exists(&reference) => {}
                Reference::NodeAddress { group, node } => {
                    return refuse(
                        path,
                        format!("there is no node groups[{group}].nodes[{node}]"),
                    );
                }
                Reference::ReplicaAddress { group, replica } => {
                    let message = format!(
                        "groups[{group}].replicas[{replica}] does not exist, or not at the least number of replicas"
                    );
                    return refuse(path, message);
                }
                Reference::Secret(name) => {
                    let error = SpecError::new(path, "secrets cannot be used in commands");
                    return Err(error.with_hint(format!(
                        "pass it as a variable: `{name}: ${{{{ secrets.{name} }}}}` under `env:`"
                    )));
                }
                _ => {
                    return refuse(
                        path,
                        "only run.args and addresses of groups can be used here",
                    );
                }
            }
        }
    }
    Ok(())
}

/// Every reference in `text` must satisfy `usable`.
pub(crate) fn allow(
    path: &str,
    text: &str,
    rule: &str,
    usable: impl Fn(&Reference) -> bool,
) -> Checked {
    let found = references(text).map_err(|message| SpecError::new(path, message))?;
    if found.iter().all(usable) {
        Ok(())
    } else {
        refuse(path, rule)
    }
}
