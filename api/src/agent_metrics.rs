//! What one frame of the stream `metrics` says. Its timestamp is the frame's.

use serde::{Deserialize, Serialize};

/// The use of one job at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Microseconds of CPU since the job started.
    pub cpu_us: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes, without the page cache that nobody needs.
    pub working_set: u64,
    /// One for each GPU of the job that the driver's tool shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSample>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSample {
    /// Bytes.
    pub memory: u64,
    /// 0 to 100.
    pub percent: u32,
}
