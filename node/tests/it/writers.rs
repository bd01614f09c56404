//! Clients that write without pause and remember what they were promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use crate::lab::Api;

/// What became of all writes.
#[derive(Default)]
pub struct Record {
    pub acknowledged: Mutex<Vec<String>>,
    /// Answers that no client should ever see.
    pub failures: Mutex<Vec<String>>,
    /// Connections that ended without an answer.
    pub lost: AtomicUsize,
    stop: AtomicBool,
}

pub struct Writers {
    pub record: Arc<Record>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// One writer for each list of replicas; a writer goes to the next of its list when a connection fails.
    pub fn start(lists: Vec<Vec<Api>>) -> Writers {
        let record = Arc::new(Record::default());
        let mut tasks = JoinSet::new();
        for (number, apis) in lists.into_iter().enumerate() {
            tasks.spawn(write(number, apis, record.clone()));
        }
        Writers { record, tasks }
    }

    /// Waits until that many more writes were acknowledged.
    pub async fn progress(&self, more: usize) {
        let before = self.record.acknowledged.lock().len();
        crate::lab::until("writes go on", async || {
            (self.record.acknowledged.lock().len() >= before + more).then_some(())
        })
        .await;
    }

    pub async fn stop(mut self) -> Arc<Record> {
        self.record.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.record.clone()
    }
}

async fn write(number: usize, apis: Vec<Api>, record: Arc<Record>) {
    let (mut at, mut count) = (0, 0);
    while !record.stop.load(Ordering::Relaxed) {
        let name = format!("w{number}-{count}");
        count += 1;
        loop {
            let body = json!({"name": name, "value": "x"});
            let path = "/api/project/main/secrets/create_or_update";
            match apis[at % apis.len()].send(path, body, Some(&name)).await {
                Ok((status, _)) if status.is_success() => {
                    record.acknowledged.lock().push(name);
                    break;
                }
                Ok((status, body)) => {
                    record
                        .failures
                        .lock()
                        .push(format!("{name}: {status} {body}"));
                    break;
                }
                Err(_) => {
                    record.lost.fetch_add(1, Ordering::Relaxed);
                    at += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        // A client, not a load generator.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Record {
    /// Every acknowledged write is among `present`, and nobody was told of an error.
    pub fn judge(&self, present: &[String]) {
        let failures = self.failures.lock();
        assert!(failures.is_empty(), "clients saw failures: {failures:?}");
        let acknowledged = self.acknowledged.lock();
        let missing: Vec<&String> = acknowledged
            .iter()
            .filter(|name| !present.contains(name))
            .collect();
        assert!(
            missing.is_empty(),
            "{} of {} acknowledged writes are lost: {missing:?}",
            missing.len(),
            acknowledged.len()
        );
        assert!(!acknowledged.is_empty());
    }
}
