//! What a job's container looks like.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding, PortMap};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use dstack_api::agent_job::{JobOrder, NetworkMode};

use super::{LABEL_HOME, LABEL_SUBMISSION, devices, message, pull, status};
use crate::home::JobDir;
use crate::runtime::{StartError, Task};

/// Where the job's folder appears in the container.
const JOB: &str = "/dstack/job";
/// Ports of the runner and of the job's sshd, always published with a bridge.
const SERVICE_PORTS: [u16; 2] = [10022, 10999];

/// Puts the runner's binary into the job's folder, by a hard link where that is possible.
pub fn place_binary(job: &JobDir) -> io::Result<()> {
    let path = job.binary();
    crate::durable::remove_file(&path)?;
    let linked = std::env::current_exe().and_then(|exe| fs::hard_link(exe, &path));
    if linked.is_err() {
        fs::copy("/proc/self/exe", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Creates the container; one with the same name that an earlier attempt left is replaced.
pub async fn create(docker: &Docker, task: &Task, home: &Path) -> Result<String, StartError> {
    let binds = binds(task)?;
    let name = container_name(task);
    let mut body = body(task, home, binds);
    let mut retried = false;
    loop {
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let error = match docker.create_container(Some(options), body.clone()).await {
            Ok(created) => return Ok(created.id),
            Err(error) => error,
        };
        let said = message(&error);
        if retried {
            return Err(StartError::creating(format!(
                "cannot create the container: {said}"
            )));
        }
        retried = true;
        if status(&error) == Some(409) {
            let options = bollard::query_parameters::RemoveContainerOptionsBuilder::default()
                .force(true)
                .build();
            let _ = docker.remove_container(&name, Some(options)).await;
        } else if !devices::without_display(&mut body) {
            return Err(StartError::creating(format!(
                "cannot create the container: {said}"
            )));
        }
    }
}

fn container_name(task: &Task) -> String {
    let tail = task.submission.simple().to_string();
    let job: String = task
        .order
        .job_name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    format!("dstack-{job}-{}", &tail[..8])
}

fn body(task: &Task, home: &Path, binds: Vec<String>) -> ContainerCreateBody {
    let order = &task.order;
    let mut env = Vec::new();
    let mut host = HostConfig {
        binds: Some(binds),
        privileged: Some(order.privileged),
        nano_cpus: order.cpu_limit.map(|cores| (cores * 1e9) as i64),
        memory: order
            .memory_limit_bytes
            .and_then(|bytes| i64::try_from(bytes).ok()),
        tmpfs: order.shm_size_bytes.filter(|bytes| *bytes > 0).map(shm),
        // Output goes through the spool; what Docker keeps is the runner's own complaints.
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".into(), "1m".into()),
                ("max-file".into(), "1".into()),
            ])),
        }),
        ..HostConfig::default()
    };
    devices::add(order, &mut host, &mut env);
    let exposed = network(order, &mut host);
    ContainerCreateBody {
        image: order.image_name.as_deref().map(pull::with_tag),
        // The runner starts as root and changes to the job's user by itself.
        user: Some("0:0".into()),
        entrypoint: Some(vec![format!("{JOB}/dstack-agent")]),
        cmd: Some(vec!["run".into(), "--dir".into(), JOB.into()]),
        env: Some(env),
        exposed_ports: exposed,
        labels: Some(HashMap::from([
            (LABEL_SUBMISSION.to_owned(), task.submission.to_string()),
            (LABEL_HOME.to_owned(), home.display().to_string()),
        ])),
        hostname: (order.network_mode == NetworkMode::Bridge).then(|| hostname(&order.job_name)),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn shm(bytes: u64) -> HashMap<String, String> {
    HashMap::from([(
        "/dev/shm".to_owned(),
        format!("rw,nosuid,nodev,exec,size={bytes}"),
    )])
}

fn hostname(job_name: &str) -> String {
    job_name.chars().take(63).collect()
}

fn network(order: &JobOrder, host: &mut HostConfig) -> Option<Vec<String>> {
    match order.network_mode {
        NetworkMode::Host => {
            host.network_mode = Some("host".into());
            None
        }
        NetworkMode::Bridge => {
            host.network_mode = Some("bridge".into());
            let ports: Vec<String> = SERVICE_PORTS
                .iter()
                .chain(&order.app_ports)
                .map(|port| format!("{port}/tcp"))
                .collect();
            let loopback = || PortBinding {
                host_ip: Some("127.0.0.1".into()),
                host_port: Some(String::new()),
            };
            let map: PortMap = ports
                .iter()
                .map(|port| (port.clone(), Some(vec![loopback()])))
                .collect();
            host.port_bindings = Some(map);
            Some(ports)
        }
    }
}

/// The job's folder, and the folders of the host that the order names.
fn binds(task: &Task) -> Result<Vec<String>, StartError> {
    let mut binds = vec![bind(task.job.root(), JOB)?];
    for mount in &task.order.mounts {
        let source = Path::new(&mount.instance_path);
        if !source.exists() {
            if mount.optional {
                continue;
            }
            make_open(source).map_err(|error| {
                StartError::creating(format!(
                    "cannot create the mounted folder {}: {error}",
                    source.display()
                ))
            })?;
        }
        binds.push(bind(source, &mount.path)?);
    }
    Ok(binds)
}

fn bind(source: &Path, target: &str) -> Result<String, StartError> {
    let source = source.display().to_string();
    if source.contains(':') || target.contains(':') {
        return Err(StartError::creating(format!(
            "cannot mount {source} at {target}: Docker allows no colon in a path"
        )));
    }
    Ok(format!("{source}:{target}"))
}

/// Any user of any container may write there.
fn make_open(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o777)
        .create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_api::agent_job::{GpuSelection, OrderMount};
    use std::sync::Arc;
    use uuid::Uuid;

    fn task(order: JobOrder) -> Task {
        Task {
            submission: Uuid::from_u128(5),
            job: JobDir::at("/h/jobs/5".into()),
            order: Arc::new(order),
        }
    }

    fn body_of(order: JobOrder) -> ContainerCreateBody {
        let task = task(order);
        let binds = binds(&task).unwrap();
        body(&task, Path::new("/h"), binds)
    }

    #[test]
    fn a_whole_host_job_shares_its_network_and_has_no_limits() {
        let body = body_of(JobOrder {
            job_name: "a-0-0".into(),
            image_name: Some("img".into()),
            ..JobOrder::default()
        });
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert_eq!(
            (host.nano_cpus, host.memory, host.port_bindings),
            (None, None, None)
        );
        assert_eq!(body.image.as_deref(), Some("img:latest"));
        assert_eq!(host.binds.unwrap(), ["/h/jobs/5:/dstack/job"]);
        assert_eq!(
            body.labels.unwrap()[LABEL_SUBMISSION],
            Uuid::from_u128(5).to_string()
        );
    }

    #[test]
    fn a_part_of_a_host_is_limited_and_publishes_on_loopback() {
        let body = body_of(JobOrder {
            network_mode: NetworkMode::Bridge,
            app_ports: vec![8000],
            cpu_limit: Some(1.5),
            memory_limit_bytes: Some(1 << 30),
            shm_size_bytes: Some(1 << 20),
            ..JobOrder::default()
        });
        let host = body.host_config.unwrap();
        assert_eq!(
            (host.nano_cpus, host.memory),
            (Some(1_500_000_000), Some(1 << 30))
        );
        assert!(host.tmpfs.unwrap()["/dev/shm"].ends_with("size=1048576"));
        let ports = host.port_bindings.unwrap();
        assert_eq!(ports.len(), 3);
        let binding = &ports["8000/tcp"].as_ref().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn a_job_without_gpus_sees_none() {
        let body = body_of(JobOrder {
            gpus: GpuSelection::None,
            ..JobOrder::default()
        });
        assert!(
            body.env
                .unwrap()
                .contains(&"NVIDIA_VISIBLE_DEVICES=void".to_owned())
        );
        assert_eq!(body.host_config.unwrap().device_requests, None);
    }

    #[test]
    fn mounts_are_made_or_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("made");
        let mounts = vec![
            OrderMount {
                instance_path: there.display().to_string(),
                path: "/data".into(),
                optional: false,
            },
            OrderMount {
                instance_path: dir.path().join("no").display().to_string(),
                path: "/no".into(),
                optional: true,
            },
        ];
        let task = task(JobOrder {
            mounts,
            ..JobOrder::default()
        });
        assert_eq!(
            binds(&task).unwrap()[1..],
            [format!("{}:/data", there.display())]
        );
        assert_eq!(
            there.metadata().unwrap().permissions().mode() & 0o777,
            0o777
        );
    }

    #[test]
    fn the_containers_name_is_one_docker_takes() {
        let task = task(JobOrder {
            job_name: "my run/0-0".into(),
            ..JobOrder::default()
        });
        assert_eq!(container_name(&task), "dstack-myrun0-0-00000000");
    }
}
