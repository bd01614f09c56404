//! Prices. The API has none, so they come from a file that can be replaced without a new release.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Dollars per hour, by family of types.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The day the prices were looked up.
    pub as_of: String,
    /// `USD`; another currency would be compared with `max_price` wrongly.
    currency: Currency,
    per_gpu_hour: BTreeMap<String, f64>,
    per_cpu_hour: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum Currency {
    #[serde(rename = "USD")]
    Dollars,
}

impl Catalogue {
    /// The prices this build came with.
    pub fn built_in() -> Self {
        // The file is part of the source and read by a test.
        Self::parse(include_str!("catalogue.json")).unwrap_or_else(|_| Self {
            as_of: String::new(),
            currency: Currency::Dollars,
            per_gpu_hour: BTreeMap::new(),
            per_cpu_hour: BTreeMap::new(),
        })
    }

    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Of a whole machine with so many GPUs, or, without any, CPUs. None when the family has no price.
    pub fn price(&self, family: &str, gpus: u64, cpus: u64) -> Option<f64> {
        let (prices, units) = match gpus {
            0 => (&self.per_cpu_hour, cpus),
            gpus => (&self.per_gpu_hour, gpus),
        };
        let price = prices.get(family)? * units as f64;
        // Cents of a cent are rounding, not money.
        Some((price * 10_000.0).round() / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_whole_machines() {
        let catalogue = Catalogue::built_in();
        for (family, gpus, cpus, price) in [
            ("a40", 4, 24, Some(3.6)),
            ("a100-80gb-sxm-ib", 8, 96, Some(15.6)),
            ("h100-80gb-sxm-ib", 8, 176, Some(31.2)),
            ("h200-141gb-sxm-ib", 8, 176, Some(34.32)),
            ("b200-180gb-sxm-ib", 8, 0, Some(58.0)),
            ("l40s-48gb", 10, 80, Some(10.0)),
            ("mi300x-192gb-ib", 8, 240, Some(27.6)),
            ("c1a", 0, 176, Some(7.04)),
            ("s1a", 0, 80, Some(7.2)),
            ("gb200-186gb-nvl-ib", 4, 144, None),
        ] {
            assert_eq!(catalogue.price(family, gpus, cpus), price, "{family}");
        }
    }

    #[test]
    fn another_file_is_read_strictly() {
        let own = r#"{"as_of":"2027-01-01","currency":"USD","per_gpu_hour":{"b300-288gb-sxm-ib":9.5},"per_cpu_hour":{}}"#;
        let own = Catalogue::parse(own).unwrap();
        assert_eq!(own.price("b300-288gb-sxm-ib", 8, 0), Some(76.0));
        assert!(Catalogue::parse(&include_str!("catalogue.json").replace("USD", "EUR")).is_err());
        assert!(Catalogue::parse("{}").is_err());
    }
}
