//! A cloud in memory with seeded faults, for tests: a call may be refused, may fail before it took effect, or after.

use crate::backend::{Backend, Capabilities, Key, Machine, Outcome, Plan};
use async_trait::async_trait;
use dstack_domain::model::InstanceOffer;
use dstack_domain::spec::Requirements;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What goes wrong with the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A clear no.
    Refuse,
    /// No answer, and nothing happened.
    LostBefore,
    /// No answer, but it happened.
    LostAfter,
}

#[derive(Default)]
struct World {
    machines: BTreeMap<Key, Machine>,
    faults: Vec<Fault>,
    made: u64,
}

pub struct Fake {
    owner: String,
    offers: Vec<InstanceOffer>,
    world: Mutex<World>,
}

impl Fake {
    pub fn new(owner: &str, offers: Vec<InstanceOffer>) -> Self {
        Self {
            owner: owner.to_owned(),
            offers,
            world: Mutex::default(),
        }
    }

    /// The next calls meet these, the last one first.
    pub fn break_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults.extend(faults);
    }

    /// How many machines were ever made: a second one under the same key would show.
    pub fn made(&self) -> u64 {
        self.world().made
    }

    fn world(&self) -> parking_lot::MutexGuard<'_, World> {
        self.world.lock()
    }

    fn call<T>(&self, effect: impl FnOnce(&mut World) -> Outcome<T>) -> Outcome<T> {
        let mut world = self.world();
        match world.faults.pop() {
            None => effect(&mut world),
            Some(Fault::Refuse) => Outcome::Refused("quota exceeded".to_owned()),
            Some(Fault::LostBefore) => Outcome::Unknown("the connection was reset".to_owned()),
            Some(Fault::LostAfter) => {
                effect(&mut world);
                Outcome::Unknown("the answer did not come".to_owned())
            }
        }
    }
}

#[async_trait]
impl Backend for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            creates: true,
            ..Capabilities::default()
        }
    }

    async fn offers(&self, _wanted: &Requirements) -> Outcome<Vec<InstanceOffer>> {
        self.call(|_| Outcome::Done(self.offers.clone()))
    }

    async fn create(&self, key: &Key, offer: &InstanceOffer, _plan: &Plan) -> Outcome<Machine> {
        self.call(|world| {
            if let Some(there) = world.machines.get(key) {
                return Outcome::Done(there.clone());
            }
            world.made += 1;
            let machine = Machine {
                key: key.clone(),
                id: format!("m-{}", world.made),
                owner: self.owner.clone(),
                address: Some(format!("10.0.0.{}", world.made % 250)),
                internal_address: None,
                user: "root".into(),
                port: 22,
                product: offer.instance.name.clone(),
                region: offer.region.clone(),
            };
            world.machines.insert(key.clone(), machine.clone());
            Outcome::Done(machine)
        })
    }

    async fn find(&self, key: &Key) -> Outcome<Machine> {
        self.call(|world| {
            world
                .machines
                .get(key)
                .cloned()
                .map_or(Outcome::Absent, Outcome::Done)
        })
    }

    async fn list(&self, owner: &str) -> Outcome<Vec<Machine>> {
        self.call(|world| {
            Outcome::Done(
                world
                    .machines
                    .values()
                    .filter(|m| m.owner == owner)
                    .cloned()
                    .collect(),
            )
        })
    }

    async fn terminate(&self, key: &Key) -> Outcome<()> {
        self.call(|world| {
            world.machines.remove(key);
            Outcome::Done(())
        })
    }
}
