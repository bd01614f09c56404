//! Offers, machine types and provisioning data in upstream's own shapes: we store what we show.

use crate::spec::BackendType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    pub name: String,
    pub memory_mib: u64,
    /// `nvidia`, `amd`, `google`, `intel` or `tenstorrent`; any other word would crash the client.
    pub vendor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuDriver {
    pub vendor: Option<String>,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    pub size_mib: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    pub cpus: u32,
    pub memory_mib: u64,
    pub gpus: Vec<Gpu>,
    pub spot: bool,
    pub disk: Disk,
    /// `x86` or `arm`.
    pub cpu_arch: Option<String>,
    #[serde(default)]
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceType {
    pub name: String,
    pub resources: Resources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    Unknown,
    Available,
    NotAvailable,
    NoQuota,
    NoBalance,
    Idle,
    Busy,
}

impl Availability {
    pub fn is_available(self) -> bool {
        matches!(
            self,
            Availability::Unknown | Availability::Available | Availability::Idle
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceRuntime {
    Shim,
    Runner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    Host,
    Bridge,
}

/// In an offer's `backend_data`: its machines can be joined by a fast network that is made for them.
pub const HAS_FABRIC: &str = "fabric";

/// Upstream's `InstanceOfferWithAvailability`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceOffer {
    pub backend: BackendType,
    pub instance: InstanceType,
    pub region: String,
    pub price: f64,
    #[serde(default)]
    pub backend_data: BTreeMap<String, serde_json::Value>,
    pub availability: Availability,
    #[serde(default)]
    pub availability_zones: Option<Vec<String>>,
    pub instance_runtime: InstanceRuntime,
    pub blocks: u32,
    pub total_blocks: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshConnection {
    pub hostname: String,
    pub username: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobProvisioningData {
    pub backend: BackendType,
    pub base_backend: Option<BackendType>,
    pub instance_type: InstanceType,
    pub instance_id: String,
    pub hostname: Option<String>,
    pub internal_ip: Option<String>,
    pub public_ip_enabled: bool,
    pub instance_network: Option<String>,
    pub region: String,
    pub availability_zone: Option<String>,
    pub reservation: Option<String>,
    pub price: f64,
    pub username: String,
    pub ssh_port: Option<u16>,
    pub dockerized: bool,
    pub ssh_proxy: Option<SshConnection>,
    pub backend_data: Option<String>,
    pub gpu_driver: Option<GpuDriver>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobRuntimeData {
    pub network_mode: NetworkMode,
    pub gpu: Option<u32>,
    pub cpu: Option<f64>,
    /// Gigabytes.
    pub memory: Option<f64>,
    pub ports: Option<BTreeMap<u16, u16>>,
    pub volume_names: Option<Vec<String>>,
    pub offer: Option<InstanceOffer>,
    pub working_dir: Option<String>,
    pub username: Option<String>,
}
