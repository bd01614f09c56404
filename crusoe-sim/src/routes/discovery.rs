//! What there is to be had.

use crate::catalogue::{LOCATIONS, PRODUCTS};
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn locations() -> Value {
    json!({ "items": LOCATIONS })
}

pub fn types() -> Value {
    let items: Vec<Value> = PRODUCTS
        .iter()
        .map(|one| {
            let disk_type = if one.disk_gb > 0 { "NVMe" } else { "" };
            json!({"product_name": one.name, "description": one.name, "cpu_cores": one.cpus,
                "cpu_type": one.cpu_type, "memory_gb": one.memory_gb, "memory_type": "RAM",
                "disk_gb": one.disk_gb, "disk_type": disk_type, "num_gpu": one.gpus, "gpu_type": one.gpu_type})
        })
        .collect();
    json!({ "items": items })
}

/// Twice for one place, as it happens: the second time with nothing.
pub fn capacities(world: &World) -> Value {
    let mut items = Vec::new();
    for location in LOCATIONS {
        for product in &PRODUCTS {
            let left = world.left(product.name, location);
            items.push(
                json!({"type": product.name, "location": location, "quantity": left,
                "num_slices": product.slices()}),
            );
            if product.has_fabric() {
                items.push(json!({"type": product.name, "location": location, "quantity": 0}));
            }
        }
    }
    json!({ "items": items })
}

/// Counters are text here.
pub fn quotas(world: &World) -> Value {
    let families: BTreeSet<&str> = PRODUCTS.iter().map(|product| product.family()).collect();
    let quotas: Vec<Value> = families
        .into_iter()
        .map(|family| {
            let (most, used) = (world.options.quota, world.used(family));
            json!({"programmatic_name": family, "category": "GPU Instance", "description": family,
                "max": most.to_string(), "used": used.to_string(),
                "available": most.saturating_sub(used).to_string()})
        })
        .collect();
    json!({ "quotas": quotas })
}
