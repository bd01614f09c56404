//! The links of this replica's leadership: one per instance that has an agent.

use super::link::Link;
use super::status::Status;
use super::tools::Tools;
use crate::env;
use dstack_domain::decide::DesiredSet;
use dstack_domain::facts::AgentFact;
use dstack_domain::ids::{InstanceId, SubmissionId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

struct Held {
    desired: watch::Sender<Arc<DesiredSet>>,
    status: Arc<Status>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Leadership {
    term: u64,
    /// The term is over: nothing may start in it any more.
    over: bool,
    generations: Arc<AtomicU64>,
    held: BTreeMap<InstanceId, Held>,
}

#[derive(Default)]
pub struct Links(Mutex<Leadership>);

impl Links {
    /// Pushes to each instance what differs, links to new ones, leaves those that are not named.
    pub fn set_desired(
        &self,
        tools: &Arc<Tools>,
        term: u64,
        sets: BTreeMap<InstanceId, DesiredSet>,
    ) {
        let mut now = self.0.lock();
        if term < now.term || (term == now.term && now.over) {
            return;
        }
        if term > now.term {
            *now = Leadership {
                term,
                ..Leadership::default()
            };
        }
        now.held.retain(|instance, _| sets.contains_key(instance));
        for (instance, set) in sets {
            match now.held.get(&instance) {
                Some(held) => {
                    held.desired.send_if_modified(|old| {
                        let differs = **old != set;
                        if differs {
                            *old = Arc::new(set);
                        }
                        differs
                    });
                }
                None => {
                    let held = hold(tools, term, instance, set, now.generations.clone());
                    now.held.insert(instance, held);
                }
            }
        }
    }

    pub fn facts(&self, tools: &Tools) -> BTreeMap<InstanceId, AgentFact> {
        let now = env::now();
        let links = self.0.lock();
        links
            .held
            .iter()
            .map(|(instance, held)| {
                (
                    *instance,
                    held.status.fact(last_seen(tools, *instance, now)),
                )
            })
            .collect()
    }

    pub fn drained(&self) -> BTreeSet<SubmissionId> {
        self.0
            .lock()
            .held
            .values()
            .flat_map(|held| held.status.drained())
            .collect()
    }

    pub fn stop(&self, term: u64) {
        let mut now = self.0.lock();
        if term >= now.term {
            *now = Leadership {
                term,
                over: true,
                ..Leadership::default()
            };
        }
    }
}

fn hold(
    tools: &Arc<Tools>,
    term: u64,
    instance: InstanceId,
    set: DesiredSet,
    generations: Arc<AtomicU64>,
) -> Held {
    let (desired, receiver) = watch::channel(Arc::new(set));
    let status = Arc::new(Status::trying(env::now()));
    let link = Link {
        tools: tools.clone(),
        instance,
        term,
        desired: receiver,
        generations,
        status: status.clone(),
    };
    Held {
        desired,
        status,
        _task: AbortOnDropHandle::new(tokio::spawn(link.run())),
    }
}

fn last_seen(tools: &Tools, instance: InstanceId, now: Timestamp) -> Option<Timestamp> {
    let age = SignedDuration::try_from(tools.liveness.age(instance)?).ok()?;
    now.checked_sub(age).ok()
}
