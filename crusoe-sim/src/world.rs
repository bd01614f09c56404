//! The cloud's memory and its laws. Time passes when somebody looks.

use crate::catalogue::{LOCATIONS, PRODUCTS, Product, product};
use crate::faults::Faults;
use crate::things::{Disk, Machine, Network, Operation, Partition, Phase};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

pub const VMS: &str = "compute/vms/instances";
pub const DISKS: &str = "storage/disks";
/// Beyond that the cloud takes no startup script.
const SCRIPT_BYTES: usize = 64 * 1000;

/// How the cloud behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub faults: Faults,
    /// From the order of a machine until it runs, and from that of its end until it is gone.
    pub boot: Duration,
    pub end: Duration,
    /// How long a list does not show what is new.
    pub lag: Duration,
    /// Machines of each type in each location.
    pub stock: u64,
    /// GPUs, or CPUs, of each family.
    pub quota: u64,
    /// Entries of a page.
    pub page: usize,
    /// Calls in a second; more are refused with 429.
    pub calls_per_second: u32,
    /// Tests may look behind the scenes.
    pub staged: bool,
    /// Where real machines have their folders; without it machines are records only.
    pub guests: Option<PathBuf>,
    /// The second number of every machine's public address: 127.N.x.y.
    pub network: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            faults: Faults::default(),
            boot: Duration::from_millis(300),
            end: Duration::from_millis(200),
            lag: Duration::ZERO,
            stock: 16,
            quota: 4096,
            page: 50,
            calls_per_second: 1000,
            staged: false,
            guests: None,
            network: 7,
        }
    }
}

/// A no, with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No(pub u16, pub &'static str, pub String);

pub fn bad(why: impl Into<String>) -> No {
    No(400, "bad_request", why.into())
}

#[derive(Debug)]
pub struct World {
    pub options: Options,
    pub machines: BTreeMap<String, Machine>,
    pub disks: BTreeMap<String, Disk>,
    pub networks: Vec<Network>,
    pub partitions: BTreeMap<String, Partition>,
    pub operations: BTreeMap<String, Operation>,
    /// Left of each type in each location.
    stock: BTreeMap<(&'static str, String), u64>,
    numbers: u32,
    /// Of machines that are gone, in dollars.
    billed: f64,
    /// Every machine that ever came to be, and under which name.
    pub made: u64,
    pub made_names: BTreeMap<String, u32>,
}

impl World {
    pub fn new(options: Options) -> Self {
        let mut stock = BTreeMap::new();
        for location in LOCATIONS {
            for product in &PRODUCTS {
                stock.insert((product.name, location.to_owned()), options.stock);
            }
        }
        Self {
            networks: networks(options.stock),
            options,
            machines: BTreeMap::new(),
            disks: BTreeMap::new(),
            partitions: BTreeMap::new(),
            operations: BTreeMap::new(),
            stock,
            numbers: 0,
            billed: 0.0,
            made: 0,
            made_names: BTreeMap::new(),
        }
    }

    /// Lets what is due happen.
    pub fn pass(&mut self, now: Instant) {
        let failed: Vec<String> = self
            .operations
            .values()
            .filter(|operation| operation.fails.is_some() && now >= operation.done)
            .map(|operation| operation.resource.clone())
            .collect();
        for id in failed {
            if self
                .machines
                .get(&id)
                .is_some_and(|one| matches!(one.phase, Phase::Making(_)))
            {
                self.forget(&id, now);
            }
        }
        let gone: Vec<String> = self
            .machines
            .values()
            .filter(|machine| matches!(machine.phase, Phase::Ending(at) if now >= at))
            .map(|machine| machine.id.clone())
            .collect();
        gone.iter().for_each(|id| self.forget(id, now));
        for machine in self.machines.values_mut() {
            if matches!(machine.phase, Phase::Making(at) if now >= at) {
                machine.phase = Phase::Running;
                machine.running_since = Some(now);
            }
        }
    }

    fn forget(&mut self, id: &str, now: Instant) {
        let Some(machine) = self.machines.remove(id) else {
            return;
        };
        self.billed += cost(&machine, now);
        if let Some(left) = self
            .stock
            .get_mut(&(machine.product.name, machine.location.clone()))
            .filter(|_| machine.took)
        {
            *left += 1;
        }
    }

    /// Dollars, of machines past and present.
    pub fn bill(&self, now: Instant) -> f64 {
        let running: f64 = self
            .machines
            .values()
            .map(|machine| cost(machine, now))
            .sum();
        self.billed + running
    }

    pub fn left(&self, product: &'static str, location: &str) -> u64 {
        let left = self.stock.get(&(product, location.to_owned()));
        left.copied().unwrap_or(0)
    }

    /// Of a family, in GPUs or CPUs.
    pub fn used(&self, family: &str) -> u64 {
        let of_family = self
            .machines
            .values()
            .filter(|machine| machine.product.family() == family);
        of_family.map(|machine| machine.product.slices()).sum()
    }

    pub fn create_machine(
        &mut self,
        body: &Value,
        fails: Option<&'static str>,
        now: Instant,
    ) -> Result<Value, No> {
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        for key in ["name", "type", "location", "ssh_public_key"] {
            if text(key).is_empty() {
                return Err(bad(format!("{key} is required")));
            }
        }
        let (name, location) = (text("name").to_owned(), text("location").to_owned());
        let product = product(text("type")).ok_or_else(|| bad("unknown type"))?;
        check_name(&name)?;
        check_image(body, product)?;
        check_script(text("startup_script"))?;
        if !LOCATIONS.contains(&location.as_str()) {
            return Err(bad("unknown location"));
        }
        if self.machines.values().any(|machine| machine.name == name) {
            return Err(bad(format!("instance {name} already exists")));
        }
        let partition = self.partition_of(body, product, &location)?;
        let disks = self.disks_of(body, &location)?;
        if self.used(product.family()) + product.slices() > self.options.quota {
            return Err(bad(format!("quota exceeded for {}", product.family())));
        }
        let left = self
            .stock
            .entry((product.name, location.clone()))
            .or_default();
        let fails = if *left == 0 {
            Some("out_of_stock")
        } else {
            fails
        };
        let took = *left > 0;
        *left = left.saturating_sub(1);
        self.numbers += 1;
        self.made += 1;
        *self.made_names.entry(name.clone()).or_default() += 1;
        let machine = Machine {
            id: uuid::Uuid::new_v4().to_string(),
            name,
            product,
            location,
            created_at: Timestamp::now(),
            visible: now + self.options.lag,
            phase: Phase::Making(now + self.options.boot),
            disks,
            partition,
            took,
            address: address(self.options.network, self.numbers),
            is_guest: self.options.guests.is_some(),
            ssh_key: text("ssh_public_key").to_owned(),
            startup: text("startup_script").to_owned(),
            number: self.numbers,
            running_since: None,
        };
        let shown = machine.shown();
        let id = machine.id.clone();
        self.machines.insert(id.clone(), machine);
        let boot = self.options.boot;
        Ok(self.begin(VMS, "create_vm", id, boot, fails, shown, now))
    }

    fn partition_of(
        &self,
        body: &Value,
        product: &Product,
        location: &str,
    ) -> Result<Option<String>, No> {
        let adapters = body.get("host_channel_adapters").and_then(Value::as_array);
        let Some(adapter) = adapters.and_then(|all| all.first()) else {
            return Ok(None);
        };
        let id = ["transport_partition_id", "ib_partition_id"]
            .iter()
            .find_map(|key| adapter.get(*key)?.as_str())
            .unwrap_or_default();
        let partition = self
            .partitions
            .get(id)
            .ok_or_else(|| bad("unknown partition"))?;
        let network = self.networks.iter().find(|one| one.id == partition.network);
        let network = network.filter(|one| one.location == location);
        let network = network.ok_or_else(|| bad("the partition is in another location"))?;
        let capacity = network
            .capacities
            .iter()
            .find(|(name, _)| *name == product.name);
        let inside = self
            .machines
            .values()
            .filter(|one| one.partition.as_deref() == Some(id))
            .count() as u64;
        match capacity {
            Some((_, room)) if (inside + 1) * product.slices() <= *room => Ok(Some(id.to_owned())),
            _ => Err(bad("the network has no capacity for this type")),
        }
    }

    fn disks_of(&self, body: &Value, location: &str) -> Result<Vec<String>, No> {
        let wanted = body.get("disks").and_then(Value::as_array);
        let mut found = Vec::new();
        for entry in wanted.into_iter().flatten() {
            let id = entry
                .get("disk_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let disk = self.disks.get(id).ok_or_else(|| bad("unknown disk"))?;
            if disk.location != location {
                return Err(bad("the disk is in another location"));
            }
            if self.holder(id).is_some() {
                return Err(bad("the disk is attached to another instance"));
            }
            found.push(id.to_owned());
        }
        Ok(found)
    }

    /// Who has the disk.
    pub fn holder(&self, disk: &str) -> Option<&Machine> {
        let mut machines = self.machines.values();
        machines.find(|machine| machine.disks.iter().any(|one| one == disk))
    }

    pub fn delete_machine(&mut self, id: &str, now: Instant) -> Result<Value, No> {
        let end = now + self.options.end;
        let machine = self.machines.get_mut(id).ok_or_else(not_found)?;
        match machine.phase {
            Phase::Ending(_) => {
                return Err(No(
                    409,
                    "conflict",
                    "another operation is in progress".into(),
                ));
            }
            Phase::Making(_) | Phase::Running | Phase::Crashed | Phase::Stopped => {
                machine.phase = Phase::Ending(end)
            }
        }
        let (shown, duration) = (machine.shown(), self.options.end);
        Ok(self.begin(VMS, "delete_vm", id.to_owned(), duration, None, shown, now))
    }

    /// `START`, `STOP` or `RESET`. A dynamic public address is another one after a stop.
    pub fn change_machine(&mut self, id: &str, body: &Value, now: Instant) -> Result<Value, No> {
        let action = body
            .get("action")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (boot, network) = (self.options.boot, self.options.network);
        let numbers = self.numbers + 1;
        let machine = self.machines.get_mut(id).ok_or_else(not_found)?;
        let name = match (action, machine.phase) {
            ("STOP", Phase::Running) => {
                self.billed += cost(machine, now);
                machine.running_since = None;
                machine.phase = Phase::Stopped;
                "stop_vm"
            }
            ("START", Phase::Stopped) => {
                machine.phase = Phase::Making(now + boot);
                machine.address = address(network, numbers);
                self.numbers = numbers;
                "start_vm"
            }
            ("RESET", Phase::Running) => {
                machine.phase = Phase::Making(now + boot);
                "reset_vm"
            }
            ("START" | "STOP" | "RESET", _) => {
                return Err(bad(format!("{action} does not fit {}", machine.state())));
            }
            _ => return Err(bad(format!("unknown action {action:?}"))),
        };
        let shown = machine.shown();
        Ok(self.begin(VMS, name, id.to_owned(), boot, None, shown, now))
    }

    pub fn create_disk(
        &mut self,
        body: &Value,
        fails: Option<&'static str>,
        now: Instant,
    ) -> Result<Value, No> {
        let text = |key: &str| {
            body.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (name, size, location) = (text("name"), text("size"), text("location"));
        check_name(&name)?;
        if !size.ends_with("GiB") && !size.ends_with("TiB") {
            return Err(bad("size must be like 100GiB"));
        }
        if !LOCATIONS.contains(&location.as_str()) {
            return Err(bad("unknown location"));
        }
        if self.disks.values().any(|disk| disk.name == name) {
            return Err(bad(format!("disk {name} already exists")));
        }
        let disk = Disk {
            id: uuid::Uuid::new_v4().to_string(),
            name,
            size,
            location,
            created_at: Timestamp::now(),
        };
        let (id, shown) = (disk.id.clone(), disk.shown(None));
        if fails.is_none() {
            self.disks.insert(id.clone(), disk);
        }
        Ok(self.begin(
            DISKS,
            "create_disk",
            id,
            Duration::from_millis(20),
            fails,
            shown,
            now,
        ))
    }

    pub fn delete_disk(&mut self, id: &str, now: Instant) -> Result<Value, No> {
        if !self.disks.contains_key(id) {
            return Err(not_found());
        }
        if self.holder(id).is_some() {
            return Err(bad("the disk is attached to an instance"));
        }
        self.disks.remove(id);
        let short = Duration::from_millis(20);
        Ok(self.begin(
            DISKS,
            "delete_disk",
            id.to_owned(),
            short,
            None,
            Value::Null,
            now,
        ))
    }

    pub fn create_partition(&mut self, body: &Value) -> Result<Value, No> {
        let text = |key: &str| {
            body.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (name, network) = (text("name"), text("ib_network_id"));
        check_name(&name)?;
        if !self.networks.iter().any(|one| one.id == network) {
            return Err(bad("unknown network"));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let partition = Partition {
            id: id.clone(),
            name,
            network,
        };
        let shown = partition.shown();
        self.partitions.insert(id, partition);
        Ok(shown)
    }

    /// Refused as long as a machine is in it, be it on its way out.
    pub fn delete_partition(&mut self, id: &str) -> Result<(), No> {
        if self
            .machines
            .values()
            .any(|machine| machine.partition.as_deref() == Some(id))
        {
            return Err(bad("the partition is in use"));
        }
        self.partitions.remove(id).map(drop).ok_or_else(not_found)
    }

    #[allow(clippy::too_many_arguments)] // What an operation is, and when.
    fn begin(
        &mut self,
        collection: &'static str,
        name: &'static str,
        resource: String,
        duration: Duration,
        fails: Option<&'static str>,
        result: Value,
        now: Instant,
    ) -> Value {
        let operation = Operation {
            id: uuid::Uuid::new_v4().to_string(),
            collection,
            name,
            resource,
            done: now + duration,
            fails,
            result,
            told: false,
        };
        let shown = operation.shown(now);
        self.operations.insert(operation.id.clone(), operation);
        json!({ "operation": shown })
    }

    /// A finished one can be read once; then, as when it was never there, it is forbidden.
    pub fn operation(&mut self, collection: &str, id: &str, now: Instant) -> Result<Value, No> {
        let found = self.operations.get_mut(id);
        let found = found.filter(|one| one.collection == collection && !one.told);
        let operation = found.ok_or(No(403, "unauthorized", "forbidden".into()))?;
        operation.told = now >= operation.done;
        Ok(operation.shown(now))
    }
}

pub fn not_found() -> No {
    No(
        404,
        "not_found",
        "rpc error: code = NotFound desc = no such resource".into(),
    )
}

fn address(network: u8, number: u32) -> String {
    format!("127.{network}.{}.{}", number / 250, number % 250 + 1)
}

fn cost(machine: &Machine, now: Instant) -> f64 {
    let ran = machine
        .running_since
        .map_or(Duration::ZERO, |since| now - since);
    machine.product.price * ran.as_secs_f64() / 3600.0
}

fn check_name(name: &str) -> Result<(), No> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match (1..=63).contains(&name.len()) && name.chars().all(plain) {
        true => Ok(()),
        false => Err(bad("name must be a DNS label")),
    }
}

/// Generations have images of their own.
fn check_image(body: &Value, product: &Product) -> Result<(), No> {
    let image = body
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let family = product.family().split('-').next().unwrap_or_default();
    let wanted = match family {
        "b200" => "-b200",
        "gb200" => "arm64-gb200",
        "mi300x" => "rocm",
        _ if product.family().contains("-sxm") => "-sxm-docker:",
        _ => "-pcie-docker:",
    };
    match image.contains(wanted) {
        true => Ok(()),
        false => Err(bad(format!(
            "image {image:?} does not run on {}",
            product.name
        ))),
    }
}

fn check_script(script: &str) -> Result<(), No> {
    if script.is_empty() {
        return Ok(());
    }
    if !script.starts_with("#!/bin/bash") || !script.is_ascii() || script.len() >= SCRIPT_BYTES {
        return Err(bad(
            "startup_script must be ASCII, begin with #!/bin/bash and be shorter than 64 kB",
        ));
    }
    Ok(())
}

/// One large and one small network where there is InfiniBand.
fn networks(stock: u64) -> Vec<Network> {
    let mut all = Vec::new();
    for location in LOCATIONS {
        let fabric = PRODUCTS.iter().filter(|product| product.has_fabric());
        let capacities = |share: u64| {
            let of = |product: &Product| (product.name, product.gpus * stock / share);
            fabric.clone().map(of).collect()
        };
        for (number, share) in [(1, 4), (2, 1)] {
            all.push(Network {
                id: format!("{location}-ib-{number}"),
                location: location.to_owned(),
                capacities: capacities(share),
            });
        }
    }
    all
}
