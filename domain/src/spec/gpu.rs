//! `resources.gpu`: which accelerators, how many, with how much memory.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess};
use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::range::Range;
use super::shorthand::{self, Shorthand, deserialize_shorthand};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuVendor {
    Nvidia,
    Amd,
    Google,
    Intel,
    Tenstorrent,
}

impl GpuVendor {
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "nvidia" => Some(Self::Nvidia),
            "amd" => Some(Self::Amd),
            "google" | "tpu" => Some(Self::Google),
            "intel" => Some(Self::Intel),
            "tenstorrent" | "tt" => Some(Self::Tenstorrent),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Google => "google",
            Self::Intel => "intel",
            Self::Tenstorrent => "tenstorrent",
        }
    }
}

impl Shorthand for GpuVendor {
    const EXPECTING: &'static str =
        "one of `nvidia`, `amd`, `google` (or `tpu`), `intel`, `tenstorrent` (or `tt`)";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .ok_or_else(|| format!("`{text}` is not a GPU vendor, expected {}", Self::EXPECTING))
    }
}

deserialize_shorthand!(GpuVendor: ["string"]);

/// CUDA compute capability; `[7, 5]` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ComputeCapability(pub u32, pub u32);

impl Shorthand for ComputeCapability {
    const EXPECTING: &'static str = "a compute capability such as `7.5`, or `[7, 5]`";

    fn from_text(text: &str) -> Result<Self, String> {
        let parsed = text
            .trim()
            .split_once('.')
            .and_then(|(major, minor)| Some(Self(major.parse().ok()?, minor.parse().ok()?)));
        parsed.ok_or_else(|| format!("`{text}` is not {}", Self::EXPECTING))
    }

    fn from_integer(number: i64) -> Result<Self, String> {
        Self::from_text(&format!("{number}.0"))
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Self::from_text(&format!("{number:?}"))
    }

    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        match (
            seq.next_element()?,
            seq.next_element()?,
            seq.next_element::<u32>()?,
        ) {
            (Some(major), Some(minor), None) => Ok(Self(major, minor)),
            _ => Err(serde::de::Error::custom(
                "a compute capability has two numbers, such as `[7, 5]`",
            )),
        }
    }
}

deserialize_shorthand!(ComputeCapability: ["string", "number"], (u32, u32));

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuSpec {
    pub vendor: Option<GpuVendor>,
    pub name: Option<Vec<String>>,
    pub count: Range<u32>,
    /// Per GPU.
    pub memory: Option<Range<Memory>>,
    /// Across the GPUs of one node.
    pub total_memory: Option<Range<Memory>>,
    /// The least accepted.
    pub compute_capability: Option<ComputeCapability>,
}

impl GpuSpec {
    pub const fn any(count: Range<u32>) -> Self {
        Self {
            vendor: None,
            name: None,
            count,
            memory: None,
            total_memory: None,
            compute_capability: None,
        }
    }

    /// Whether a node without GPUs satisfies this.
    pub fn is_optional(&self) -> bool {
        self.count.min.unwrap_or(0) == 0
    }
}

const GPU_COUNT_DEFAULT: Range<u32> = Range::at_least(1);

fn gpu_count() -> Range<u32> {
    GPU_COUNT_DEFAULT
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongGpu {
    #[serde(default)]
    vendor: Option<GpuVendor>,
    #[serde(default)]
    name: Option<GpuNames>,
    #[serde(default = "gpu_count")]
    count: Range<u32>,
    #[serde(default)]
    memory: Option<Range<Memory>>,
    #[serde(default)]
    total_memory: Option<Range<Memory>>,
    #[serde(default)]
    compute_capability: Option<ComputeCapability>,
}

struct GpuNames(Vec<String>);

impl Shorthand for GpuNames {
    const EXPECTING: &'static str = "a GPU name or a list of names";

    fn from_text(text: &str) -> Result<Self, String> {
        gpu_names(text).map(Self)
    }

    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element::<String>()? {
            names.extend(gpu_names(&name).map_err(serde::de::Error::custom)?);
        }
        Ok(Self(names))
    }
}

deserialize_shorthand!(GpuNames: ["string"], Vec<String>);

fn gpu_names(text: &str) -> Result<Vec<String>, String> {
    text.split(',')
        .map(|name| {
            let name = name.trim();
            let name = name.strip_prefix("tpu-").unwrap_or(name);
            if name.is_empty() {
                Err(format!("`{text}` has an empty GPU name"))
            } else {
                Ok(name.to_owned())
            }
        })
        .collect()
}

impl Shorthand for GpuSpec {
    const EXPECTING: &'static str =
        "a GPU such as `H100:8`, `24GB..`, `nvidia:80GB:1..8`, a number, or a mapping";

    fn from_text(text: &str) -> Result<Self, String> {
        // `RTX 4090` and `H100 : 8` are written so.
        let text = &text.replace(' ', "");
        let mut gpu = Self::any(GPU_COUNT_DEFAULT);
        let mut count = None;
        let twice = |what: &str| {
            Err(format!(
                "`{text}` names two {what}; separate alternatives by commas, other parts by colons"
            ))
        };
        for token in text.split(':').map(str::trim) {
            let Some(first) = token.chars().next() else {
                return Err(format!("`{text}` has an empty part between its colons"));
            };
            if let Some(vendor) = GpuVendor::parse(token) {
                if gpu.vendor.replace(vendor).is_some() {
                    return twice("vendors");
                }
            } else if first.is_alphabetic() {
                if gpu.name.replace(gpu_names(token)?).is_some() {
                    return twice("GPU names");
                }
            } else if token.contains(char::is_alphabetic) {
                if gpu.memory.replace(Range::parse(token)?).is_some() {
                    return twice("amounts of memory");
                }
            } else if count.replace(Range::parse(token)?).is_some() {
                return twice("counts");
            }
        }
        gpu.count = count.unwrap_or(GPU_COUNT_DEFAULT);
        Ok(gpu)
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Range::from_float(number).map(Self::any)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongGpu = shorthand::long_form(map)?;
        Ok(Self {
            vendor: long.vendor,
            name: long.name.map(|names| names.0),
            count: long.count,
            memory: long.memory,
            total_memory: long.total_memory,
            compute_capability: long.compute_capability,
        })
    }
}

deserialize_shorthand!(GpuSpec: ["string", "number"], LongGpu);

impl fmt::Display for GpuSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(vendor) = self.vendor {
            write!(f, "{}:", vendor.as_str())?;
        }
        if let Some(names) = &self.name {
            write!(f, "{}:", names.join(","))?;
        }
        if let Some(memory) = &self.memory {
            write!(f, "{memory}:")?;
        }
        write!(f, "{}", self.count)
    }
}
