//! What could be had: types, times where they are in stock, with what the quota allows and what it costs.

use super::catalogue::Catalogue;
use super::shapes::Shape;
use super::wire::{Capacity, Quota, TypeRecord};
use dstack_domain::model::{
    Availability, Disk, Gpu, HAS_FABRIC, InstanceOffer, InstanceRuntime, InstanceType, Resources,
};
use dstack_domain::spec::BackendType;
use serde_json::json;
use std::collections::BTreeMap;

/// Names of what an offer remembers for the call that uses it.
pub const NEEDS_DISK: &str = "needs_disk";
/// Size of the disk that a machine without one of its own gets, when nothing else is asked for.
pub const DATA_DISK_GB: u64 = 100;

/// Pure: the three lists and the prices in, offers out. Types without a price are left out: what they cost could not
/// be compared with a limit. A catalogue that names them makes them appear.
pub fn offers(
    types: &[TypeRecord],
    capacities: &[Capacity],
    quotas: Option<&[Quota]>,
    catalogue: &Catalogue,
) -> Vec<InstanceOffer> {
    let mut stock: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for capacity in capacities {
        // There may be several entries for one place; they are views of the same stock.
        let most = stock
            .entry((&capacity.r#type, &capacity.location))
            .or_default();
        *most = capacity.quantity.max(*most);
    }
    let mut all = Vec::new();
    for record in types {
        let shape = Shape::of(&record.product_name);
        let price = catalogue.price(&shape.family, record.num_gpu, record.cpu_cores);
        let (Some(price), Some(resources)) = (price, resources(record, &shape)) else {
            continue;
        };
        let places = stock
            .iter()
            .filter(|((product, _), _)| *product == record.product_name);
        for ((_, location), quantity) in places {
            let availability = match quantity {
                0 => Availability::NotAvailable,
                _ => allowed(record, &shape.family, quotas),
            };
            all.push(offer(
                record,
                resources.clone(),
                location,
                price,
                availability,
            ));
        }
    }
    all
}

fn offer(
    record: &TypeRecord,
    resources: Resources,
    location: &str,
    price: f64,
    availability: Availability,
) -> InstanceOffer {
    let needs_disk = record.disk_gb == 0;
    let has_fabric = Shape::of(&record.product_name).has_fabric;
    InstanceOffer {
        backend: BackendType::Crusoe,
        instance: InstanceType {
            name: record.product_name.clone(),
            resources,
        },
        region: location.to_owned(),
        price,
        backend_data: [(needs_disk, NEEDS_DISK), (has_fabric, HAS_FABRIC)]
            .into_iter()
            .filter(|(says, _)| *says)
            .map(|(_, what)| (what.to_owned(), json!(true)))
            .collect(),
        availability,
        availability_zones: None,
        instance_runtime: InstanceRuntime::Shim,
        blocks: 1,
        total_blocks: 1,
    }
}

/// None for cards that this version does not know.
fn resources(record: &TypeRecord, shape: &Shape) -> Option<Resources> {
    let card = match record.num_gpu {
        0 => None,
        _ => Some(shape.gpu?),
    };
    let gpus = card.map(|card| Gpu {
        name: card.name.to_owned(),
        memory_mib: card.memory_gb << 10,
        vendor: Some(card.vendor.to_owned()),
    });
    let count = usize::try_from(record.num_gpu).ok()?;
    let arm = shape.is_arm || record.cpu_type.contains("arm");
    let disk_gb = match record.disk_gb {
        0 => DATA_DISK_GB,
        size => size,
    };
    Some(Resources {
        cpus: u32::try_from(record.cpu_cores).ok()?,
        memory_mib: record.memory_gb << 10,
        gpus: gpus.into_iter().cycle().take(count).collect(),
        spot: false,
        disk: Disk {
            size_mib: disk_gb << 10,
        },
        cpu_arch: Some(if arm { "arm" } else { "x86" }.to_owned()),
        description: String::new(),
    })
}

/// Quotas count GPUs, or CPUs of types without. A family's own row decides; else that of the longest beginning of
/// its name. Nothing known means nothing known, not no.
fn allowed(record: &TypeRecord, family: &str, quotas: Option<&[Quota]>) -> Availability {
    let covers = |quota: &&Quota| {
        let name = quota.programmatic_name.as_str();
        quota.category.contains("Instance")
            && family
                .strip_prefix(name)
                .is_some_and(|rest| !name.is_empty() && (rest.is_empty() || rest.starts_with('-')))
    };
    let rows = quotas.unwrap_or_default().iter().filter(covers);
    let Some(row) = rows.max_by_key(|quota| quota.programmatic_name.len()) else {
        return Availability::Unknown;
    };
    let needed = match record.num_gpu {
        0 => record.cpu_cores,
        gpus => gpus,
    };
    match row.available >= needed {
        true => Availability::Available,
        false => Availability::NoQuota,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(product: &str, gpus: u64, disk_gb: u64) -> TypeRecord {
        TypeRecord {
            product_name: product.into(),
            cpu_cores: 96,
            cpu_type: "amd".into(),
            memory_gb: 960,
            disk_gb,
            num_gpu: gpus,
        }
    }

    fn stock(product: &str, location: &str, quantity: u64) -> Capacity {
        Capacity {
            r#type: product.into(),
            location: location.into(),
            quantity,
        }
    }

    fn quota(name: &str, available: u64) -> Quota {
        Quota {
            programmatic_name: name.into(),
            category: "GPU Instance".into(),
            available,
        }
    }

    fn seen(
        product: &str,
        gpus: u64,
        stocks: &[Capacity],
        quotas: Option<&[Quota]>,
    ) -> Vec<(String, Availability)> {
        let offers = offers(
            &[record(product, gpus, 7680)],
            stocks,
            quotas,
            &Catalogue::built_in(),
        );
        offers
            .into_iter()
            .map(|offer| (offer.region, offer.availability))
            .collect()
    }

    const SXM: &str = "a100-80gb-sxm-ib.8x";

    #[test]
    fn a_machine_is_its_gpus_its_disk_and_its_price() {
        let types = [record(SXM, 8, 7680), record("l40s-48gb.2x", 2, 0)];
        let stocks = [
            stock(SXM, "us-east1-a", 4),
            stock("l40s-48gb.2x", "us-east1-a", 1),
        ];
        let all = offers(&types, &stocks, None, &Catalogue::built_in());
        let [a100, l40s] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(a100.price, 15.6);
        assert_eq!(a100.instance.resources.gpus.len(), 8);
        assert_eq!(a100.instance.resources.gpus[7].memory_mib, 80 << 10);
        assert!(!a100.backend_data.contains_key(NEEDS_DISK));
        assert_eq!(l40s.backend_data[NEEDS_DISK], true);
        assert_eq!(l40s.instance.resources.disk.size_mib, DATA_DISK_GB << 10);
    }

    #[test]
    fn several_rows_of_one_place_are_one_stock() {
        let stocks = [stock(SXM, "a", 0), stock(SXM, "a", 2), stock(SXM, "b", 0)];
        let expected = [
            ("a".to_owned(), Availability::Unknown),
            ("b".to_owned(), Availability::NotAvailable),
        ];
        assert_eq!(seen(SXM, 8, &stocks, None), expected);
    }

    #[test]
    fn a_quota_must_cover_the_whole_machine_and_be_of_its_family() {
        let stocks = [stock(SXM, "a", 1)];
        for (rows, expected) in [
            (vec![quota("a100-80gb-sxm-ib", 8)], Availability::Available),
            (vec![quota("a100-80gb-sxm-ib", 7)], Availability::NoQuota),
            // The family's own row decides, whatever comes first.
            (
                vec![quota("a100", 800), quota("a100-80gb-sxm-ib", 0)],
                Availability::NoQuota,
            ),
            (vec![quota("a100-80gb", 16)], Availability::Available),
            (vec![quota("h100-80gb-sxm-ib", 0)], Availability::Unknown),
            (vec![quota("a100-8", 0)], Availability::Unknown),
            (vec![quota("", 0)], Availability::Unknown),
        ] {
            assert_eq!(
                seen(SXM, 8, &stocks, Some(&rows))[0].1,
                expected,
                "{rows:?}"
            );
        }
        let cpu = [Quota {
            category: "CPU Instance".into(),
            ..quota("c1a", 95)
        }];
        assert_eq!(
            seen("c1a.96x", 0, &[stock("c1a.96x", "a", 1)], Some(&cpu))[0].1,
            Availability::NoQuota
        );
    }

    #[test]
    fn what_has_no_price_or_no_known_card_is_left_out() {
        for product in ["gb200-186gb-nvl-ib.4x", "x9000-1gb.8x"] {
            assert_eq!(seen(product, 8, &[stock(product, "a", 1)], None), []);
        }
    }
}
