//! Runs that end as they should.

use dstack_domain::model::{
    JobReason, JobStatus, RunReason, RunStatus, run_status_message, submission_status_message,
};
use dstack_domain::spec::Blocks;
use dstack_tests::world::{Script, World};
use serde_json::json;

fn world_with_hosts(count: u32) -> World {
    let mut world = World::new(u64::from(count));
    world.ready_fleet("lab", 1..=count, Blocks::Count(1));
    world
}

pub(super) fn over(world: &World, name: &str) -> bool {
    world.run(name).status.is_finished()
}

#[test]
fn a_task_on_two_nodes_is_done() {
    let mut world = world_with_hosts(2);
    world.submit("train", json!({"nodes": 2})).unwrap();
    assert!(world.run_until(60, |world| over(world, "train")));
    let run = world.run("train");
    assert_eq!(
        (run.status, run.termination_reason),
        (RunStatus::Done, Some(RunReason::AllJobsDone))
    );
    let jobs = world.jobs("train");
    assert_eq!(jobs.len(), 2);
    for job in &jobs {
        assert_eq!(submission_status_message(job), "exited (0)");
        assert_eq!(job.exit_status(), Some(0));
    }
    let latest: Vec<_> = jobs.iter().map(AsRef::as_ref).collect();
    assert_eq!(run_status_message(&run, &latest), "done");
    let ip = jobs[1]
        .provisioning_data
        .as_ref()
        .unwrap()
        .internal_ip
        .clone();
    assert_eq!(ip.as_deref(), Some("10.0.0.2"));
    assert!(world.fleet_is_ready("lab"), "the hosts are idle again");
}

#[test]
fn exit_3_in_one_node_fails_the_run_and_ends_the_others() {
    let mut world = world_with_hosts(2);
    let long = Script {
        run_ms: 3_600_000,
        ..Script::default()
    };
    world.scripts.insert(("train".into(), 0), long);
    world.scripts.insert(
        ("train".into(), 1),
        Script {
            exit_status: 3,
            ..Script::default()
        },
    );
    world.submit("train", json!({"nodes": 2})).unwrap();
    assert!(world.run_until(60, |world| over(world, "train")));
    let run = world.run("train");
    assert_eq!(
        (run.status, run.termination_reason),
        (RunStatus::Failed, Some(RunReason::JobFailed))
    );
    let jobs = world.jobs("train");
    assert_eq!(
        jobs[0].termination_reason,
        Some(JobReason::TerminatedByServer)
    );
    assert_eq!(submission_status_message(&jobs[0]), "terminated");
    assert_eq!(
        jobs[1].termination_reason,
        Some(JobReason::ContainerExitedWithError)
    );
    assert_eq!(jobs[1].exit_status(), Some(3));
    assert_eq!(submission_status_message(&jobs[1]), "exited (3)");
}

#[test]
fn stop_lets_a_job_end_and_abort_does_not_wait() {
    for (abort, heeds, status, message) in [
        (false, true, JobStatus::Terminated, "stopped"),
        (true, false, JobStatus::Aborted, "aborted"),
    ] {
        let mut world = world_with_hosts(1);
        let script = Script {
            run_ms: 3_600_000,
            heeds_stop: heeds,
            ..Script::default()
        };
        world.scripts.insert(("dev".into(), 0), script);
        world.submit("dev", json!({})).unwrap();
        assert!(world.run_until(30, |world| world.run("dev").status == RunStatus::Running));
        world.stop("dev", abort);
        assert_eq!(world.run("dev").status, RunStatus::Terminating);
        assert!(world.run_until(5, |world| over(world, "dev")));
        assert_eq!(world.run("dev").status, RunStatus::Terminated);
        let job = world.jobs("dev").remove(0);
        assert_eq!(
            (job.status, submission_status_message(&job).as_str()),
            (status, message)
        );
    }
}

#[test]
fn a_job_that_ignores_the_stop_is_killed_after_the_grace() {
    let mut world = world_with_hosts(1);
    let script = Script {
        run_ms: 3_600_000,
        heeds_stop: false,
        ..Script::default()
    };
    world.scripts.insert(("dev".into(), 0), script);
    world.submit("dev", json!({})).unwrap();
    assert!(world.run_until(30, |world| world.run("dev").status == RunStatus::Running));
    world.stop("dev", false);
    assert!(
        !world.run_until(8, |world| over(world, "dev")),
        "it has its grace"
    );
    assert!(world.run_until(10, |world| over(world, "dev")));
}

#[test]
fn master_first_holds_the_workers_back() {
    let mut world = world_with_hosts(2);
    world.scripts.insert(
        ("train".into(), 0),
        Script {
            pull_ms: 10_000,
            run_ms: 60_000,
            ..Script::default()
        },
    );
    world
        .submit(
            "train",
            json!({"nodes": 2, "startup_order": "master-first"}),
        )
        .unwrap();
    world.run_for(8);
    let jobs = world.jobs("train");
    assert_eq!(
        (jobs[0].status, jobs[1].status),
        (JobStatus::Pulling, JobStatus::Provisioning)
    );
    assert!(world.run_until(120, |world| over(world, "train")));
    let started = |job: usize| world.jobs("train")[job].running_at.unwrap();
    assert!(started(0) < started(1));
}

#[test]
fn with_master_done_the_run_ends_with_the_master() {
    let mut world = world_with_hosts(2);
    world.scripts.insert(
        ("train".into(), 1),
        Script {
            run_ms: 3_600_000,
            ..Script::default()
        },
    );
    world
        .submit("train", json!({"nodes": 2, "stop_criteria": "master-done"}))
        .unwrap();
    assert!(world.run_until(60, |world| over(world, "train")));
    assert_eq!(world.run("train").status, RunStatus::Done);
    assert_eq!(
        world.jobs("train")[1].termination_reason,
        Some(JobReason::DoneByRunner)
    );
}

#[test]
fn a_finished_namesake_makes_way_and_an_active_one_does_not() {
    let mut world = world_with_hosts(1);
    world.scripts.insert(
        ("train".into(), 0),
        Script {
            run_ms: 20_000,
            ..Script::default()
        },
    );
    world.submit("train", json!({})).unwrap();
    let first = world.run("train").id;
    let refusal = world.submit("train", json!({})).unwrap_err();
    assert!(refusal.message.contains("Stop the run first"), "{refusal}");
    assert!(world.run_until(60, |world| over(world, "train")));
    world.submit("train", json!({})).unwrap();
    assert_ne!(world.run("train").id, first);
    assert!(world.memory.state.run(first).unwrap().deleted);
}

#[test]
fn parts_of_a_host_are_shared_by_small_jobs() {
    let mut world = World::new(5);
    world.ready_fleet("lab", 1..=1, Blocks::Count(8));
    let long = Script {
        run_ms: 60_000,
        ..Script::default()
    };
    for name in ["one", "two"] {
        world.scripts.insert((name.into(), 0), long);
        world
            .submit(name, json!({"resources": {"gpu": "H100:4"}}))
            .unwrap();
    }
    assert!(world.run_until(30, |world| {
        ["one", "two"]
            .iter()
            .all(|n| world.run(n).status == RunStatus::Running)
    }));
    world
        .submit("three", json!({"resources": {"gpu": "H100:1"}}))
        .unwrap();
    world.run_for(2);
    assert_eq!(
        submission_status_message(&world.jobs("three")[0]),
        "no capacity"
    );
}

#[test]
fn a_scheduled_run_comes_back_until_it_is_stopped() {
    let mut world = world_with_hosts(1);
    world
        .submit("nightly", json!({"schedule": {"cron": "*/10 * * * *"}}))
        .unwrap();
    assert_eq!(world.run("nightly").status, RunStatus::Pending);
    assert!(
        world
            .memory
            .state
            .submissions_of(world.run("nightly").id)
            .next()
            .is_none()
    );
    assert!(world.run_until(660, |world| world.run("nightly").status
        == RunStatus::Running));
    assert!(world.run_until(60, |world| world.run("nightly").status
        == RunStatus::Pending));
    assert!(world.run_until(660, |world| world.run("nightly").status
        == RunStatus::Running));
    world.stop("nightly", false);
    assert!(world.run_until(60, |world| over(world, "nightly")));
    assert_eq!(world.run("nightly").status, RunStatus::Terminated);
}

#[test]
fn a_machine_goes_to_the_more_urgent_and_whoever_cannot_use_it_holds_nobody_back() {
    let mut world = world_with_hosts(1);
    let low = json!({"priority": 1, "retry": true});
    world.submit("low", low).unwrap();
    world
        .submit("high", json!({"priority": 9, "retry": true}))
        .unwrap();
    let impossible = json!({"priority": 100, "retry": true, "resources": {"cpu": "10000"}});
    world.submit("impossible", impossible).unwrap();
    assert!(world.run_until(30, |world| over(world, "high")));
    assert_eq!(world.run("high").status, RunStatus::Done);
    let low = world.jobs("low");
    assert!(
        !low.iter().any(|job| job.was_provisioned()),
        "the machine was not taken twice"
    );
    assert!(world.run_until(120, |world| over(world, "low")));
    assert_eq!(world.run("low").status, RunStatus::Done);
    assert_eq!(world.run("impossible").status, RunStatus::Pending);
}
