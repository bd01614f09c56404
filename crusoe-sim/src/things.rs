//! What the cloud holds, and how each thing is shown.

use crate::catalogue::Product;
use crate::guests::Inside;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub struct Machine {
    pub id: String,
    pub name: String,
    pub product: &'static Product,
    pub location: String,
    pub created_at: Timestamp,
    /// Lists do not show it before.
    pub visible: Instant,
    pub phase: Phase,
    /// Data disks, by id.
    pub disks: Vec<String>,
    pub partition: Option<String>,
    pub number: u32,
    /// It came out of the stock, and goes back there.
    pub took: bool,
    /// Where it answers, if it is real.
    pub address: String,
    pub is_guest: bool,
    pub ssh_key: String,
    pub startup: String,
    /// When it began to cost money, and how much it has cost in earlier lives.
    pub running_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Until then.
    Making(Instant),
    Running,
    /// It broke by itself.
    Crashed,
    /// Somebody stopped it: it keeps its place and its private address, and costs nothing.
    Stopped,
    Ending(Instant),
}

impl Machine {
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Making(_) => "STATE_DEFINING",
            Phase::Running => "STATE_RUNNING",
            Phase::Crashed => "STATE_CRASHED",
            Phase::Stopped => "STATE_SHUTOFF",
            Phase::Ending(_) => "STATE_DELETING",
        }
    }

    /// What goes into it, when it is real.
    pub fn inside(&self) -> Inside {
        let words: Vec<&str> = self.product.gpu_type.split(['-', '_']).collect();
        let model = words.first().copied().unwrap_or_default();
        let size = words.last().and_then(|word| word.strip_suffix("GB"));
        let gb: u64 = size.and_then(|size| size.parse().ok()).unwrap_or(0);
        Inside {
            name: self.name.clone(),
            address: self.address.clone(),
            ssh_key: self.ssh_key.clone(),
            startup: self.startup.clone(),
            gpus: self.product.gpus,
            gpu_name: format!("{model} {gb}GB"),
            gpu_mib: gb << 10,
            pkey: self.partition.as_deref().map(pkey),
        }
    }

    /// Nothing but a running machine has a public address; the private one is there from the start.
    pub fn shown(&self) -> Value {
        let public = match self.phase {
            Phase::Running => self.address.clone(),
            _ => String::new(),
        };
        // Real machines share this one's network, and have no other address in it.
        let private = match self.is_guest {
            true => self.address.clone(),
            false => format!("172.27.{}.{}", self.number / 250, self.number % 250 + 5),
        };
        let adapter = |partition: &String| {
            json!({"type": "infiniband", "guid": "946d:ae03:0021:69aa", "ib_partition_id": partition,
                "transport_partition_id": partition})
        };
        let adapters: Vec<Value> = match &self.partition {
            Some(partition) => vec![adapter(partition); 8],
            None => Vec::new(),
        };
        json!({
            "id": self.id, "project_id": "sim", "name": self.name, "type": self.product.name,
            "location": self.location, "state": self.state(), "created_at": self.created_at.to_string(),
            "updated_at": self.created_at.to_string(), "billing_type": "On-demand",
            // A word that no client knows yet.
            "wobble": {"level": "LEVEL_SEVENTEEN"},
            "network_interfaces": [{"id": format!("if-{}", self.id), "interface_type": "ethernet", "ips": [{
                "private_ipv4": {"address": private},
                "public_ipv4": {"address": public, "type": "dynamic"},
            }]}],
            "host_channel_adapters": adapters,
        })
    }
}

/// A full member's key of the partition.
fn pkey(partition: &str) -> String {
    let digits: String = partition
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(4)
        .collect();
    let number = u16::from_str_radix(&digits, 16).unwrap_or_default();
    format!("0x{:04x}", number | 0x8000)
}

#[derive(Debug, Clone)]
pub struct Disk {
    pub id: String,
    pub name: String,
    pub size: String,
    pub location: String,
    pub created_at: Timestamp,
}

impl Disk {
    pub fn shown(&self, holder: Option<&Machine>) -> Value {
        let attached: Vec<Value> = holder
            .map(|machine| json!({"vm_id": machine.id, "attachment_type": "data", "mode": "read-write"}))
            .into_iter()
            .collect();
        json!({"id": self.id, "name": self.name, "type": "persistent-ssd", "size": self.size,
            "location": self.location, "block_size": 4096, "serial_number": self.id.replace('-', ""),
            "attached_to": attached, "created_at": self.created_at.to_string()})
    }
}

#[derive(Debug, Clone)]
pub struct Network {
    pub id: String,
    pub location: String,
    /// By product, in GPUs.
    pub capacities: Vec<(&'static str, u64)>,
}

impl Network {
    pub fn shown(&self) -> Value {
        let capacities: Vec<Value> = self
            .capacities
            .iter()
            .map(|(product, quantity)| json!({"slice_type": product, "quantity": quantity}))
            .collect();
        json!({"id": self.id, "name": self.id, "location": self.location, "capacities": capacities})
    }
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub id: String,
    pub name: String,
    pub network: String,
}

impl Partition {
    pub fn shown(&self) -> Value {
        json!({"id": self.id, "name": self.name, "ib_network_id": self.network})
    }
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    /// `compute/vms/instances`, say.
    pub collection: &'static str,
    pub name: &'static str,
    pub resource: String,
    pub done: Instant,
    /// With this code.
    pub fails: Option<&'static str>,
    /// What it comes to when it succeeds.
    pub result: Value,
    /// It was read after it was done: another reading finds nothing.
    pub told: bool,
}

impl Operation {
    pub fn shown(&self, now: Instant) -> Value {
        let (state, result) = match (now >= self.done, self.fails) {
            (false, _) => ("IN_PROGRESS", Value::Null),
            (true, None) => ("SUCCEEDED", self.result.clone()),
            (true, Some(code)) => (
                "FAILED",
                json!({"code": code, "message": format!("rpc error: code = ResourceExhausted desc = {}", code.replace('_', " "))}),
            ),
        };
        json!({"operation_id": self.id, "state": state, "result": result,
            "metadata": {"operation_name": self.name, "id": self.resource, "type": "vm"},
            "started_at": "2026-01-01T00:00:00Z", "completed_at": ""})
    }
}
