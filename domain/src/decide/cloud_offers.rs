//! Which of a cloud's offers a run could use.

use super::requirements::fits;
use crate::model::InstanceOffer;
use crate::spec::{ProfileParams, Requirements, SpotPolicy};
use std::cmp::Ordering;

/// Those that satisfy the requirements and the profile, usable ones first, then by price.
pub fn suitable(
    mut offers: Vec<InstanceOffer>,
    profile: &ProfileParams,
    wanted: &Requirements,
) -> Vec<InstanceOffer> {
    let among = |list: &Option<Vec<String>>, value: &str| {
        list.as_ref()
            .is_none_or(|list| list.iter().any(|one| one.eq_ignore_ascii_case(value)))
    };
    let most = [wanted.max_price, profile.max_price];
    offers.retain(|offer| {
        let backends = profile.backends.as_ref();
        let spot = match profile.spot_policy {
            Some(SpotPolicy::Spot) => offer.instance.resources.spot,
            Some(SpotPolicy::Auto) => true,
            Some(SpotPolicy::OnDemand) | None => !offer.instance.resources.spot,
        };
        spot && backends.is_none_or(|backends| backends.contains(&offer.backend))
            && among(&profile.regions, &offer.region)
            && among(&profile.instance_types, &offer.instance.name)
            && profile.instances.is_none()
            && profile.reservation.is_none()
            && profile.availability_zones.is_none()
            && most.into_iter().flatten().all(|most| offer.price <= most)
            && fits(wanted, &offer.instance.resources, 1, 1)
    });
    offers.sort_by(better);
    offers
}

/// Usable before unusable, cheap before dear.
pub fn better(a: &InstanceOffer, b: &InstanceOffer) -> Ordering {
    let usable = |offer: &InstanceOffer| offer.availability.is_available();
    usable(b).cmp(&usable(a)).then(a.price.total_cmp(&b.price))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Availability, Disk, Gpu, InstanceRuntime, InstanceType, Resources};
    use crate::spec::BackendType;
    use serde_json::json;

    fn offer(name: &str, region: &str, price: f64, gpus: usize) -> InstanceOffer {
        let gpu = Gpu {
            name: "H100".into(),
            memory_mib: 80 << 10,
            vendor: Some("nvidia".into()),
        };
        InstanceOffer {
            backend: BackendType::Crusoe,
            instance: InstanceType {
                name: name.into(),
                resources: Resources {
                    cpus: 16,
                    memory_mib: 64 << 10,
                    gpus: vec![gpu; gpus],
                    spot: false,
                    disk: Disk {
                        size_mib: 500 << 10,
                    },
                    cpu_arch: Some("x86".into()),
                    description: String::new(),
                },
            },
            region: region.into(),
            price,
            backend_data: Default::default(),
            availability: Availability::Available,
            availability_zones: None,
            instance_runtime: InstanceRuntime::Shim,
            blocks: 1,
            total_blocks: 1,
        }
    }

    fn names(profile: serde_json::Value, resources: serde_json::Value) -> Vec<String> {
        let mut sold_out = offer("gone", "east", 0.5, 1);
        sold_out.availability = Availability::NoQuota;
        let offers = vec![
            offer("large", "east", 8.0, 8),
            sold_out,
            offer("small", "west", 1.0, 1),
            offer("cpu", "east", 0.1, 0),
        ];
        let mut whole = profile;
        whole["name"] = json!("p");
        let profile: crate::spec::Profile = serde_json::from_value(whole).unwrap();
        let wanted = serde_json::from_value(json!({ "resources": resources })).unwrap();
        let found = suitable(offers, &profile.params, &wanted);
        found.into_iter().map(|offer| offer.instance.name).collect()
    }

    #[test]
    fn the_cheapest_usable_comes_first_and_the_unusable_last() {
        let any = json!({"gpu": "0.."});
        assert_eq!(names(json!({}), any), ["cpu", "small", "large", "gone"]);
        assert_eq!(names(json!({}), json!({"gpu": "H100:8"})), ["large"]);
        assert_eq!(names(json!({}), json!({"gpu": "A100"})), [] as [&str; 0]);
    }

    #[test]
    fn a_profile_narrows_them() {
        let any = || json!({"gpu": "1.."});
        assert_eq!(names(json!({"regions": ["WEST"]}), any()), ["small"]);
        assert_eq!(names(json!({"max_price": 2.0}), any()), ["small", "gone"]);
        assert_eq!(
            names(json!({"instance_types": ["large"]}), any()),
            ["large"]
        );
        assert_eq!(names(json!({"spot_policy": "auto"}), any()).len(), 3);
        for none in [
            json!({"backends": ["aws"]}),
            json!({"spot_policy": "spot"}),
            json!({"reservation": "r"}),
            json!({"instances": ["lab-1"]}),
        ] {
            assert_eq!(names(none.clone(), any()), [] as [&str; 0], "{none}");
        }
    }
}
