//! Machines: made once per name, found by name, and gone only when a healthy list says so.

use super::catalogue::Catalogue;
use super::client::Client;
use super::done::done;
use super::lookout::Lookout;
use super::names::{Owner, data_disk, disk_owner};
use super::offers::{DATA_DISK_GB, NEEDS_DISK, offers};
use super::shapes::{Shape, image};
use super::wire::{
    Capacity, DiskRecord, IbPartition, Instance, Items, OperationAnswer, Quotas, TypeRecord,
};
use crate::backend::{Backend, Capabilities, Fabric, Found, Key, Machine, Outcome, Plan};
use async_trait::async_trait;
use dstack_domain::decide::fits;
use dstack_domain::model::{InstanceOffer, Kind};
use dstack_domain::spec::Requirements;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant as Clock;

/// The user of every image there.
pub const LOGIN: &str = "ubuntu";

const MACHINES: &str = "compute/vms/instances";
const DISKS: &str = "storage/disks";
/// How long a machine may take until its operation is over; after that it is looked for by name.
const MAKING: Duration = Duration::from_secs(300);
/// Between looks at a machine that is being made.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const LAST_LOOK: Duration = Duration::from_secs(5);
const MAKING_DISK: Duration = Duration::from_secs(60);
const ENDING: Duration = Duration::from_secs(120);

/// One account, for one cluster of ours.
#[derive(Debug)]
pub struct Crusoe {
    client: Arc<Client>,
    lookout: Lookout,
    owner: Owner,
    catalogue: Catalogue,
}

impl Crusoe {
    pub fn new(client: Client, owner: Owner, catalogue: Catalogue) -> Self {
        let client = Arc::new(client);
        let path = client.project(MACHINES);
        Self {
            lookout: Lookout::new(client.clone(), path),
            client,
            owner,
            catalogue,
        }
    }

    /// Whether the account can be used at all; the cheapest call there is.
    pub async fn check(&self) -> Outcome<()> {
        let path = self.client.project("quotas");
        let answer = self.client.get::<Quotas>(&path, &[]).await;
        in_project(answer).map(drop)
    }

    /// What the account could have, whoever asks.
    pub async fn every_offer(&self) -> Outcome<Vec<InstanceOffer>> {
        let types = self.client.project("compute/vms/types");
        let types = done!(self.client.get::<Items<TypeRecord>>(&types, &[]).await).items;
        let capacities = done!(self.client.get::<Items<Capacity>>("/capacities", &[]).await).items;
        let quotas = self.client.project("quotas");
        // Without them nothing is known about the quota, which is said so.
        let quotas = self.client.get::<Quotas>(&quotas, &[]).await.done();
        let quotas = quotas.as_ref().map(|answer| answer.quotas.as_slice());
        Outcome::Done(offers(&types, &capacities, quotas, &self.catalogue))
    }

    /// The mark of its cluster.
    pub fn owner(&self) -> String {
        self.owner.to_string()
    }

    fn name(&self, key: &Key) -> Result<String, String> {
        let name = self.owner.name(key);
        name.ok_or_else(|| format!("{key} is too long for the name of a machine"))
    }

    async fn instance(&self, name: &str) -> Outcome<Instance> {
        self.lookout.find(name).await
    }

    /// From the accepted order to a machine that runs. It is looked at, not its operation: one look serves all that are
    /// being made. The operation is read when the machine is not to be seen, because it alone knows why.
    async fn made(&self, name: &str, order: OperationAnswer) -> Outcome<Instance> {
        let mut operation = order.into_inner();
        let deadline = Clock::now() + MAKING;
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(ended) = operation.ended() {
                let result = done!(ended);
                // It says what was made; lists may not yet.
                return match serde_json::from_value::<Instance>(result) {
                    Ok(instance) if instance.name == name => Outcome::Done(instance),
                    _ => self.instance(name).await.if_absent(|| unseen(name)),
                };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
            let seen = self.instance(name).await;
            match seen {
                Outcome::Done(seen) if seen.state() == "RUNNING" => return Outcome::Done(seen),
                // Whoever asked goes on looking.
                Outcome::Done(seen) if Clock::now() >= deadline => return Outcome::Done(seen),
                Outcome::Done(seen) if seen.is_coming() => {}
                Outcome::Unknown(_) if Clock::now() < deadline => {}
                Outcome::Done(_) | Outcome::Absent if Clock::now() < deadline => {
                    operation = done!(self.client.operation(MACHINES, operation).await);
                }
                _ => return unseen(name),
            }
        }
    }

    fn machine(&self, key: Key, instance: &Instance) -> Machine {
        Machine {
            key,
            id: instance.id.clone(),
            owner: self.owner.to_string(),
            address: instance.public_address().map(str::to_owned),
            internal_address: instance.private_address().map(str::to_owned),
            user: LOGIN.to_owned(),
            port: 22,
            product: instance.r#type.clone(),
            region: instance.location.clone(),
        }
    }

    /// The disk of a machine whose type has none; made under its own name, so that it is found again.
    async fn disk(&self, machine: &str, offer: &InstanceOffer) -> Outcome<String> {
        let name = data_disk(machine);
        match self.find_disk(&name).await {
            Outcome::Absent => {}
            found => return found.map(|disk| disk.id),
        }
        let wanted = offer.instance.resources.disk.size_mib >> 10;
        let size = format!("{}GiB", wanted.max(DATA_DISK_GB));
        let body = json!({"name": name, "size": size, "location": offer.region,
            "type": "persistent-ssd", "block_size": 4096});
        let path = self.client.project(DISKS);
        let answer = in_project(self.client.post::<OperationAnswer>(&path, &body).await);
        done!(self.client.follow(DISKS, done!(answer), MAKING_DISK).await);
        match self.find_disk(&name).await {
            Outcome::Done(disk) => Outcome::Done(disk.id),
            _ => Outcome::Unknown(format!("the disk {name} was made, but is not listed yet")),
        }
    }

    /// A refusal leaves nothing behind, or it is none.
    async fn without_disk<T>(&self, machine: &str, has_disk: bool, why: String) -> Outcome<T> {
        if !has_disk || self.delete_disk(&data_disk(machine)).await == Outcome::Done(()) {
            return Outcome::Refused(why);
        }
        Outcome::Unknown(format!("{why}; and its disk is there still"))
    }

    async fn find_disk(&self, name: &str) -> Outcome<DiskRecord> {
        let path = self.client.project(DISKS);
        let found = done!(
            self.client
                .list::<DiskRecord>(&path, &[("disk_names", name)])
                .await
        );
        let found = found.into_iter().find(|disk| disk.name == name);
        found.map_or(Outcome::Absent, Outcome::Done)
    }

    async fn delete_disk(&self, name: &str) -> Outcome<()> {
        let disk = match self.find_disk(name).await {
            Outcome::Absent => return Outcome::Done(()),
            other => done!(other),
        };
        let path = self.client.project(&format!("{DISKS}/{}", disk.id));
        done!(self.end(DISKS, &path).await);
        match self.find_disk(name).await {
            Outcome::Absent => Outcome::Done(()),
            _ => Outcome::Unknown(format!("the disk {name} is still there")),
        }
    }

    /// Orders a deletion and waits for it; whether the thing is gone is for a list to say.
    async fn end(&self, collection: &str, path: &str) -> Outcome<()> {
        let ordered = self.client.delete(path).await;
        let answer = done!(ordered.if_absent(|| Outcome::Done(Value::Null)));
        if let Ok(operation) = serde_json::from_value::<OperationAnswer>(answer) {
            done!(self.client.follow(collection, operation, ENDING).await);
        }
        Outcome::Done(())
    }

    fn body(&self, name: &str, offer: &InstanceOffer, plan: &Plan, disk: Option<&str>) -> Value {
        let shape = Shape::of(&offer.instance.name);
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
        put("name", json!(name));
        put("type", json!(offer.instance.name));
        put("location", json!(offer.region));
        put("image", json!(image(&shape.family)));
        put("ssh_public_key", json!(plan.ssh_public_key));
        put("startup_script", json!(plan.startup_script));
        if let Some(disk) = disk {
            let attached =
                json!({"disk_id": disk, "mode": "read-write", "attachment_type": "data"});
            put("disks", json!([attached]));
        }
        if let Some(partition) = &plan.fabric {
            // One entry; the cloud gives the machine all its adapters in it.
            put(
                "host_channel_adapters",
                json!([{ "transport_partition_id": partition }]),
            );
        }
        // A reservation that is there costs money already, but it is not ours to take without being told.
        put(
            "reservation_specification",
            json!({"selection_strategy": "on_demand"}),
        );
        Value::Object(body)
    }
}

fn unseen<T>(name: &str) -> Outcome<T> {
    Outcome::Unknown(format!("{name} was ordered, and is not to be seen"))
}

/// A path that does not exist did nothing.
fn in_project<T>(outcome: Outcome<T>) -> Outcome<T> {
    outcome.if_absent(|| Outcome::Refused("there is no such project".into()))
}

#[async_trait]
impl Backend for Crusoe {
    fn kind(&self) -> &'static str {
        "crusoe"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            creates: true,
            clusters: true,
            fabrics: true,
            spot: false,
            volumes: false,
        }
    }

    async fn offers(&self, wanted: &Requirements) -> Outcome<Vec<InstanceOffer>> {
        let mut all = done!(self.every_offer().await);
        all.retain(|offer| fits(wanted, &offer.instance.resources, 1, 1));
        Outcome::Done(all)
    }

    async fn create(&self, key: &Key, offer: &InstanceOffer, plan: &Plan) -> Outcome<Machine> {
        let name = match self.name(key) {
            Ok(name) => name,
            Err(why) => return Outcome::Refused(why),
        };
        match self.instance(&name).await {
            Outcome::Absent => {}
            found => return found.map(|instance| self.machine(key.clone(), &instance)),
        }
        let disk = match offer.backend_data.contains_key(NEEDS_DISK) {
            true => Some(done!(self.disk(&name, offer).await)),
            false => None,
        };
        let body = self.body(&name, offer, plan, disk.as_deref());
        let path = self.client.project(MACHINES);
        let answer = in_project(self.client.post::<OperationAnswer>(&path, &body).await);
        let made = match answer {
            Outcome::Done(order) => self.made(&name, order).await,
            Outcome::Refused(why) => Outcome::Refused(why),
            Outcome::Unknown(why) => Outcome::Unknown(why),
            Outcome::Absent => Outcome::Absent,
        };
        match made {
            Outcome::Refused(why) => self.without_disk(&name, disk.is_some(), why).await,
            made => made.map(|instance| self.machine(key.clone(), &instance)),
        }
    }

    async fn find(&self, key: &Key) -> Outcome<Machine> {
        let name = match self.name(key) {
            Ok(name) => name,
            // No such name was ever given.
            Err(_) => return Outcome::Absent,
        };
        let found = self.instance(&name).await;
        found.map(|instance| self.machine(key.clone(), &instance))
    }

    async fn list(&self, owner: &str) -> Outcome<Vec<Machine>> {
        let Some(owner) = Owner::new(owner) else {
            return Outcome::Done(Vec::new());
        };
        let path = self.client.project(MACHINES);
        let all = done!(self.client.list::<Instance>(&path, &[]).await);
        let ours = all.iter().filter(|instance| !instance.is_deleted());
        let ours = ours.filter_map(|instance| {
            let machine = self.machine(owner.key(&instance.name)?, instance);
            Some(Machine {
                owner: owner.to_string(),
                ..machine
            })
        });
        Outcome::Done(ours.collect())
    }

    async fn terminate(&self, key: &Key) -> Outcome<()> {
        let Ok(name) = self.name(key) else {
            return Outcome::Done(());
        };
        match self.instance(&name).await {
            Outcome::Absent => {}
            found => {
                let instance = done!(found);
                let path = self.client.project(&format!("{MACHINES}/{}", instance.id));
                if instance.state() != "DELETING" {
                    done!(self.end(MACHINES, &path).await);
                }
                if self.instance(&name).await != Outcome::Absent {
                    return Outcome::Unknown(format!("{name} is still being deleted"));
                }
            }
        }
        // Its disk is attached until the machine is gone, and outlives it.
        self.delete_disk(&data_disk(&name)).await
    }

    async fn create_fabric(&self, key: &Key, offer: &InstanceOffer, nodes: u32) -> Outcome<Fabric> {
        if !Shape::of(&offer.instance.name).has_fabric {
            return Outcome::Refused(format!("{} has no fast network", offer.instance.name));
        }
        let name = match self.name(key) {
            Ok(name) => name,
            Err(why) => return Outcome::Refused(why),
        };
        let gpus = offer.instance.resources.gpus.len() as u64 * u64::from(nodes);
        let product = &offer.instance.name;
        let made = self
            .client
            .create_partition(&name, &offer.region, product, gpus);
        Outcome::Done(fabric(key.clone(), done!(made.await)))
    }

    async fn find_fabric(&self, key: &Key) -> Outcome<Fabric> {
        let Ok(name) = self.name(key) else {
            return Outcome::Absent;
        };
        let found = self.client.find_partition(&name).await;
        found.map(|found| fabric(key.clone(), found))
    }

    async fn list_fabrics(&self, owner: &str) -> Outcome<Vec<Fabric>> {
        let Some(owner) = Owner::new(owner) else {
            return Outcome::Done(Vec::new());
        };
        let all = done!(self.client.list_partitions().await);
        let ours = all
            .into_iter()
            .filter_map(|one| Some(fabric(owner.key(&one.name)?, one)));
        Outcome::Done(ours.collect())
    }

    async fn inventory(&self, owner: &str) -> Outcome<Vec<Found>> {
        let Some(mark) = Owner::new(owner) else {
            return Outcome::Done(Vec::new());
        };
        let machines = done!(self.list(owner).await).into_iter();
        let mut all: Vec<Found> = machines
            .map(|one| Found {
                kind: Kind::Machine,
                key: one.key,
                id: one.id,
            })
            .collect();
        let path = self.client.project(DISKS);
        for disk in done!(self.client.list::<DiskRecord>(&path, &[]).await) {
            let key = disk_owner(&disk.name).and_then(|name| mark.key(name));
            all.extend(key.map(|key| Found {
                kind: Kind::Disk,
                key,
                id: disk.id,
            }));
        }
        let fabrics = done!(self.list_fabrics(owner).await).into_iter();
        all.extend(fabrics.map(|one| Found {
            kind: Kind::Fabric,
            key: one.key,
            id: one.id,
        }));
        Outcome::Done(all)
    }

    async fn delete_fabric(&self, key: &Key) -> Outcome<()> {
        match self.name(key) {
            Ok(name) => self.client.delete_partition(&name).await,
            Err(_) => Outcome::Done(()),
        }
    }
}

fn fabric(key: Key, partition: IbPartition) -> Fabric {
    Fabric {
        key,
        id: partition.id,
    }
}
