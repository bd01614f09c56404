//! InfiniBand partitions: which network can hold a cluster, and one partition on it by name.

use super::client::Client;
use super::wire::{IbNetwork, IbPartition};
use crate::backend::Outcome;
use serde_json::{Value, json};

/// A partition as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: String,
    pub name: String,
    pub network: String,
}

/// The network of a location with the most room for machines of a type, if that is enough for all of them. Capacities
/// are counted in GPUs.
pub(super) fn choose<'a>(
    networks: &'a [IbNetwork],
    location: &str,
    product: &str,
    gpus: u64,
) -> Option<&'a IbNetwork> {
    let room = |network: &IbNetwork| {
        let slices = network
            .capacities
            .iter()
            .filter(|one| one.slice_type == product);
        slices.map(|one| one.quantity).max().unwrap_or(0)
    };
    let here = networks
        .iter()
        .filter(|network| network.location == location);
    here.filter(|network| room(network) >= gpus.max(1))
        .max_by(|a, b| room(a).cmp(&room(b)).then_with(|| b.id.cmp(&a.id)))
}

impl Client {
    /// Makes the partition, or finds the one made under this name before. `gpus`: of all machines together.
    pub(super) async fn create_partition(
        &self,
        name: &str,
        location: &str,
        product: &str,
        gpus: u64,
    ) -> Outcome<Partition> {
        match self.find_partition(name).await {
            Outcome::Absent => {}
            other => return other,
        }
        let networks = self.project("networking/ib-networks");
        let networks = match self.list::<IbNetwork>(&networks, &[]).await {
            Outcome::Done(networks) => networks,
            Outcome::Refused(why) => return Outcome::Refused(why),
            Outcome::Unknown(why) => return Outcome::Unknown(why),
            Outcome::Absent => return Outcome::Unknown("there is no list of networks".into()),
        };
        let Some(network) = choose(&networks, location, product, gpus) else {
            return Outcome::Refused(format!(
                "no InfiniBand network in {location} has room for {gpus} GPUs of {product}"
            ));
        };
        let body = json!({"name": name, "ib_network_id": network.id});
        let path = self.project("networking/ib-partitions");
        match self.post::<IbPartition>(&path, &body).await {
            Outcome::Done(made) => Outcome::Done(partition(made)),
            // A path that does not exist created nothing.
            Outcome::Absent => Outcome::Refused("this account has no InfiniBand partitions".into()),
            Outcome::Refused(why) => Outcome::Refused(why),
            Outcome::Unknown(why) => Outcome::Unknown(why),
        }
    }

    pub(super) async fn find_partition(&self, name: &str) -> Outcome<Partition> {
        match self.list_partitions().await {
            Outcome::Done(all) => match all.into_iter().find(|one| one.name == name) {
                Some(found) => Outcome::Done(found),
                None => Outcome::Absent,
            },
            Outcome::Absent => Outcome::Unknown("there is no list of partitions".into()),
            Outcome::Refused(why) => Outcome::Refused(why),
            Outcome::Unknown(why) => Outcome::Unknown(why),
        }
    }

    pub(super) async fn list_partitions(&self) -> Outcome<Vec<Partition>> {
        let path = self.project("networking/ib-partitions");
        match self.list::<IbPartition>(&path, &[]).await {
            Outcome::Done(all) => Outcome::Done(all.into_iter().map(partition).collect()),
            Outcome::Refused(why) => Outcome::Refused(why),
            Outcome::Unknown(why) => Outcome::Unknown(why),
            Outcome::Absent => Outcome::Unknown("there is no list of partitions".into()),
        }
    }

    /// Done only when the list says that it is gone: while a machine is still being deleted, its partition stays.
    pub(super) async fn delete_partition(&self, name: &str) -> Outcome<()> {
        let found = match self.find_partition(name).await {
            Outcome::Done(found) => found,
            Outcome::Absent => return Outcome::Done(()),
            Outcome::Refused(why) => return Outcome::Refused(why),
            Outcome::Unknown(why) => return Outcome::Unknown(why),
        };
        let path = self.project(&format!("networking/ib-partitions/{}", found.id));
        match self.delete(&path).await {
            Outcome::Refused(why) => return Outcome::Refused(why),
            Outcome::Unknown(why) => return Outcome::Unknown(why),
            Outcome::Done(Value::Null | _) | Outcome::Absent => {}
        }
        match self.find_partition(name).await {
            Outcome::Absent => Outcome::Done(()),
            Outcome::Done(_) => Outcome::Unknown(format!("the partition {name} is still there")),
            Outcome::Refused(why) | Outcome::Unknown(why) => Outcome::Unknown(why),
        }
    }
}

fn partition(record: IbPartition) -> Partition {
    Partition {
        id: record.id,
        name: record.name,
        network: record.ib_network_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crusoe::wire::SliceCapacity;

    fn network(id: &str, location: &str, capacities: &[(&str, u64)]) -> IbNetwork {
        let slice = |(product, quantity): &(&str, u64)| SliceCapacity {
            slice_type: (*product).to_owned(),
            quantity: *quantity,
        };
        IbNetwork {
            id: id.into(),
            location: location.into(),
            capacities: capacities.iter().map(slice).collect(),
        }
    }

    #[test]
    fn a_network_must_have_room_for_every_gpu_of_the_cluster() {
        let networks = [
            network("small", "east", &[("h100.8x", 16), ("a100.8x", 999)]),
            network("large", "east", &[("h100.8x", 32)]),
            network("far", "west", &[("h100.8x", 999)]),
        ];
        let chosen = |gpus| choose(&networks, "east", "h100.8x", gpus).map(|one| one.id.as_str());
        assert_eq!(chosen(8), Some("large"));
        assert_eq!(chosen(32), Some("large"));
        assert_eq!(chosen(33), None);
        assert_eq!(
            choose(&networks, "east", "h200.8x", 8).map(|one| &one.id),
            None
        );
    }
}
