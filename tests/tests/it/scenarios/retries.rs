//! Trying again.

use super::runs::over;
use dstack_domain::model::{
    JobReason, JobStatus, RunReason, RunStatus, Submission, run_error, run_status_message,
};
use dstack_domain::spec::Blocks;
use dstack_tests::world::{Script, World};
use serde_json::json;

fn status_message(world: &World, name: &str) -> String {
    let jobs = world.jobs(name);
    let latest: Vec<&Submission> = jobs.iter().map(AsRef::as_ref).collect();
    run_status_message(&world.run(name), &latest)
}

#[test]
fn a_run_waits_for_capacity_within_its_window() {
    let mut world = World::new(3);
    world
        .submit(
            "train",
            json!({"retry": {"on_events": ["no-capacity"], "duration": "10m"}}),
        )
        .unwrap();
    assert!(world.run_until(5, |world| world.run("train").status == RunStatus::Pending));
    assert_eq!(status_message(&world, "train"), "retrying");
    world.create_fleet("lab", 1..=1, Blocks::Count(1));
    assert!(world.run_until(120, |world| over(world, "train")));
    assert_eq!(world.run("train").status, RunStatus::Done);
    assert_eq!(
        world.run("train").resubmission_attempt,
        0,
        "the count starts again once a machine is found"
    );
}

#[test]
fn the_window_closes() {
    let mut world = World::new(4);
    world
        .submit(
            "train",
            json!({"retry": {"on_events": ["no-capacity"], "duration": "1m"}}),
        )
        .unwrap();
    assert!(world.run_until(300, |world| over(world, "train")));
    let run = world.run("train");
    assert_eq!(
        (run.status, run.termination_reason),
        (RunStatus::Failed, Some(RunReason::RetryLimitExceeded))
    );
    assert_eq!(run_error(&run), Some("retry limit exceeded"));
    let attempts = world.memory.state.submissions_of(run.id).count();
    assert_eq!(
        attempts, 2,
        "attempts without a machine are not kept, except the latest predecessor"
    );
}

#[test]
fn one_failed_node_restarts_all_nodes() {
    let mut world = World::new(5);
    world.ready_fleet("lab", 1..=2, Blocks::Count(1));
    world.scripts.insert(
        ("train".into(), 0),
        Script {
            run_ms: 3_600_000,
            ..Script::default()
        },
    );
    world.scripts.insert(
        ("train".into(), 1),
        Script {
            exit_status: 3,
            ..Script::default()
        },
    );
    world
        .submit(
            "train",
            json!({"nodes": 2, "retry": {"on_events": ["error"], "duration": "1h"}}),
        )
        .unwrap();
    assert!(world.run_until(60, |world| world.run("train").status == RunStatus::Pending));
    world.scripts.insert(("train".into(), 0), Script::default());
    world.scripts.insert(("train".into(), 1), Script::default());
    assert!(world.run_until(120, |world| over(world, "train")));
    assert_eq!(world.run("train").status, RunStatus::Done);
    let run = world.run("train").id;
    let first: Vec<_> = world
        .memory
        .state
        .submissions_of(run)
        .filter(|s| s.submission_num == 0)
        .cloned()
        .collect();
    assert_eq!(first[0].status, JobStatus::Terminated);
    assert_eq!(
        first[0].termination_reason_message.as_deref(),
        Some("Run is to be resubmitted")
    );
    assert_eq!(
        first[1].termination_reason,
        Some(JobReason::ContainerExitedWithError)
    );
    assert!(
        world
            .jobs("train")
            .iter()
            .all(|job| job.submission_num == 1)
    );
}

#[test]
fn a_job_past_its_max_duration_fails_its_run() {
    let mut world = World::new(6);
    world.ready_fleet("lab", 1..=1, Blocks::Count(1));
    world.scripts.insert(
        ("train".into(), 0),
        Script {
            run_ms: 3_600_000,
            ..Script::default()
        },
    );
    // This agent does not enforce the limit; the server does, two minutes later.
    world
        .submit("train", json!({"max_duration": "1m", "retry": true}))
        .unwrap();
    assert!(!world.run_until(170, |world| over(world, "train")));
    assert!(world.run_until(60, |world| over(world, "train")));
    let run = world.run("train");
    assert_eq!(
        (run.status, run.termination_reason),
        (RunStatus::Failed, Some(RunReason::JobFailed))
    );
    assert_eq!(
        world.jobs("train")[0].termination_reason,
        Some(JobReason::MaxDurationExceeded)
    );
}
