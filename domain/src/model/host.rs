//! How a host is reached and what it turned out to be.

use super::{GpuDriver, Sealed};
use serde::{Deserialize, Serialize};

/// A host of an SSH fleet, with everything needed to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteHost {
    pub hostname: String,
    pub port: u16,
    pub user: String,
    /// The private key the user supplied for this host.
    pub identity: Option<Sealed>,
    pub identity_public: Option<String>,
    pub proxy_jump: Option<ProxyHost>,
    pub internal_ip: Option<String>,
}

impl RemoteHost {
    /// What makes a host the same host: it may belong to one fleet only, server-wide.
    pub fn address(&self) -> String {
        format!("{}:{}", self.hostname.to_ascii_lowercase(), self.port)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyHost {
    pub hostname: String,
    pub port: u16,
    pub user: String,
    pub identity: Option<Sealed>,
}

/// What the agent found on the host. Mirrors the agent protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub cpus: u32,
    pub memory_mib: u64,
    pub disk_mib: u64,
    /// As the kernel says it (`x86_64`, `aarch64`).
    pub arch: String,
    pub hostname: String,
    pub gpus: Vec<HostGpu>,
    pub gpu_driver: Option<GpuDriver>,
    pub nics: Vec<HostNic>,
    pub infiniband: Vec<String>,
    pub kernel: String,
    pub os: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostGpu {
    pub vendor: String,
    pub name: String,
    pub memory_mib: u64,
    pub uuid: String,
    pub index: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNic {
    pub name: String,
    /// With or without a prefix length (`10.0.0.5/24`).
    pub addresses: Vec<String>,
    pub speed_mbps: u64,
}
