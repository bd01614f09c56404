//! A runtime without processes, for tests of what stands above the seam: jobs end when the test
//! says so, pulls hang when the test says so.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Fuel, Gone, Progress, Runtime, RuntimeError, StartError, Started, Task};
use crate::clock;
use crate::durable;
use crate::record::{ExitRecord, Handle, Launch, Running, reason};

/// What the test sees and steers.
#[derive(Default)]
pub struct FakeRuntime {
    jobs: Mutex<BTreeMap<Uuid, watch::Sender<bool>>>,
    starts: Mutex<Vec<Uuid>>,
    /// While set, pulls do not come to an end.
    pub hold_pulls: watch::Sender<bool>,
    /// What every start fails with.
    pub fail_starts: Mutex<Option<StartError>>,
}

impl FakeRuntime {
    pub fn new() -> Self {
        Self::default()
    }

    /// Every start there has been.
    pub fn starts(&self) -> Vec<Uuid> {
        lock(&self.starts).clone()
    }

    /// Ends a job as its command would.
    pub fn finish(&self, task: &Task, exit_status: i32) -> std::io::Result<()> {
        let reason = if exit_status == 0 {
            reason::DONE
        } else {
            reason::EXITED_WITH_ERROR
        };
        let record = ExitRecord {
            exit_status: Some(exit_status),
            ..ExitRecord::without_status(reason, "", clock::now())
        };
        durable::write_json(&task.job.exit(), &record)?;
        self.end(task.submission);
        Ok(())
    }

    fn end(&self, submission: Uuid) {
        if let Some(job) = lock(&self.jobs).get(&submission) {
            job.send_replace(true);
        }
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn prepare(
        &self,
        _task: &Task,
        _fuel: &Fuel,
        _progress: &Progress,
    ) -> Result<Launch, StartError> {
        let mut held = self.hold_pulls.subscribe();
        let _ = held.wait_for(|held| !held).await;
        Ok(Launch::default())
    }

    async fn start(&self, task: &Task, _launch: &Launch) -> Result<Started, StartError> {
        if let Some(error) = lock(&self.fail_starts).clone() {
            return Err(error);
        }
        lock(&self.starts).push(task.submission);
        lock(&self.jobs).insert(task.submission, watch::Sender::new(false));
        let running = Running {
            started_at: clock::now(),
            user: "fake".into(),
            working_dir: "/".into(),
            ports: Default::default(),
        };
        durable::write_json(&task.job.running(), &running)
            .map_err(|error| StartError::executor(error.to_string()))?;
        Ok(Started {
            handle: Handle::Container(task.submission.to_string()),
            ports: BTreeMap::new(),
        })
    }

    async fn find(&self, task: &Task) -> Result<Option<Started>, RuntimeError> {
        let known = lock(&self.jobs).contains_key(&task.submission);
        Ok(known.then(|| Started {
            handle: Handle::Container(task.submission.to_string()),
            ports: BTreeMap::new(),
        }))
    }

    async fn gone(&self, task: &Task, _handle: &Handle) -> Gone {
        let ended = lock(&self.jobs)
            .get(&task.submission)
            .map(watch::Sender::subscribe);
        if let Some(mut ended) = ended {
            let _ = ended.wait_for(|ended| *ended).await;
        }
        Gone::default()
    }

    async fn nudge(&self, _task: &Task, _handle: &Handle) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn kill(&self, task: &Task, _handle: &Handle) -> Result<(), RuntimeError> {
        self.end(task.submission);
        Ok(())
    }

    async fn remove(&self, task: &Task, _handle: Option<&Handle>) -> Result<(), RuntimeError> {
        lock(&self.jobs).remove(&task.submission);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
