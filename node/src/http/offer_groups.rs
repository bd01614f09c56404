//! Offers put together by what they have in common.

use dstack_api::http::gpus::{CpuGroup, GpuGroup, Group, Span};
use dstack_api::http::offers::{Gpu, InstanceOffer};
use dstack_domain::model::Availability;
use dstack_domain::spec::BackendType;

/// What keeps offers apart, beside the kind of their GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct By {
    pub backend: bool,
    pub region: bool,
    pub count: bool,
}

/// Where and how many; what is not asked for is the same for all.
type Place<'a> = (Option<&'a BackendType>, Option<&'a str>, Option<u32>);

impl By {
    fn place(self, offer: &InstanceOffer, count: u32) -> Place<'_> {
        (
            self.backend.then_some(&offer.backend),
            self.region.then_some(offer.region.as_str()),
            self.count.then_some(count),
        )
    }
}

/// One row for each kind of GPU; the usable ones first, then by price.
pub fn gpus(offers: &[InstanceOffer], by: By, dearest_first: bool) -> Vec<GpuGroup> {
    let mut rows: Vec<((Place<'_>, &Gpu), GpuGroup)> = Vec::new();
    for offer in offers {
        for (gpu, count) in kinds(&offer.instance.resources.gpus) {
            let each = offer.price / f64::from(count);
            let row = row(&mut rows, (by.place(offer, count), gpu), || GpuGroup {
                name: gpu.name.clone(),
                memory_mib: gpu.memory_mib,
                vendor: gpu.vendor.clone().unwrap_or_else(|| "nvidia".to_owned()),
                common: group(offer, by),
                count: Span::of(count),
                price: Span::of(each),
                offer_price: Span::of(offer.price),
            });
            join(&mut row.common, offer);
            row.count.widen(count);
            row.price.widen(each);
            row.offer_price.widen(offer.price);
        }
    }
    let mut rows: Vec<GpuGroup> = rows.into_iter().map(|(_, row)| row).collect();
    rows.sort_by(|a, b| {
        let named = || (&a.name, a.memory_mib).cmp(&(&b.name, b.memory_mib));
        let price = |row: &GpuGroup| {
            if dearest_first {
                row.offer_price
            } else {
                row.price
            }
        };
        usable_first(&a.common, &b.common)
            .then(dearest_or_cheapest(&price(a), &price(b), dearest_first))
            .then_with(|| placed(&a.common).cmp(&placed(&b.common)))
            .then_with(named)
    });
    rows
}

/// Rows of offers without a GPU.
pub fn cpus(offers: &[InstanceOffer], by: By, dearest_first: bool) -> Vec<CpuGroup> {
    let mut rows: Vec<(Place<'_>, CpuGroup)> = Vec::new();
    for offer in offers {
        let resources = &offer.instance.resources;
        if !resources.gpus.is_empty() {
            continue;
        }
        let row = row(&mut rows, by.place(offer, resources.cpus), || CpuGroup {
            cpu_arch: Vec::new(),
            common: group(offer, by),
            count: Span::of(resources.cpus),
            memory_mib: Span::of(resources.memory_mib),
            price: Span::of(offer.price),
        });
        join(&mut row.common, offer);
        row.cpu_arch.extend(resources.cpu_arch.clone());
        row.cpu_arch.sort_unstable();
        row.cpu_arch.dedup();
        row.count.widen(resources.cpus);
        row.memory_mib.widen(resources.memory_mib);
        row.price.widen(offer.price);
    }
    let mut rows: Vec<CpuGroup> = rows.into_iter().map(|(_, row)| row).collect();
    rows.sort_by(|a, b| {
        usable_first(&a.common, &b.common)
            .then(dearest_or_cheapest(&a.price, &b.price, dearest_first))
            .then_with(|| placed(&a.common).cmp(&placed(&b.common)))
            .then(a.count.min.cmp(&b.count.min))
    });
    rows
}

/// The row of that key, begun when there is none.
fn row<K: PartialEq, R>(rows: &mut Vec<(K, R)>, key: K, begin: impl FnOnce() -> R) -> &mut R {
    let at = rows.iter().position(|(other, _)| *other == key);
    let at = at.unwrap_or_else(|| {
        rows.push((key, begin()));
        rows.len() - 1
    });
    &mut rows[at].1
}

/// The different GPUs of one offer, with their numbers.
fn kinds(gpus: &[Gpu]) -> Vec<(&Gpu, u32)> {
    let mut kinds: Vec<(&Gpu, u32)> = Vec::new();
    for gpu in gpus {
        match kinds.iter_mut().find(|(other, _)| *other == gpu) {
            Some((_, count)) => *count += 1,
            None => kinds.push((gpu, 1)),
        }
    }
    kinds
}

/// Nothing said yet; `join` does.
fn group(offer: &InstanceOffer, by: By) -> Group {
    Group {
        backends: (!by.backend).then(Vec::new),
        backend: by.backend.then_some(offer.backend),
        regions: (by.backend && !by.region).then(Vec::new),
        region: by.region.then(|| offer.region.clone()),
        ..Group::default()
    }
}

fn join(group: &mut Group, offer: &InstanceOffer) {
    let kind = if offer.instance.resources.spot {
        "spot"
    } else {
        "on-demand"
    };
    add(&mut group.availability, &offer.availability);
    add(&mut group.spot, &kind.to_owned());
    if let Some(backends) = &mut group.backends {
        add(backends, &offer.backend);
    }
    if let Some(regions) = &mut group.regions {
        add(regions, &offer.region);
    }
}

fn add<T: PartialEq + Clone>(all: &mut Vec<T>, one: &T) {
    if !all.contains(one) {
        all.push(one.clone());
    }
}

fn usable_first(a: &Group, b: &Group) -> std::cmp::Ordering {
    let usable = |group: &Group| {
        group
            .availability
            .iter()
            .any(|a: &Availability| a.is_available())
    };
    usable(b).cmp(&usable(a))
}

fn dearest_or_cheapest(a: &Span<f64>, b: &Span<f64>, dearest: bool) -> std::cmp::Ordering {
    let order = a.min.total_cmp(&b.min).then(a.max.total_cmp(&b.max));
    if dearest { order.reverse() } else { order }
}

fn placed(group: &Group) -> (&str, &str) {
    let backend = group
        .backend
        .as_ref()
        .map_or("", |backend| backend.as_str());
    (backend, group.region.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn offer(name: &str, count: usize, availability: &str) -> InstanceOffer {
        let gpus: Vec<_> = (0..count)
            .map(|_| json!({"name": name, "memory_mib": 81920, "vendor": "nvidia"}))
            .collect();
        serde_json::from_value(json!({
            "backend": "remote", "region": "remote", "price": 0.0, "availability": availability,
            "instance_runtime": "shim", "blocks": 1, "total_blocks": 1,
            "instance": {"name": "ssh", "resources": {
                "cpus": 8 * (count + 1), "memory_mib": 1024, "gpus": gpus, "spot": false,
                "disk": {"size_mib": 1}, "cpu_arch": "x86"}},
        }))
        .unwrap()
    }

    #[test]
    fn one_row_for_each_kind_and_the_usable_first() {
        let offers = [
            offer("A100", 8, "busy"),
            offer("H100", 8, "idle"),
            offer("H100", 4, "busy"),
        ];
        let rows = gpus(&offers, By::default(), false);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["H100", "A100"]);
        assert_eq!(rows[0].count, Span { min: 4, max: 8 });
        let shown = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!(shown["availability"], json!(["idle", "busy"]));
        assert_eq!(shown["backends"], json!(["remote"]));
        assert!(shown.get("regions").is_none(), "nulls are dropped: {shown}");
    }

    #[test]
    fn groups_are_kept_apart_by_what_was_asked() {
        let offers = [offer("H100", 8, "idle"), offer("H100", 4, "busy")];
        let by = By {
            backend: true,
            count: true,
            region: false,
        };
        let rows = gpus(&offers, by, false);
        assert_eq!(rows.len(), 2);
        let shown = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!(shown["backend"], "remote");
        assert_eq!(shown["regions"], json!(["remote"]));
        assert!(shown.get("backends").is_none(), "{shown}");
    }

    #[test]
    fn hosts_without_gpus_are_rows_of_their_own() {
        let offers = [offer("", 0, "idle"), offer("H100", 8, "idle")];
        let rows = cpus(&offers, By::default(), false);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].count, Span::of(8));
        assert_eq!(rows[0].cpu_arch, ["x86"]);
    }
}
