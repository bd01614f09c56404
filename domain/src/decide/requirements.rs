//! Whether a machine, or a part of it, satisfies what a job asks for.

use crate::model::{Gpu, Resources};
use crate::spec::{ComputeCapability, GpuSpec, Memory, Requirements};

/// The smallest number of blocks of the machine that satisfies the requirements.
pub fn blocks_needed(requirements: &Requirements, whole: &Resources, total: u32) -> Option<u32> {
    let total = total.max(1);
    if requirements.multinode == Some(true) {
        return fits(requirements, whole, total, total).then_some(total);
    }
    (1..=total).find(|blocks| fits(requirements, whole, *blocks, total))
}

/// Whether `blocks` of `total` parts satisfy the requirements. The disk is shared, not split.
pub fn fits(requirements: &Requirements, whole: &Resources, blocks: u32, total: u32) -> bool {
    let wanted = &requirements.resources;
    let total = u64::from(total.max(1));
    let share = |amount: u64| amount * u64::from(blocks) / total;
    let cpus = u32::try_from(share(u64::from(whole.cpus))).unwrap_or(u32::MAX);
    let gpus = share(whole.gpus.len() as u64) as usize;
    let arch_fits = match (wanted.cpu.arch, &whole.cpu_arch) {
        (Some(arch), Some(has)) => arch.as_str() == has,
        _ => true,
    };
    let disk_fits = wanted
        .disk
        .as_ref()
        .is_none_or(|disk| disk.size.contains(Memory::from_mib(whole.disk.size_mib)));
    arch_fits
        && disk_fits
        && requirements.spot != Some(true)
        && requirements.reservation.is_none()
        && wanted.cpu.count.contains(cpus)
        && wanted
            .memory
            .contains(Memory::from_mib(share(whole.memory_mib)))
        && wanted
            .gpu
            .as_ref()
            .is_none_or(|gpu| gpus_fit(gpu, whole.gpus.get(..gpus).unwrap_or(&[])))
}

fn gpus_fit(wanted: &GpuSpec, gpus: &[Gpu]) -> bool {
    if !wanted.count.contains(gpus.len() as u32) {
        return false;
    }
    let total: u64 = gpus.iter().map(|gpu| gpu.memory_mib).sum();
    if gpus.is_empty() {
        return true;
    }
    wanted
        .total_memory
        .is_none_or(|range| range.contains(Memory::from_mib(total)))
        && gpus.iter().all(|gpu| gpu_fits(wanted, gpu))
}

fn gpu_fits(wanted: &GpuSpec, gpu: &Gpu) -> bool {
    let vendor = wanted
        .vendor
        .is_none_or(|vendor| gpu.vendor.as_deref() == Some(vendor.as_str()));
    let name = wanted
        .name
        .as_ref()
        .is_none_or(|names| names.iter().any(|n| n.eq_ignore_ascii_case(&gpu.name)));
    let memory = wanted
        .memory
        .is_none_or(|range| range.contains(Memory::from_mib(gpu.memory_mib)));
    let capability = wanted
        .compute_capability
        .is_none_or(|least| capability(&gpu.name).is_some_and(|has| has >= least));
    vendor && name && memory && capability
}

/// CUDA compute capability by name; a GPU we do not know does not satisfy a request for one.
fn capability(name: &str) -> Option<ComputeCapability> {
    let known = [
        (&["V100"][..], (7, 0)),
        (&["T4", "T4G", "RTX6000", "RTX8000"], (7, 5)),
        (&["A100", "A30", "A800"], (8, 0)),
        (
            &[
                "A10", "A10G", "A16", "A2", "A40", "A4000", "A5000", "A6000", "RTX3090",
            ],
            (8, 6),
        ),
        (
            &[
                "L4",
                "L20",
                "L40",
                "L40S",
                "RTX4090",
                "RTX4000Ada",
                "RTX5000Ada",
                "RTX6000Ada",
            ],
            (8, 9),
        ),
        (
            &["H100", "H100NVL", "H200", "H200NVL", "H800", "H20", "GH200"],
            (9, 0),
        ),
        (&["B100", "B200", "GB200"], (10, 0)),
        (&["B300", "GB300"], (10, 3)),
        (&["RTX5090", "RTXPRO4500", "RTXPRO6000"], (12, 0)),
    ];
    let found = known
        .iter()
        .find(|(names, _)| names.iter().any(|n| n.eq_ignore_ascii_case(name)))?;
    Some(ComputeCapability(found.1.0, found.1.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Disk;
    use crate::spec::ResourcesSpec;

    fn host(cpus: u32, memory_gb: u64, gpus: usize) -> Resources {
        let gpu = Gpu {
            name: "H100".into(),
            memory_mib: 80 * 1024,
            vendor: Some("nvidia".into()),
        };
        Resources {
            cpus,
            memory_mib: memory_gb * 1024,
            gpus: vec![gpu; gpus],
            spot: false,
            disk: Disk {
                size_mib: 1024 * 1024,
            },
            cpu_arch: Some("x86".into()),
            description: String::new(),
        }
    }

    fn asks(json: serde_json::Value) -> Requirements {
        let resources: ResourcesSpec = serde_json::from_value(json).unwrap();
        Requirements {
            resources,
            max_price: None,
            spot: Some(false),
            reservation: None,
            multinode: None,
            backend_options: None,
        }
    }

    #[test]
    fn the_smallest_fitting_part_is_taken() {
        let machine = host(64, 512, 8);
        assert_eq!(
            blocks_needed(&asks(serde_json::json!({"gpu": "H100:2"})), &machine, 8),
            Some(2)
        );
        assert_eq!(
            blocks_needed(&asks(serde_json::json!({"gpu": "H100:2"})), &machine, 1),
            None
        );
        assert_eq!(
            blocks_needed(&asks(serde_json::json!({"cpu": "20.."})), &machine, 8),
            Some(3)
        );
        let mut nodes = asks(serde_json::json!({"gpu": "1.."}));
        nodes.multinode = Some(true);
        assert_eq!(blocks_needed(&nodes, &machine, 8), Some(8));
    }

    #[test]
    fn names_vendors_memory_and_capability_count() {
        let machine = host(64, 512, 8);
        for (gpu, fits) in [
            (serde_json::json!("amd:8"), false),
            (serde_json::json!("A100,H100:8"), true),
            (serde_json::json!("h100:8"), true),
            (serde_json::json!("141GB..:8"), false),
            (
                serde_json::json!({"count": 8, "compute_capability": "9.0"}),
                true,
            ),
            (
                serde_json::json!({"count": 8, "compute_capability": "10.0"}),
                false,
            ),
            (serde_json::json!(0), false),
        ] {
            let wants = asks(serde_json::json!({"gpu": gpu}));
            assert_eq!(
                blocks_needed(&wants, &machine, 1).is_some(),
                fits,
                "{wants:?}"
            );
        }
    }
}
