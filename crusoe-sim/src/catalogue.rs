//! The types the simulated cloud has, where, and how many.

/// One type.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    pub name: &'static str,
    pub cpus: u64,
    pub memory_gb: u64,
    pub disk_gb: u64,
    pub gpus: u64,
    pub gpu_type: &'static str,
    pub cpu_type: &'static str,
    /// Dollars per hour, for the bill.
    pub price: f64,
}

impl Product {
    pub fn family(&self) -> &'static str {
        self.name
            .rsplit_once('.')
            .map_or(self.name, |(family, _)| family)
    }

    /// What quotas and network capacities count: GPUs, or CPUs of types without.
    pub fn slices(&self) -> u64 {
        if self.gpus == 0 { self.cpus } else { self.gpus }
    }

    /// Its machines have adapters for a partition.
    pub fn has_fabric(&self) -> bool {
        self.family().ends_with("-ib") || self.family().ends_with("-roce")
    }
}

const fn gpu(
    name: &'static str,
    (cpus, memory_gb, disk_gb): (u64, u64, u64),
    (gpus, gpu_type): (u64, &'static str),
    price: f64,
) -> Product {
    Product {
        name,
        cpus,
        memory_gb,
        disk_gb,
        gpus,
        gpu_type,
        cpu_type: "amd",
        price,
    }
}

pub const PRODUCTS: [Product; 14] = [
    gpu("a40.1x", (6, 60, 900), (1, "A40-PCIe-48GB"), 0.90),
    gpu("a100.2x", (24, 240, 1760), (2, "A100-PCIe-40GB"), 2.90),
    gpu("a100-80gb.1x", (12, 120, 880), (1, "A100-PCIe-80GB"), 1.65),
    gpu(
        "a100-80gb-sxm-ib.8x",
        (96, 960, 7680),
        (8, "A100-SXM-80GB"),
        15.60,
    ),
    gpu(
        "h100-80gb-sxm-ib.8x",
        (176, 960, 7680),
        (8, "H100-SXM-80GB"),
        31.20,
    ),
    gpu(
        "h200-141gb-sxm-ib.8x",
        (176, 1960, 15360),
        (8, "H200-SXM-141GB"),
        34.32,
    ),
    gpu(
        "b200-180gb-sxm-ib.8x",
        (208, 3000, 15360),
        (8, "B200-SXM-180GB"),
        58.00,
    ),
    gpu(
        "gb200-186gb-nvl-ib.4x",
        (144, 960, 7680),
        (4, "GB200-NVL-186GB"),
        40.00,
    ),
    gpu("l40s-48gb.1x", (8, 147, 0), (1, "L40S-48GB"), 1.00),
    gpu("l40s-48gb.10x", (80, 1470, 0), (10, "L40S-48GB"), 10.00),
    gpu(
        "mi300x-192gb-ib.8x",
        (240, 2000, 7680),
        (8, "MI300X-192GB"),
        27.60,
    ),
    gpu("c1a.2x", (2, 8, 0), (0, ""), 0.08),
    gpu("c1a.8x", (8, 32, 0), (0, ""), 0.32),
    gpu("s1a.20x", (20, 180, 900), (0, ""), 1.80),
];

pub const LOCATIONS: [&str; 3] = ["us-east1-a", "us-northcentral1-a", "eu-iceland1-a"];

pub fn product(name: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.name == name)
}
