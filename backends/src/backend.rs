//! The seam every source of machines fills.

use async_trait::async_trait;
use dstack_domain::model::{InstanceOffer, Kind};
use dstack_domain::spec::Requirements;
use std::fmt;

/// What came of a call. Four-valued, because "it failed" says too little: after a refusal another offer may be
/// tried, after an unknown outcome nothing may be done before somebody has looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Done(T),
    /// A healthy answer that says no, with its words. Nothing was created or changed.
    Refused(String),
    /// Timeout, broken connection, server error, nonsense: it may have happened or not.
    Unknown(String),
    /// A healthy answer that says there is no such thing.
    Absent,
}

impl<T> Outcome<T> {
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            _ => None,
        }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        self.and_then(|value| Outcome::Done(change(value)))
    }

    pub fn and_then<U>(self, next: impl FnOnce(T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Self::Done(value) => next(value),
            Self::Refused(why) => Outcome::Refused(why),
            Self::Unknown(why) => Outcome::Unknown(why),
            Self::Absent => Outcome::Absent,
        }
    }

    /// What absence means here.
    pub fn if_absent(self, meaning: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Absent => meaning(),
            other => other,
        }
    }
}

/// The name of a machine before it exists, derived from the record that intends it. Whoever calls again with the
/// same key, in whatever process, means the same machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Lower-case letters, digits and hyphens: what every cloud takes as a name.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=60).contains(&text.len()) && text.chars().all(plain);
        (fits && text.starts_with(|c: char| c.is_ascii_lowercase())).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine as its source shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub key: Key,
    /// The source's own name for it.
    pub id: String,
    /// Whose it is: the cluster that made it. Others' machines are never touched.
    pub owner: String,
    /// Where it is reached; not known while it is being made, and not for ever the same.
    pub address: Option<String>,
    /// Where its siblings reach it.
    pub internal_address: Option<String>,
    /// Who logs in there, and at which port.
    pub user: String,
    pub port: u16,
    /// Name of its type, as in offers.
    pub product: String,
    pub region: String,
}

/// What a machine is made with, besides its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who may log in, as a line of `authorized_keys`.
    pub ssh_public_key: String,
    /// Run as root, perhaps at every boot.
    pub startup_script: String,
    /// The source's own name of the fabric it joins.
    pub fabric: Option<String>,
}

/// One fast network for the machines of a cluster: an InfiniBand partition, say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fabric {
    pub key: Key,
    /// The source's own name for it, for [`Plan::fabric`].
    pub id: String,
}

/// Anything of an owner's in the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub kind: Kind,
    pub key: Key,
    /// The source's own name for it.
    pub id: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Machines can be made and ended.
    pub creates: bool,
    /// Several machines with one fast network between them.
    pub clusters: bool,
    /// That network is made, and must be ended, apart from its machines.
    pub fabrics: bool,
    pub spot: bool,
    pub volumes: bool,
}

#[async_trait]
pub trait Backend: Send + Sync {
    /// As in `backends:` of a configuration.
    fn kind(&self) -> &'static str;
    fn capabilities(&self) -> Capabilities;
    /// What could be had, unranked.
    async fn offers(&self, wanted: &Requirements) -> Outcome<Vec<InstanceOffer>>;
    /// Makes the machine, or finds the one made under this key before.
    async fn create(&self, key: &Key, offer: &InstanceOffer, plan: &Plan) -> Outcome<Machine>;
    async fn find(&self, key: &Key) -> Outcome<Machine>;
    /// Every machine of the owner, also those nobody remembers.
    async fn list(&self, owner: &str) -> Outcome<Vec<Machine>>;
    /// Ends the machine. Ending what is not there is done.
    async fn terminate(&self, key: &Key) -> Outcome<()>;

    /// Makes a fabric that so many machines of the offer can join, or finds the one made under this key before.
    async fn create_fabric(
        &self,
        _key: &Key,
        _offer: &InstanceOffer,
        _nodes: u32,
    ) -> Outcome<Fabric> {
        Outcome::Refused(format!("{} makes no fast networks", self.kind()))
    }

    async fn find_fabric(&self, _key: &Key) -> Outcome<Fabric> {
        Outcome::Absent
    }

    /// Every fabric of the owner.
    async fn list_fabrics(&self, _owner: &str) -> Outcome<Vec<Fabric>> {
        Outcome::Done(Vec::new())
    }

    /// Everything of the owner's: what costs money, and what is in the way.
    async fn inventory(&self, owner: &str) -> Outcome<Vec<Found>> {
        let machines = match self.list(owner).await {
            Outcome::Done(machines) => machines,
            other => return other.map(|_| Vec::new()),
        };
        let fabrics = self.list_fabrics(owner).await;
        fabrics.map(|fabrics| {
            let machines = machines.into_iter().map(|one| Found {
                kind: Kind::Machine,
                key: one.key,
                id: one.id,
            });
            let fabrics = fabrics.into_iter().map(|one| Found {
                kind: Kind::Fabric,
                key: one.key,
                id: one.id,
            });
            machines.chain(fabrics).collect()
        })
    }

    /// Ends the fabric; not done while a machine is in it. Ending what is not there is done.
    async fn delete_fabric(&self, _key: &Key) -> Outcome<()> {
        Outcome::Done(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_everywhere() {
        assert!(Key::new("a-1").is_some());
        for bad in ["", "A", "1a", "a_b", "a.b", &"a".repeat(61)] {
            assert!(Key::new(bad).is_none(), "{bad}");
        }
    }
}
