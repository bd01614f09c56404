//! InfiniBand partitions: which network can hold a cluster, and one partition on it by name.

use super::client::Client;
use super::done::done;
use super::wire::{IbNetwork, IbPartition};
use crate::backend::Outcome;
use serde_json::{Value, json};

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
    ) -> Outcome<IbPartition> {
        match self.find_partition(name).await {
            Outcome::Absent => {}
            other => return other,
        }
        let networks = self.project("networking/ib-networks");
        let networks = done!(self.list::<IbNetwork>(&networks, &[]).await);
        let Some(network) = choose(&networks, location, product, gpus) else {
            return Outcome::Refused(format!(
                "no InfiniBand network in {location} has room for {gpus} GPUs of {product}"
            ));
        };
        let body = json!({"name": name, "ib_network_id": network.id});
        let path = self.project("networking/ib-partitions");
        let made = self.post::<IbPartition>(&path, &body).await;
        // A path that does not exist created nothing.
        made.if_absent(|| Outcome::Refused("this account has no InfiniBand partitions".into()))
    }

    pub(super) async fn find_partition(&self, name: &str) -> Outcome<IbPartition> {
        let mut all = done!(self.list_partitions().await).into_iter();
        let found = all.find(|one| one.name == name);
        found.map_or(Outcome::Absent, Outcome::Done)
    }

    pub(super) async fn list_partitions(&self) -> Outcome<Vec<IbPartition>> {
        let path = self.project("networking/ib-partitions");
        self.list(&path, &[]).await
    }

    /// Done only when the list says that it is gone: while a machine is still being deleted, its partition stays.
    pub(super) async fn delete_partition(&self, name: &str) -> Outcome<()> {
        let found = match self.find_partition(name).await {
            Outcome::Absent => return Outcome::Done(()),
            found => done!(found),
        };
        let path = self.project(&format!("networking/ib-partitions/{}", found.id));
        let ordered = self.delete(&path).await;
        done!(ordered.if_absent(|| Outcome::Done(Value::Null)));
        match self.find_partition(name).await {
            Outcome::Absent => Outcome::Done(()),
            Outcome::Done(_) => Outcome::Unknown(format!("the partition {name} is still there")),
            Outcome::Refused(why) | Outcome::Unknown(why) => Outcome::Unknown(why),
        }
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
