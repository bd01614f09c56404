//! Looks for machines by name, many in one call: whoever looks while another look waits for its turn shares the next
//! one. Two hundred machines that are being made would use up the account's calls otherwise.

use super::client::Client;
use super::wire::Instance;
use crate::backend::Outcome;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Names in one call, as many as a page has at least.
const MOST: usize = 50;

#[derive(Debug, Default)]
struct Waiting {
    /// Who asked for which name.
    names: BTreeMap<String, Vec<oneshot::Sender<Outcome<Instance>>>>,
    /// Somebody is at it.
    busy: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Lookout {
    client: Arc<Client>,
    path: String,
    waiting: Arc<Mutex<Waiting>>,
}

impl Lookout {
    pub fn new(client: Arc<Client>, path: String) -> Self {
        Self {
            client,
            path,
            waiting: Arc::default(),
        }
    }

    /// The machine of this name; absent only by a healthy list without it.
    pub async fn find(&self, name: &str) -> Outcome<Instance> {
        let (tell, told) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.lock();
            waiting.names.entry(name.to_owned()).or_default().push(tell);
            !std::mem::replace(&mut waiting.busy, true)
        };
        if first {
            // A task of its own: whoever asked may lose interest while others wait for the same call.
            let lookout = self.clone();
            tokio::spawn(async move { lookout.look().await });
        }
        let lost = |_| Outcome::Unknown("the look was broken off".to_owned());
        told.await.unwrap_or_else(lost)
    }

    async fn look(&self) {
        loop {
            self.client.ready().await;
            let Some(asked) = self.next() else { return };
            let names: Vec<&str> = asked.keys().map(String::as_str).collect();
            let query = [("names", names.join(","))];
            let query = query.each_ref().map(|(key, value)| (*key, value.as_str()));
            let found = self.client.list::<Instance>(&self.path, &query).await;
            for (name, askers) in asked {
                let answer = found.clone().and_then(|all| one(all, &name));
                for asker in askers {
                    // It may not be interested any more.
                    let _ = asker.send(answer.clone());
                }
            }
        }
    }

    /// Who is served by the next call; nobody, and then the next asker begins anew.
    fn next(&self) -> Option<BTreeMap<String, Vec<oneshot::Sender<Outcome<Instance>>>>> {
        let mut waiting = self.waiting.lock();
        if waiting.names.is_empty() {
            waiting.busy = false;
            return None;
        }
        let rest = match waiting.names.keys().nth(MOST).cloned() {
            Some(name) => waiting.names.split_off(&name),
            None => BTreeMap::new(),
        };
        Some(std::mem::replace(&mut waiting.names, rest))
    }
}

/// A filter that is not known is no filter.
fn one(all: Vec<Instance>, name: &str) -> Outcome<Instance> {
    let found = all
        .into_iter()
        .find(|one| one.name == name && !one.is_deleted());
    found.map_or(Outcome::Absent, Outcome::Done)
}
