//! Hosts and leaders that go away.

use super::runs::over;
use dstack_domain::command::DeleteRuns;
use dstack_domain::model::{
    InstanceStatus, JobReason, RunReason, RunStatus, submission_error, submission_status_message,
};
use dstack_domain::spec::Blocks;
use dstack_tests::world::{Script, World};
use serde_json::json;

fn long_run(hosts: u32) -> World {
    let mut world = World::new(77);
    world.ready_fleet("lab", 1..=hosts, Blocks::Count(1));
    world.scripts.insert(
        ("train".into(), 0),
        Script {
            run_ms: 600_000,
            ..Script::default()
        },
    );
    assert!(world.submit("train", json!({})).is_ok());
    assert!(world.run_until(30, |world| world.run("train").status == RunStatus::Running));
    world
}

fn silence(world: &mut World, seconds: i64) {
    let until = dstack_tests::world::after(world.now, seconds * 1000);
    for host in world.hosts.values_mut() {
        host.silent_until = Some(until);
    }
}

#[test]
fn without_fleets_the_job_says_so() {
    let mut world = World::new(1);
    world.submit("train", json!({})).unwrap();
    assert!(world.run_until(10, |world| over(world, "train")));
    assert_eq!(
        world.run("train").termination_reason,
        Some(RunReason::JobFailed)
    );
    assert_eq!(
        submission_status_message(&world.jobs("train")[0]),
        "no fleets"
    );
}

#[test]
fn a_silence_shorter_than_the_limit_harms_nothing() {
    let mut world = long_run(1);
    silence(&mut world, 100);
    world.run_for(110);
    assert_eq!(world.run("train").status, RunStatus::Running);
}

#[test]
fn a_host_silent_for_two_minutes_fails_its_job_and_keeps_its_place() {
    let mut world = long_run(1);
    silence(&mut world, 300);
    assert!(!world.run_until(110, |world| over(world, "train")));
    assert!(world.run_until(20, |world| over(world, "train")));
    let job = world.jobs("train").remove(0);
    assert_eq!(job.termination_reason, Some(JobReason::InstanceUnreachable));
    assert_eq!(submission_status_message(&job), "error");
    assert_eq!(submission_error(&job), Some("instance unreachable"));
    let state = &world.memory.state;
    let host = state.instances().next().unwrap();
    assert!(host.unreachable && !host.lingering.is_empty());
    assert_eq!(host.status, InstanceStatus::Idle);
    // Nothing new is placed there until its agent has spoken.
    world.submit("next", json!({})).unwrap();
    world.run_for(5);
    assert_eq!(
        submission_status_message(&world.jobs("next")[0]),
        "no capacity"
    );
    world.run_for(300);
    let host = world.memory.state.instances().next().unwrap();
    assert!(!host.unreachable && host.lingering.is_empty());
    assert!(
        world
            .processes
            .iter()
            .all(|process| process.ended.is_some()),
        "what was given up is gone"
    );
}

#[test]
fn what_was_given_up_is_dead_before_anything_new_starts() {
    let mut world = long_run(1);
    silence(&mut world, 200);
    assert!(world.run_until(150, |world| over(world, "train")));
    // Somebody asks for the host all the time while it comes back.
    for number in 0..600 {
        let name = format!("next-{number}");
        world.scripts.insert(
            (name.clone(), 0),
            Script {
                pull_ms: 0,
                ..Script::default()
            },
        );
        assert!(world.submit(&name, json!({})).is_ok());
        world.tick();
    }
    let [given_up, next, ..] = world.processes.as_slice() else {
        panic!("nothing new started")
    };
    assert!(
        given_up.ended.is_some_and(|ended| ended <= next.started),
        "{given_up:?} {next:?}"
    );
}

#[test]
fn a_new_leader_counts_silence_from_its_own_first_try() {
    let mut world = long_run(1);
    silence(&mut world, 3_000);
    world.run_for(100);
    world.crash_leader();
    world.run_for(100);
    assert_eq!(
        world.run("train").status,
        RunStatus::Running,
        "the new leader has tried for less than two minutes"
    );
    assert!(world.run_until(60, |world| over(world, "train")));
}

#[test]
fn the_leader_dies_and_the_run_does_not_notice() {
    let mut world = long_run(1);
    for _ in 0..5 {
        world.crash_leader();
        world.run_for(10);
    }
    assert!(world.run_until(700, |world| over(world, "train")));
    assert_eq!(world.run("train").status, RunStatus::Done);
    assert_eq!(world.processes.len(), 1);
}

#[test]
fn a_host_that_reboots_fails_its_job_with_a_reason() {
    let mut world = long_run(1);
    let back = dstack_tests::world::after(world.now, 30_000);
    let address = world.hosts.keys().next().unwrap().clone();
    world.kill_host(&address, Some(back));
    assert!(world.run_until(60, |world| over(world, "train")));
    let job = world.jobs("train").remove(0);
    assert_eq!(job.termination_reason, Some(JobReason::ExecutorError));
    assert_eq!(
        job.termination_reason_message.as_deref(),
        Some("The host was restarted")
    );
}

#[test]
fn active_runs_cannot_be_deleted() {
    let mut world = long_run(1);
    let delete = DeleteRuns {
        project: world.project,
        names: vec!["train".into(), "unknown".into()],
    };
    let refusal = world.admin_does(delete.clone()).unwrap_err();
    assert_eq!(refusal.message, "Cannot delete active runs: ['train']");
    world.stop("train", true);
    assert!(world.run_until(30, |world| over(world, "train")));
    world.admin_does(delete).unwrap();
    assert!(
        world
            .memory
            .state
            .run_by_name(world.project, "train")
            .is_none()
    );
}
