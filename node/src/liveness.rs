//! When each agent was last heard from, shared between the replicas once a second, outside the log.
//!
//! Only the leader talks to agents. Without this, a new leader would know nothing about the past and had to count
//! every agent's silence from zero. Ages travel, not times: clocks of replicas differ.

use crate::mesh::Mesh;
use async_trait::async_trait;
use bytes::Bytes;
use dstack_domain::ids::InstanceId;
use dstack_raft::{NodeId, PeerService};
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const SERVICE: &str = "liveness";
const EVERY: Duration = Duration::from_secs(1);
/// What has been silent for longer is of no use to anybody's decision any more.
const FORGET: Duration = Duration::from_secs(3600);

#[derive(Clone, Default)]
pub struct Liveness {
    seen: Arc<Mutex<BTreeMap<InstanceId, Instant>>>,
}

impl Liveness {
    /// An agent answered this replica just now.
    pub fn heard(&self, instance: InstanceId) {
        self.seen.lock().insert(instance, Instant::now());
    }

    /// How long ago any replica heard from it.
    pub fn age(&self, instance: InstanceId) -> Option<Duration> {
        self.seen.lock().get(&instance).map(Instant::elapsed)
    }

    pub fn service(&self) -> Arc<dyn PeerService> {
        Arc::new(self.clone())
    }

    /// What to tell the others. Only this replica's own links matter, but repeating what was heard from others does
    /// no harm: ages only shrink to the newest.
    fn digest(&self) -> Vec<(uuid::Uuid, u64)> {
        let mut seen = self.seen.lock();
        seen.retain(|_, at| at.elapsed() < FORGET);
        seen.iter()
            .map(|(id, at)| {
                (
                    id.0,
                    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
                )
            })
            .collect()
    }

    fn merge(&self, digest: Vec<(uuid::Uuid, u64)>) {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        for (id, age) in digest {
            let age = Duration::from_millis(age);
            let Some(at) = now.checked_sub(age).filter(|_| age < FORGET) else {
                continue;
            };
            let entry = seen.entry(InstanceId::from(id)).or_insert(at);
            *entry = at.max(*entry);
        }
    }

    /// Tells the others once a second while `leads` says that this replica is the one with links.
    pub async fn share(self, mesh: Arc<dyn Mesh>, leads: impl Fn() -> bool) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let digest = if leads() { self.digest() } else { Vec::new() };
            if digest.is_empty() {
                continue;
            }
            let Ok(body) = postcard::to_stdvec(&digest).map(Bytes::from) else {
                continue;
            };
            let told = mesh
                .others()
                .into_iter()
                .map(|peer| mesh.call(peer, SERVICE, body.clone(), EVERY));
            // Whoever misses one gets the next.
            let _ = join_all(told).await;
        }
    }
}

#[async_trait]
impl PeerService for Liveness {
    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, String> {
        self.merge(postcard::from_bytes(&body).map_err(|e| e.to_string())?);
        Ok(Bytes::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> InstanceId {
        InstanceId::from(uuid::Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn a_new_leader_knows_real_ages() {
        let (old, new) = (Liveness::default(), Liveness::default());
        old.merge(vec![(id(1).0, 5_000), (id(2).0, 70_000)]);
        let body = postcard::to_stdvec(&old.digest()).unwrap();
        new.service().call(1, body.into()).await.unwrap();
        assert!(new.age(id(1)).unwrap() >= Duration::from_secs(5));
        assert!(new.age(id(2)).unwrap() >= Duration::from_secs(70));
        assert_eq!(new.age(id(3)), None);
    }

    #[test]
    fn news_wins_over_hearsay_and_nonsense_is_ignored() {
        let here = Liveness::default();
        here.heard(id(1));
        here.merge(vec![(id(1).0, 60_000), (id(2).0, u64::MAX)]);
        assert!(here.age(id(1)).unwrap() < Duration::from_secs(60));
        assert_eq!(here.age(id(2)), None);
    }

    #[tokio::test]
    async fn a_digest_of_another_version_is_refused() {
        assert!(
            Liveness::default()
                .call(1, Bytes::from_static(b"\xff\xff\xff"))
                .await
                .is_err()
        );
    }
}
