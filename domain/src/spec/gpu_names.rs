//! Which vendor a GPU name belongs to, so that `gpu: H100` finds NVIDIA machines without being told.

use super::gpu::GpuVendor;

const NVIDIA: [&str; 46] = [
    "A2",
    "A10",
    "A10G",
    "A16",
    "A30",
    "A40",
    "A100",
    "A800",
    "A4000",
    "A4500",
    "A5000",
    "A6000",
    "B100",
    "B200",
    "B300",
    "GB200",
    "GB300",
    "GH200",
    "H20",
    "H100",
    "H100NVL",
    "H200",
    "H200NVL",
    "H800",
    "L4",
    "L20",
    "L40",
    "L40S",
    "P4",
    "P100",
    "T4",
    "T4G",
    "V100",
    "RTX4000",
    "RTX5000",
    "RTX6000",
    "RTX4000Ada",
    "RTX5000Ada",
    "RTX6000Ada",
    "RTXPRO4500",
    "RTXPRO6000",
    "RTX3090",
    "RTX4090",
    "RTX5090",
    "K80",
    "M60",
];
const AMD: [&str; 9] = [
    "MI100", "MI210", "MI250", "MI250X", "MI300A", "MI300X", "MI308X", "MI325X", "MI355X",
];
const INTEL: [&str; 3] = ["Gaudi", "Gaudi2", "Gaudi3"];
const TENSTORRENT: [&str; 4] = ["n150", "n300", "p100", "p150"];
const TPU: [&str; 7] = ["v2-", "v3-", "v4-", "v5p-", "v5litepod-", "v5e-", "v6e-"];

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// `None` for names this table does not know.
pub fn vendor_of(name: &str) -> Option<GpuVendor> {
    let lower = name.to_ascii_lowercase();
    if TPU.iter().any(|generation| lower.starts_with(generation)) {
        return Some(GpuVendor::Google);
    }
    // `P100` is NVIDIA's and was there first; Tenstorrent's `p100` is asked for with its vendor.
    let consumer = lower.starts_with("rtx") || lower.starts_with("gtx");
    if consumer || is_one_of(name, &NVIDIA) {
        Some(GpuVendor::Nvidia)
    } else if is_one_of(name, &AMD) {
        Some(GpuVendor::Amd)
    } else if is_one_of(name, &INTEL) {
        Some(GpuVendor::Intel)
    } else if is_one_of(name, &TENSTORRENT) {
        Some(GpuVendor::Tenstorrent)
    } else {
        None
    }
}

/// The vendor that all names have in common.
pub fn common_vendor(names: &[String]) -> Option<GpuVendor> {
    let mut vendors = names.iter().map(|name| vendor_of(name));
    let first = vendors.next()??;
    vendors.all(|vendor| vendor == Some(first)).then_some(first)
}
