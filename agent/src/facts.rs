//! What the host is made of. Read from the kernel and, for GPUs, from the vendors' tools: a static
//! binary cannot load their libraries.

mod gpus;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dstack_api::agent::{HostFacts, Nic};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrLike;
use nix::sys::statvfs::statvfs;

/// Looks at the host; takes as long as the slowest vendor tool. `home`: the disk jobs will use.
pub fn gather(home: &Path) -> HostFacts {
    let gpus = gpus::gather();
    HostFacts {
        cpus: std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_mib: memory_mib(&read("/proc/meminfo")),
        disk_mib: disk_mib(home),
        arch: arch().to_owned(),
        hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
        gpus: gpus.list,
        gpu_driver: gpus.driver,
        nics: nics(),
        infiniband: names("/sys/class/infiniband"),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        os: os_name(&read("/etc/os-release")),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm",
        _ => "x86",
    }
}

fn memory_mib(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// Free for this user.
fn disk_mib(path: &Path) -> u64 {
    statvfs(path).map_or(0, |fs| {
        fs.blocks_available().saturating_mul(fs.fragment_size()) / (1024 * 1024)
    })
}

fn os_name(os_release: &str) -> String {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_default()
}

/// Interfaces with their addresses; loopback too, because hosts of a demonstration live on it.
fn nics() -> Vec<Nic> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for interface in getifaddrs().into_iter().flatten() {
        let addresses = found.entry(interface.interface_name).or_default();
        let Some(address) = interface.address else {
            continue;
        };
        let with_prefix = |ip: String, mask: Option<u32>| match mask {
            Some(bits) => format!("{ip}/{bits}"),
            None => ip,
        };
        if let Some(v4) = address.as_sockaddr_in() {
            let mask = interface.netmask.and_then(|mask| {
                mask.as_sockaddr_in()
                    .map(|m| u32::from(m.ip()).count_ones())
            });
            addresses.push(with_prefix(v4.ip().to_string(), mask));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            let mask = interface.netmask.and_then(|mask| {
                mask.as_sockaddr_in6()
                    .map(|m| u128::from(m.ip()).count_ones())
            });
            addresses.push(with_prefix(v6.ip().to_string(), mask));
        } else if address.family().is_none() {
            continue;
        }
    }
    found
        .into_iter()
        .map(|(name, addresses)| {
            let speed = read(&format!("/sys/class/net/{name}/speed"));
            // -1 where the driver does not know.
            let speed_mbps = speed
                .trim()
                .parse::<i64>()
                .ok()
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or_default();
            Nic {
                name,
                addresses,
                speed_mbps,
            }
        })
        .collect()
}

fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// The facts as JSON, for `dstack-agent facts`.
pub fn to_json(facts: &HostFacts) -> serde_json::Value {
    serde_json::json!({
        "cpus": facts.cpus,
        "memory_mib": facts.memory_mib,
        "disk_mib": facts.disk_mib,
        "arch": facts.arch,
        "hostname": facts.hostname,
        "kernel": facts.kernel,
        "os": facts.os,
        "gpu_driver": facts.gpu_driver,
        "gpus": facts.gpus.iter().map(|gpu| serde_json::json!({
            "vendor": gpu.vendor, "name": gpu.name, "memory_mib": gpu.memory_mib, "uuid": gpu.uuid, "index": gpu.index,
        })).collect::<Vec<_>>(),
        "nics": facts.nics.iter().map(|nic| serde_json::json!({
            "name": nic.name, "addresses": nic.addresses, "speed_mbps": nic.speed_mbps,
        })).collect::<Vec<_>>(),
        "infiniband": facts.infiniband,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_every_machine_has() {
        let facts = gather(Path::new("/"));
        assert!(
            facts.cpus > 0
                && facts.memory_mib > 0
                && !facts.hostname.is_empty()
                && !facts.kernel.is_empty()
        );
        let loopback = facts.nics.iter().find(|nic| nic.name == "lo").unwrap();
        assert!(
            loopback.addresses.contains(&"127.0.0.1/8".to_owned()),
            "{loopback:?}"
        );
        assert_eq!(to_json(&facts)["cpus"], facts.cpus);
    }

    #[test]
    fn files_of_another_form_give_nothing_rather_than_nonsense() {
        assert_eq!(memory_mib("MemTotal:       16384 kB\n"), 16);
        assert_eq!(memory_mib("garbage"), 0);
        assert_eq!(os_name("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(os_name(""), "");
    }
}
