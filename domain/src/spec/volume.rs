//! `type: volume`: network storage that outlives runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};

use super::duration::{self, IdleDuration};
use super::memory::Memory;
use super::shorthand::type_tag;

type_tag!(VolumeTag, "volume");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeBackend {
    Aws,
    Gcp,
    Runpod,
    Kubernetes,
    Daytona,
    Lium,
}

/// The keys of all backends; which of them a backend knows is checked in `validate`, and only those are written out.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeConfiguration {
    #[serde(default = "tag")]
    pub r#type: VolumeTag,
    pub backend: VolumeBackend,
    #[serde(default, deserialize_with = "super::names::resource_name")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "duration::idle")]
    pub auto_cleanup_duration: Option<IdleDuration>,
    #[serde(default, deserialize_with = "super::names::tags")]
    pub tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub size: Option<Memory>,
    /// An existing volume to register.
    #[serde(default)]
    pub volume_id: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub availability_zone: Option<String>,
    #[serde(default)]
    pub claim_name: Option<String>,
    #[serde(default)]
    pub storage_class_name: Option<String>,
    #[serde(default)]
    pub access_modes: Option<Vec<String>>,
    #[serde(default)]
    pub read_only: Option<bool>,
}

fn tag() -> VolumeTag {
    VolumeTag
}

impl VolumeBackend {
    pub fn has_region(self) -> bool {
        !matches!(self, Self::Daytona | Self::Lium)
    }

    pub fn has_zone(self) -> bool {
        matches!(self, Self::Aws | Self::Gcp)
    }

    pub fn has_size(self) -> bool {
        !matches!(self, Self::Daytona | Self::Lium)
    }
}

impl VolumeConfiguration {
    /// The existing storage this volume stands for, if it does.
    pub fn external_id(&self) -> Option<&str> {
        match self.backend {
            VolumeBackend::Kubernetes => self.claim_name.as_deref(),
            _ => self.volume_id.as_deref(),
        }
    }
}

impl Serialize for VolumeConfiguration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &self.r#type)?;
        map.serialize_entry("backend", &self.backend)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("auto_cleanup_duration", &self.auto_cleanup_duration)?;
        map.serialize_entry("tags", &self.tags)?;
        if self.backend.has_size() {
            map.serialize_entry("size", &self.size)?;
        }
        if self.backend.has_region() {
            map.serialize_entry("region", self.region.as_deref().unwrap_or(""))?;
        }
        if self.backend.has_zone() {
            map.serialize_entry("availability_zone", &self.availability_zone)?;
        }
        if self.backend == VolumeBackend::Kubernetes {
            map.serialize_entry("claim_name", &self.claim_name)?;
            map.serialize_entry("storage_class_name", &self.storage_class_name)?;
            let usual = vec!["ReadWriteOnce".to_owned()];
            map.serialize_entry("access_modes", self.access_modes.as_ref().unwrap_or(&usual))?;
            map.serialize_entry("read_only", &self.read_only.unwrap_or(false))?;
        } else {
            map.serialize_entry("volume_id", &self.volume_id)?;
        }
        map.end()
    }
}
