//! `gpus/list`: offers put together by what they have in common. Upstream drops nulls here, and only here.

use dstack_domain::model::Availability;
use dstack_domain::spec::{BackendType, RunSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListGpus {
    pub run_spec: RunSpec,
    #[serde(default)]
    pub group_by: Option<Vec<GroupBy>>,
    #[serde(default)]
    pub reverse: bool,
    #[serde(default)]
    pub full_offers: bool,
    #[serde(default)]
    pub unallocated_resources: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    Backend,
    Region,
    Count,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuList {
    pub gpus: Vec<GpuGroup>,
    /// Only when no GPU was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Vec<CpuGroup>>,
}

/// One kind of GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuGroup {
    pub name: String,
    pub memory_mib: u64,
    pub vendor: String,
    #[serde(flatten)]
    pub common: Group,
    /// GPUs in one offer.
    pub count: Span<u32>,
    /// Per GPU and hour.
    pub price: Span<f64>,
    /// Per offer and hour.
    pub offer_price: Span<f64>,
}

/// Offers without a GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuGroup {
    pub cpu_arch: Vec<String>,
    #[serde(flatten)]
    pub common: Group,
    /// CPUs in one offer.
    pub count: Span<u32>,
    pub memory_mib: Span<u64>,
    /// Per offer and hour.
    pub price: Span<f64>,
}

/// What the offers of a group say together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    pub availability: Vec<Availability>,
    /// `spot`, `on-demand`, or both.
    pub spot: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<BackendType>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span<T> {
    pub min: T,
    pub max: T,
}

impl<T: Copy + PartialOrd> Span<T> {
    pub fn of(value: T) -> Self {
        Self {
            min: value,
            max: value,
        }
    }

    pub fn widen(&mut self, value: T) {
        if value < self.min {
            self.min = value;
        }
        if value > self.max {
            self.max = value;
        }
    }
}
