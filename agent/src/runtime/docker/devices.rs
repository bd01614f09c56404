//! GPUs and fabric devices of a container.

use std::fs;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HostConfig, ResourcesUlimits,
};
use dstack_api::agent_job::{GpuSelection, JobOrder};

/// What an NVIDIA container may do with its GPUs; `display` is not in every driver.
const NVIDIA: [&str; 7] = [
    "gpu", "utility", "compute", "graphics", "video", "display", "compat32",
];

/// Adds the devices of the order and of the host.
pub fn add(order: &JobOrder, host: &mut HostConfig, env: &mut Vec<String>) {
    let mut devices = Vec::new();
    if Path::new("/dev/nvidiactl").exists() {
        nvidia(&order.gpus, host, env);
    } else if Path::new("/dev/kfd").exists() && order.gpus != GpuSelection::None {
        amd(host, &mut devices);
    } else if order.gpus == GpuSelection::None {
        // An image may ask for every GPU by itself.
        env.push("NVIDIA_VISIBLE_DEVICES=void".into());
    }
    if Path::new("/dev/infiniband").exists() {
        devices.push(device("/dev/infiniband"));
        // Fabrics pin memory. Only here: a daemon without the right to raise it fails the start.
        host.ulimits = Some(vec![ResourcesUlimits {
            name: Some("memlock".into()),
            soft: Some(-1),
            hard: Some(-1),
        }]);
    }
    if !devices.is_empty() {
        host.devices = Some(devices);
    }
}

/// Drops the capability that headless drivers lack; `false` when it was not asked for.
pub fn without_display(body: &mut ContainerCreateBody) -> bool {
    let requests = body
        .host_config
        .as_mut()
        .and_then(|host| host.device_requests.as_mut());
    let mut dropped = false;
    for set in requests
        .into_iter()
        .flatten()
        .filter_map(|request| request.capabilities.as_mut())
        .flatten()
    {
        let before = set.len();
        set.retain(|capability| capability != "display");
        dropped |= set.len() < before;
    }
    dropped
}

fn nvidia(gpus: &GpuSelection, host: &mut HostConfig, env: &mut Vec<String>) {
    let (count, ids) = match gpus {
        GpuSelection::None => {
            env.push("NVIDIA_VISIBLE_DEVICES=void".into());
            return;
        }
        GpuSelection::All => (Some(-1), None),
        GpuSelection::Some(uuids) => (None, Some(uuids.clone())),
    };
    host.device_requests = Some(vec![DeviceRequest {
        count,
        device_ids: ids,
        capabilities: Some(vec![NVIDIA.iter().map(|name| (*name).to_owned()).collect()]),
        ..DeviceRequest::default()
    }]);
}

fn amd(host: &mut HostConfig, devices: &mut Vec<DeviceMapping>) {
    devices.push(device("/dev/kfd"));
    // The order names GPUs by UUID, which the render nodes do not tell: the job sees all of them.
    let nodes = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    for node in nodes.filter_map(|entry| entry.file_name().into_string().ok()) {
        if node.starts_with("renderD") {
            devices.push(device(&format!("/dev/dri/{node}")));
        }
    }
    host.ipc_mode = Some("host".into());
    host.cap_add = Some(vec!["SYS_PTRACE".into()]);
    host.security_opt = Some(vec!["seccomp=unconfined".into()]);
}

fn device(path: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(path.to_owned()),
        path_in_container: Some(path.to_owned()),
        cgroup_permissions: Some("rwm".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_requested_by_uuid_and_without_display_when_refused() {
        let mut host = HostConfig::default();
        nvidia(
            &GpuSelection::Some(vec!["GPU-1".into()]),
            &mut host,
            &mut Vec::new(),
        );
        let mut body = ContainerCreateBody {
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        assert!(without_display(&mut body));
        assert!(!without_display(&mut body), "only once");
        let request = &body.host_config.unwrap().device_requests.unwrap()[0];
        assert_eq!(
            request.device_ids.as_deref(),
            Some(&["GPU-1".to_owned()][..])
        );
        assert_eq!(
            request.capabilities.as_ref().unwrap()[0].len(),
            NVIDIA.len() - 1
        );
    }
}
