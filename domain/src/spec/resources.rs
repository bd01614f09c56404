//! `resources:`: what a node must have.

use std::fmt;

use schemars::JsonSchema;
use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

use super::gpu::GpuSpec;
use super::memory::Memory;
use super::range::Range;
use super::shorthand::{self, Shorthand, deserialize_shorthand};

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CpuArch {
    X86,
    Arm,
}

impl CpuArch {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "x86" => Some(Self::X86),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::Arm => "arm",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CpuSpec {
    pub arch: Option<CpuArch>,
    pub count: Range<u32>,
}

const CPU_DEFAULT: Range<u32> = Range::at_least(2);

impl Default for CpuSpec {
    fn default() -> Self {
        Self {
            arch: None,
            count: CPU_DEFAULT,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongCpu {
    #[serde(default)]
    arch: Option<CpuArch>,
    #[serde(default)]
    count: Option<Range<u32>>,
    /// The older form: the count itself as a mapping.
    #[serde(default)]
    min: Option<u32>,
    #[serde(default)]
    max: Option<u32>,
}

impl Shorthand for CpuSpec {
    const EXPECTING: &'static str =
        "a number of CPUs such as `4`, `4..8`, `x86:8..` or a mapping with `arch` and `count`";

    fn from_text(text: &str) -> Result<Self, String> {
        let (mut arch, mut count) = (None, None);
        for token in text.split(':').map(str::trim) {
            if token.is_empty() {
                return Err(format!("`{text}` has an empty part between its colons"));
            }
            if let Some(found) = CpuArch::parse(token) {
                if arch.replace(found).is_some() {
                    return Err(format!("`{text}` names two architectures"));
                }
            } else if token.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Err(format!(
                    "`{token}` is not a CPU architecture: write `x86` or `arm`"
                ));
            } else if count.replace(Range::parse(token)?).is_some() {
                return Err(format!("`{text}` names two counts"));
            }
        }
        Ok(Self {
            arch,
            count: count.unwrap_or(CPU_DEFAULT),
        })
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Range::from_float(number).map(|count| Self { arch: None, count })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongCpu = shorthand::long_form(map)?;
        let count = match (long.count, long.min, long.max) {
            (count, None, None) => Ok(count.unwrap_or(CPU_DEFAULT)),
            (None, min, max) => Range::new(min, max),
            _ => Err("`count` cannot stand beside `min` or `max`".to_owned()),
        };
        count
            .map(|count| Self {
                arch: long.arch,
                count,
            })
            .map_err(serde::de::Error::custom)
    }
}

deserialize_shorthand!(CpuSpec: ["string", "number"], LongCpu);

impl fmt::Display for CpuSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(arch) = self.arch {
            write!(f, "{}:", arch.as_str())?;
        }
        write!(f, "{}", self.count)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DiskSpec {
    pub size: Range<Memory>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongDisk {
    #[serde(default)]
    size: Option<Range<Memory>>,
    #[serde(default)]
    min: Option<Memory>,
    #[serde(default)]
    max: Option<Memory>,
}

impl Shorthand for DiskSpec {
    const EXPECTING: &'static str =
        "a disk size such as `200GB`, `200GB..`, or a mapping with `size`";

    fn from_text(text: &str) -> Result<Self, String> {
        Range::parse(text).map(|size| Self { size })
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Range::from_float(number).map(|size| Self { size })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongDisk = shorthand::long_form(map)?;
        let size = match (long.size, long.min, long.max) {
            (Some(size), None, None) => Ok(size),
            (None, min, max) => Range::new(min, max),
            _ => Err("`size` cannot stand beside `min` or `max`".to_owned()),
        };
        size.map(|size| Self { size })
            .map_err(serde::de::Error::custom)
    }
}

deserialize_shorthand!(DiskSpec: ["string", "number"], LongDisk);

/// Absent and null differ for `gpu` and `disk`: absent takes the default, null asks for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourcesSpec {
    pub cpu: CpuSpec,
    pub memory: Range<Memory>,
    pub shm_size: Option<Memory>,
    pub gpu: Option<GpuSpec>,
    pub disk: Option<DiskSpec>,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        Self {
            cpu: CpuSpec::default(),
            memory: Range::at_least(Memory::gb(8)),
            shm_size: None,
            gpu: Some(GpuSpec::any(Range::at_least(0))),
            disk: Some(DiskSpec {
                size: Range::at_least(Memory::gb(100)),
            }),
        }
    }
}

impl ResourcesSpec {
    /// What a fleet without a `resources` block asks for: nothing.
    pub fn unconstrained() -> Self {
        Self {
            cpu: CpuSpec {
                arch: None,
                count: Range::at_least(1),
            },
            memory: Range::at_least(Memory::gb(0)),
            shm_size: None,
            gpu: Some(GpuSpec::any(Range::at_least(0))),
            disk: None,
        }
    }
}

impl fmt::Display for ResourcesSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu={} mem={}", self.cpu, self.memory)?;
        if let Some(disk) = &self.disk {
            write!(f, " disk={}", disk.size)?;
        }
        if let Some(gpu) = &self.gpu
            && gpu.count.max != Some(0)
        {
            write!(f, " gpu={gpu}")?;
        }
        Ok(())
    }
}
