//! Answers, as far as they are read. Fields that are missing or new change nothing: the two published versions of the
//! API and what is live differ in such things.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, Clone, Deserialize)]
pub struct Items<T> {
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
    /// Empty on the last page.
    #[serde(default)]
    pub next_page_token: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct ApiError {
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub error_id: String,
}

/// Mutating calls answer with one in an envelope, reads with a bare one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OperationAnswer {
    Wrapped { operation: Operation },
    Bare(Operation),
}

impl OperationAnswer {
    pub fn into_inner(self) -> Operation {
        match self {
            Self::Wrapped { operation } | Self::Bare(operation) => operation,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Operation {
    pub operation_id: String,
    pub state: String,
    #[serde(default)]
    pub result: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Instance {
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub r#type: String,
    #[serde(default)]
    pub location: String,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub network_interfaces: Vec<Interface>,
}

impl Instance {
    /// Without the prefix, which some versions leave out.
    pub fn state(&self) -> &str {
        self.state.strip_prefix("STATE_").unwrap_or(&self.state)
    }

    /// On its way to running.
    pub fn is_coming(&self) -> bool {
        matches!(self.state(), "DEFINING" | "PAUSED" | "UNSPECIFIED" | "")
    }

    pub fn is_deleted(&self) -> bool {
        self.state() == "DELETED"
    }

    /// The address that others reach it at, once it has one.
    pub fn public_address(&self) -> Option<&str> {
        let mut ips = self
            .network_interfaces
            .iter()
            .flat_map(|interface| &interface.ips);
        ips.find_map(|ip| ip.public_ipv4.as_ref()?.address.as_deref())
            .filter(|address| !address.is_empty())
    }

    pub fn private_address(&self) -> Option<&str> {
        let mut ips = self
            .network_interfaces
            .iter()
            .flat_map(|interface| &interface.ips);
        ips.find_map(|ip| ip.private_ipv4.as_ref()?.address.as_deref())
            .filter(|address| !address.is_empty())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Interface {
    #[serde(default)]
    pub ips: Vec<Ip>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Ip {
    #[serde(default)]
    pub private_ipv4: Option<Address>,
    #[serde(default)]
    pub public_ipv4: Option<Address>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Address {
    #[serde(default)]
    pub address: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct DiskRecord {
    pub id: String,
    #[serde(default)]
    pub name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TypeRecord {
    pub product_name: String,
    #[serde(default, deserialize_with = "number")]
    pub cpu_cores: u64,
    #[serde(default)]
    pub cpu_type: String,
    #[serde(default, deserialize_with = "number")]
    pub memory_gb: u64,
    #[serde(default, deserialize_with = "number")]
    pub disk_gb: u64,
    #[serde(default, deserialize_with = "number")]
    pub num_gpu: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Capacity {
    pub r#type: String,
    pub location: String,
    /// Whole machines of that type.
    #[serde(default, deserialize_with = "number")]
    pub quantity: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Quotas {
    #[serde(default = "Vec::new")]
    pub quotas: Vec<Quota>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Quota {
    #[serde(default)]
    pub programmatic_name: String,
    #[serde(default)]
    pub category: String,
    /// In GPUs; of CPU types in CPUs.
    #[serde(default, deserialize_with = "number")]
    pub available: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct IbNetwork {
    pub id: String,
    #[serde(default)]
    pub location: String,
    #[serde(default)]
    pub capacities: Vec<SliceCapacity>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SliceCapacity {
    pub slice_type: String,
    /// In GPUs, not in machines.
    #[serde(default, deserialize_with = "number")]
    pub quantity: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IbPartition {
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub ib_network_id: String,
}

/// A number, also as text: the specification says the one, the live API gives the other. What is neither is none.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().map(|number| number.max(0.0) as u64))
            .unwrap_or(0),
        Value::String(text) => text.trim().parse().unwrap_or(0),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_numbers_or_text() {
        let quota = |available: &str| {
            let text = format!(r#"{{"programmatic_name":"c1a","available":{available},"new":1}}"#);
            serde_json::from_str::<Quota>(&text).unwrap().available
        };
        for (text, number) in [
            ("8", 8),
            ("\"16\"", 16),
            ("null", 0),
            ("\"many\"", 0),
            ("-1", 0),
        ] {
            assert_eq!(quota(text), number, "{text}");
        }
    }

    #[test]
    fn an_operation_is_read_wrapped_and_bare() {
        let bare =
            r#"{"operation_id":"o","state":"IN_PROGRESS","metadata":{"id":"vm"},"result":null}"#;
        for text in [bare.to_owned(), format!(r#"{{"operation":{bare}}}"#)] {
            let operation = serde_json::from_str::<OperationAnswer>(&text)
                .unwrap()
                .into_inner();
            assert_eq!(
                (operation.operation_id.as_str(), operation.state.as_str()),
                ("o", "IN_PROGRESS")
            );
        }
    }

    #[test]
    fn an_instance_tells_its_addresses() {
        let text = r#"{"id":"1","state":"RUNNING","network_interfaces":[{"ips":[
            {"private_ipv4":{"address":"172.27.16.7"},"public_ipv4":{"address":"","type":"dynamic"}}]}]}"#;
        let instance: Instance = serde_json::from_str(text).unwrap();
        assert_eq!(instance.state(), "RUNNING");
        assert_eq!(instance.public_address(), None);
        assert_eq!(instance.private_address(), Some("172.27.16.7"));
    }
}
