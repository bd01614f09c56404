//! Machines and offers in one line, as upstream words them.

use dstack_domain::model::{Availability, Gpu, Resources};
use dstack_domain::spec::BackendType;

/// `cpu=8 mem=32GB disk=100GB gpu=H100:80GB:8`
pub fn resources(resources: &Resources) -> String {
    let mut parts = vec![
        match &resources.cpu_arch {
            Some(arch) => format!("cpu={arch}:{}", resources.cpus),
            None => format!("cpu={}", resources.cpus),
        },
        format!("mem={}", size(resources.memory_mib)),
        format!("disk={}", size(resources.disk.size_mib)),
    ];
    if !resources.gpus.is_empty() {
        parts.push(format!("gpu={}", gpus(&resources.gpus)));
    }
    parts.join(" ")
}

/// `H100:80GB:8`, or `-` without GPUs.
pub fn gpus(gpus: &[Gpu]) -> String {
    match gpus.first() {
        Some(first) => format!("{}:{}:{}", first.name, size(first.memory_mib), gpus.len()),
        None => "-".into(),
    }
}

/// `ssh` for hosts reached over SSH, else `backend (region)`.
pub fn backend(backend: BackendType, region: &str) -> String {
    match backend.as_str() {
        "remote" => "ssh".into(),
        name if region.is_empty() => name.into(),
        name => format!("{name} ({region})"),
    }
}

/// `$1.25`, without trailing zeros.
pub fn price(dollars: f64) -> String {
    let text = format!("{dollars:.4}");
    format!("${}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Nothing for what can be had at once.
pub fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Unknown | Availability::Available => "",
        Availability::Idle => "idle",
        Availability::Busy => "busy",
        Availability::NotAvailable => "not available",
        Availability::NoQuota => "no quota",
        Availability::NoBalance => "no balance",
    }
}

/// `512MB`, `23.5GB`.
pub fn size(mib: u64) -> String {
    let gb = mib as f64 / 1024.0;
    if gb >= 1.0 {
        format!("{}GB", (gb * 10.0).round() / 10.0)
    } else {
        format!("{mib}MB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_lose_their_trailing_zeros() {
        assert_eq!(
            [price(0.0), price(1.5), price(12.3456)],
            ["$0", "$1.5", "$12.3456"]
        );
    }

    #[test]
    fn gpus_of_one_kind_are_counted() {
        let gpu = Gpu {
            name: "H100".into(),
            memory_mib: 81_920,
            vendor: Some("nvidia".into()),
        };
        assert_eq!(gpus(&[gpu.clone(), gpu]), "H100:80GB:2");
        assert_eq!(gpus(&[]), "-");
    }
}
