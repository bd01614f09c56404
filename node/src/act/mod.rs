//! Actions of the leader: at most one per key at a time, a bounded number at once, each within a time limit. One
//! file per action: it acts, then tells the records what it saw.

mod cloud;
mod connect_host;
mod release_host;

use crate::hosts::tools::Tools;
use dstack_domain::step::{Action, ActionKey, Subject};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Actions on hosts at once; each holds a connection and perhaps an upload.
const HOSTS_AT_ONCE: usize = 32;
/// Calls to clouds at once: each waits for its operation most of the time, and the client keeps the pace.
const CALLS_AT_ONCE: usize = 512;
/// Connecting with an upload over a slow link is the longest.
const LIMIT: Duration = Duration::from_secs(15 * 60);

struct Running {
    term: u64,
    serial: u64,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Table {
    serial: u64,
    running: BTreeMap<ActionKey, Running>,
}

pub struct Actions {
    table: Arc<Mutex<Table>>,
    hosts: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            hosts: Arc::new(Semaphore::new(HOSTS_AT_ONCE)),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
        }
    }
}

impl Actions {
    /// Starts the action, unless one with the same key is under way.
    pub fn run(&self, tools: &Arc<Tools>, action: Action, term: u64) {
        let key = action.key();
        let mut table = self.table.lock();
        if table.running.contains_key(&key) {
            return;
        }
        table.serial += 1;
        let serial = table.serial;
        let places = match key.subject {
            Subject::Instance(_) => self.hosts.clone(),
            Subject::Intent(_) | Subject::Project(_) => self.calls.clone(),
        };
        let (tools, own) = (tools.clone(), self.table.clone());
        let task = tokio::spawn(async move {
            let Ok(_place) = places.acquire().await else {
                return;
            };
            if tokio::time::timeout(LIMIT, perform(&tools, action, term))
                .await
                .is_err()
            {
                tracing::warn!(action = %key, term, "an action took too long and was given up");
            }
            let mut table = own.lock();
            if table
                .running
                .get(&key)
                .is_some_and(|running| running.serial == serial)
            {
                table.running.remove(&key);
            }
            drop(table);
            tools.wake.notify_one();
        });
        table.running.insert(
            key,
            Running {
                term,
                serial,
                _task: AbortOnDropHandle::new(task),
            },
        );
    }

    pub fn in_flight(&self) -> BTreeSet<ActionKey> {
        self.table.lock().running.keys().copied().collect()
    }

    /// Breaks off what was started in this term or before. Whoever leads next does it again.
    pub fn stop(&self, term: u64) {
        self.table
            .lock()
            .running
            .retain(|_, running| running.term > term);
    }
}

async fn perform(tools: &Arc<Tools>, action: Action, term: u64) {
    match action {
        Action::ConnectHost {
            instance,
            generation,
        } => connect_host::run(tools, instance, generation, term).await,
        Action::ReleaseHost {
            instance,
            generation,
        } => release_host::run(tools, instance, generation, term).await,
        Action::Create { intent, generation } => {
            cloud::create(tools, intent, generation, term).await;
        }
        Action::Find { intent, generation } => {
            cloud::find(tools, intent, generation, term).await;
        }
        Action::Release { intent, generation } => {
            cloud::release(tools, intent, generation, term).await;
        }
        Action::FetchOffers { project } => cloud::fetch_offers(tools, project).await,
    }
}
