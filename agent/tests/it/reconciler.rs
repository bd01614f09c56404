//! The reconciler over a runtime without processes: moments that real ones pass too quickly.

use std::sync::Arc;

use dstack_agent::durable;
use dstack_agent::home::Home;
use dstack_agent::record::{JobPhase, JobRecord};
use dstack_agent::runtime::fake::FakeRuntime;
use dstack_agent::runtime::{StartError, Task};
use dstack_agent::serve::{Handles, Message, Reconciler};
use dstack_api::agent::{Desired, DesiredJob, ObservedJob, Phase};
use dstack_api::agent_job::{JobOrder, OrderArchive};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{PATIENCE, order, run, sha256, with_phase};

struct World {
    dir: tempfile::TempDir,
    runtime: Arc<FakeRuntime>,
    handles: Handles,
    task: JoinHandle<()>,
    generation: u64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Arc::new(FakeRuntime::new());
        let (handles, task) = begin(&dir, &runtime);
        Self {
            dir,
            runtime,
            handles,
            task,
            generation: 0,
        }
    }

    /// The agent dies and comes back.
    fn restart(&mut self) {
        self.task.abort();
        (self.handles, self.task) = begin(&self.dir, &self.runtime);
    }

    fn home(&self) -> Home {
        Home::open(self.dir.path()).unwrap()
    }

    async fn want(&mut self, jobs: Vec<DesiredJob>) {
        self.generation += 1;
        let (reply, answer) = oneshot::channel();
        let desired = Desired {
            epoch: 1,
            generation: self.generation,
            jobs,
        };
        self.handles
            .inbox
            .send(Message::Desired {
                link: 1,
                desired,
                reply,
            })
            .await
            .unwrap();
        answer.await.unwrap().unwrap();
    }

    async fn phase(&mut self, id: Uuid, phase: &str) -> ObservedJob {
        let id = id.to_string();
        let find = |jobs: &[ObservedJob]| {
            jobs.iter()
                .find(|job| job.submission_id == id && job.phase == phase)
                .cloned()
        };
        let seen = self
            .handles
            .published
            .wait_for(|snapshot| find(&snapshot.observed.jobs).is_some());
        let snapshot = tokio::time::timeout(PATIENCE, seen)
            .await
            .expect(phase)
            .unwrap();
        find(&snapshot.observed.jobs).unwrap()
    }

    fn task(&self, order: &JobOrder) -> Task {
        let submission = order.submission_id.parse().unwrap();
        Task {
            submission,
            job: self.home().job(submission),
            order: Arc::new(order.clone()),
        }
    }
}

fn begin(dir: &tempfile::TempDir, runtime: &Arc<FakeRuntime>) -> (Handles, JoinHandle<()>) {
    let home = Home::open(dir.path()).unwrap();
    let guests = home.root().join("guests");
    let (reconciler, handles) = Reconciler::open(home, runtime.clone(), Some(guests)).unwrap();
    (handles, tokio::spawn(reconciler.run()))
}

#[tokio::test]
async fn a_pull_that_is_no_longer_wanted_is_dropped() {
    let mut world = World::new();
    world.runtime.hold_pulls.send_replace(true);
    let id = Uuid::new_v4();
    let order = order(id, "true");
    world.want(vec![run(&order)]).await;
    world.phase(id, "pulling").await;
    world.want(vec![with_phase(&order, Phase::Stop, 10)]).await;
    assert_eq!(
        world.phase(id, "exited").await.reason,
        "terminated_by_server"
    );
    world.runtime.hold_pulls.send_replace(false);
    assert!(world.runtime.starts().is_empty());
}

#[tokio::test]
async fn a_start_that_fails_ends_the_job_with_the_reason() {
    let mut world = World::new();
    *world.runtime.fail_starts.lock().unwrap() = Some(StartError::creating("no room"));
    let id = Uuid::new_v4();
    world.want(vec![run(&order(id, "true"))]).await;
    let job = world.phase(id, "exited").await;
    assert_eq!(
        (job.reason.as_str(), job.message.as_str()),
        ("creating_container_error", "no room")
    );
}

#[tokio::test]
async fn a_start_that_was_not_noted_down_is_found_and_not_repeated() {
    let mut world = World::new();
    let id = Uuid::new_v4();
    let order = order(id, "true");
    world.want(vec![run(&order)]).await;
    world.phase(id, "running").await;
    world.task.abort();
    // As if the agent had died right after the start.
    let path = world.home().job(id).record();
    let record: JobRecord = durable::read_json(&path).unwrap().unwrap();
    durable::write_json(
        &path,
        &JobRecord {
            phase: JobPhase::Starting,
            handle: None,
            running: None,
            ..record
        },
    )
    .unwrap();
    world.restart();
    world.phase(id, "running").await;
    assert_eq!(world.runtime.starts(), [id]);
    world.runtime.finish(&world.task(&order), 7).unwrap();
    assert_eq!(world.phase(id, "exited").await.exit_status, 7);
}

#[tokio::test]
async fn a_start_that_never_happened_is_made_up_for() {
    let mut world = World::new();
    let id = Uuid::new_v4();
    let order = order(id, "true");
    world.runtime.hold_pulls.send_replace(true);
    world.want(vec![run(&order)]).await;
    world.phase(id, "pulling").await;
    world.restart();
    world.runtime.hold_pulls.send_replace(false);
    world.phase(id, "running").await;
    assert_eq!(world.runtime.starts(), [id]);
}

#[tokio::test]
async fn after_a_restart_a_job_with_secrets_waits_for_them_to_come_again() {
    let mut world = World::new();
    let archive = b"archive".as_slice();
    let id = Uuid::new_v4();
    let mut order = order(id, "true");
    order.archives = vec![OrderArchive {
        sha256: sha256(archive),
        path: "x".into(),
    }];
    let with_secret = DesiredJob {
        secret_env: [("T".to_owned(), "v".to_owned())].into(),
        ..run(&order)
    };
    world.want(vec![with_secret.clone()]).await;
    world.phase(id, "waiting-archives").await;
    world.restart();
    std::fs::write(world.home().archive(&sha256(archive)).unwrap(), archive).unwrap();
    world.phase(id, "accepted").await;
    // A reminder carries no secrets either.
    world
        .want(vec![DesiredJob {
            spec_json: String::new(),
            ..run(&order)
        }])
        .await;
    assert!(world.runtime.starts().is_empty());
    world.want(vec![with_secret]).await;
    world.phase(id, "running").await;
}

#[tokio::test]
async fn a_job_that_is_not_here_any_more_is_reported_not_awaited() {
    let mut world = World::new();
    let id = Uuid::new_v4();
    world
        .want(vec![DesiredJob {
            spec_json: String::new(),
            ..run(&order(id, "true"))
        }])
        .await;
    let job = world.phase(id, "exited").await;
    assert_eq!(job.reason, "executor_error");
    assert!(
        job.message.contains("no longer has the job"),
        "{}",
        job.message
    );
}
