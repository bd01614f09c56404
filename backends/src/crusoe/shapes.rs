//! What the name of a type says: `<gpu>-<memory>gb[-sxm|-nvl][-ib|-roce].<n>x`.

/// A type, as far as its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Everything before the dot.
    pub family: String,
    pub gpu: Option<Card>,
    /// Its machines can be joined by a partition.
    pub has_fabric: bool,
    pub is_arm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    pub name: &'static str,
    pub memory_gb: u64,
    pub vendor: &'static str,
}

/// Families begin with one of these; the memory is that of cards whose family does not say it.
const CARDS: [(&str, &str, &str, u64); 10] = [
    ("a40", "A40", "nvidia", 48),
    ("a100", "A100", "nvidia", 40),
    ("h100", "H100", "nvidia", 80),
    ("h200", "H200", "nvidia", 141),
    ("b200", "B200", "nvidia", 180),
    ("b300", "B300", "nvidia", 288),
    ("gb200", "GB200", "nvidia", 186),
    ("l40s", "L40S", "nvidia", 48),
    ("mi300x", "MI300X", "amd", 192),
    ("mi355x", "MI355X", "amd", 288),
];

impl Shape {
    pub fn of(product: &str) -> Self {
        let family = product
            .rsplit_once('.')
            .map_or(product, |(family, _)| family);
        let mut parts = family.split('-');
        let first = parts.next().unwrap_or_default();
        let memory = parts
            .next()
            .and_then(|part| part.strip_suffix("gb")?.parse().ok());
        let card = CARDS.iter().find(|(prefix, ..)| *prefix == first);
        Self {
            family: family.to_owned(),
            gpu: card.map(|(_, name, vendor, usual)| Card {
                name,
                memory_gb: memory.unwrap_or(*usual),
                vendor,
            }),
            has_fabric: family.ends_with("-ib") || family.ends_with("-roce"),
            is_arm: first.starts_with("gb"),
        }
    }
}

/// The public image with drivers and Docker for a family. Generations have images of their own, and those for Hopper
/// do not drive what came after it.
pub fn image(family: &str) -> &'static str {
    let first = family.split('-').next().unwrap_or_default();
    match first {
        "b200" => "ubuntu24.04-nvidia-sxm-docker-b200:latest",
        "b300" => "ubuntu24.04-nvidia-sxm-docker-b300:latest",
        "gb200" => "ubuntu24.04-nvidia-nvl-arm64-gb200:latest",
        "mi300x" => "ubuntu-rocm:latest",
        "mi355x" => "ubuntu24.04-amd-mi355-vm-bundle2.2:latest",
        _ if family.contains("-sxm") => "ubuntu22.04-nvidia-sxm-docker:latest",
        // For types without GPUs, too: the plain image has no Docker.
        _ => "ubuntu22.04-nvidia-pcie-docker:latest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, card with its memory in GB, whether it has a fabric, what its image is called.
    const TABLE: &str = "
        a40.1x                 A40     48  no   22.04-nvidia-pcie
        a100.8x                A100    40  no   22.04-nvidia-pcie
        a100-80gb.4x           A100    80  no   22.04-nvidia-pcie
        a100-80gb-sxm-ib.8x    A100    80  yes  22.04-nvidia-sxm
        h100-80gb-sxm-ib.8x    H100    80  yes  22.04-nvidia-sxm
        h200-141gb-sxm-ib.8x   H200   141  yes  22.04-nvidia-sxm
        b200-180gb-sxm-ib.8x   B200   180  yes  docker-b200
        b300-288gb-sxm-ib.8x   B300   288  yes  docker-b300
        gb200-186gb-nvl-ib.4x  GB200  186  yes  arm64-gb200
        gb200-186gb-nvl.4x     GB200  186  no   arm64-gb200
        l40s-48gb.10x          L40S    48  no   22.04-nvidia-pcie
        mi300x-192gb-ib.8x     MI300X 192  yes  rocm
        mi355x-288gb-roce.8x   MI355X 288  yes  mi355
        c1a.176x               -        0  no   22.04-nvidia-pcie
        s1a.20x                -        0  no   22.04-nvidia-pcie";

    #[test]
    fn every_type_of_the_table() {
        for line in TABLE.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [product, card, memory, fabric, image_has] = words[..] else {
                panic!("{line}")
            };
            let shape = Shape::of(product);
            let gpu = shape
                .gpu
                .map_or(("-", 0), |card| (card.name, card.memory_gb));
            assert_eq!(gpu, (card, memory.parse().unwrap()), "{product}");
            assert_eq!(shape.has_fabric, fabric == "yes", "{product}");
            let image = image(&shape.family);
            assert!(image.contains(image_has), "{product}: {image}");
            assert!(product.starts_with(&format!("{}.", shape.family)));
        }
        assert!(Shape::of("gb200-186gb-nvl.4x").is_arm);
        let vendor = |product| Shape::of(product).gpu.unwrap().vendor;
        assert_eq!(vendor("h100-80gb-sxm-ib.8x"), "nvidia");
        assert_eq!(vendor("mi300x-192gb-ib.8x"), "amd");
    }
}
