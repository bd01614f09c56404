//! Machines that a cloud makes: they come when they are needed, go when they are not, and nothing of them stays.

use super::runs::over;
use dstack_domain::command::{DeleteBackends, SetBackend};
use dstack_domain::model::{InstanceStatus, Kind, RunStatus, Sealed};
use dstack_domain::spec::BackendType;
use dstack_tests::world::World;
use serde_json::json;

const GPUS: &str = "H100:80GB:8";

fn cluster(world: &mut World, name: &str, nodes: &str) {
    let fleet = json!({"nodes": nodes, "placement": "cluster", "resources": {"gpu": GPUS}});
    world.create_cloud_fleet(name, fleet);
}

fn four_nodes(world: &mut World, name: &str) {
    let run = json!({"nodes": 4, "resources": {"gpu": GPUS}});
    world.submit(name, run).expect("the run is submitted");
}

fn empty(world: &World) -> bool {
    world.cloud.things.is_empty() && world.memory.state.intents().next().is_none()
}

#[test]
fn a_cluster_comes_with_its_run_and_goes_after_it() {
    let mut world = World::new(1);
    cluster(&mut world, "gpus", "0..4");
    world.run_for(60);
    assert!(world.cloud.things.is_empty(), "nobody needs it yet");
    four_nodes(&mut world, "train");
    assert!(world.run_until(200, |world| world.run("train").status == RunStatus::Running));
    assert_eq!(world.cloud.alive(Kind::Machine), 4);
    assert_eq!(world.cloud.alive(Kind::Fabric), 1);
    let jobs = world.jobs("train");
    let data = jobs[0].provisioning_data.clone().unwrap();
    assert_eq!(data.backend.as_str(), "crusoe");
    assert_eq!(data.instance_type.name, "h100-80gb-sxm-ib.8x");
    assert_eq!(data.region, "us-east1-a");
    assert!(data.internal_ip.is_some() && data.price > 31.0);
    assert_eq!(jobs[0].placement.as_ref().unwrap().gpu_count, 8);
    assert!(world.run_until(100, |world| over(world, "train")));
    assert_eq!(world.run("train").status, RunStatus::Done);
    assert_eq!(
        world.cloud.alive(Kind::Machine),
        4,
        "they may be used again"
    );
    // Nobody needs them for five minutes.
    assert!(world.run_until(600, empty));
    let fleet = world
        .memory
        .state
        .fleet_by_name(world.project, "gpus")
        .unwrap();
    assert_eq!(fleet.site, None, "the next run may be elsewhere");
}

#[test]
fn a_second_run_takes_the_machines_that_are_there() {
    let mut world = World::new(2);
    cluster(&mut world, "gpus", "0..4");
    world
        .submit("one", json!({"nodes": 2, "resources": {"gpu": GPUS}}))
        .unwrap();
    assert!(world.run_until(300, |world| over(world, "one")));
    four_nodes(&mut world, "two");
    assert!(world.run_until(300, |world| over(world, "two")));
    assert_eq!(world.run("two").status, RunStatus::Done);
    assert_eq!(
        world.cloud.made.len(),
        4 + 1,
        "two of four were there already"
    );
    four_nodes(&mut world, "three");
    world.run_for(1);
    world
        .submit("four", json!({"nodes": 1, "resources": {"gpu": GPUS}}))
        .unwrap();
    assert!(world.run_until(60, |world| over(world, "four")));
    let why = world.jobs("four")[0].termination_reason_message.clone();
    assert_eq!(why.as_deref(), Some("Fleet gpus is at capacity"));
}

#[test]
fn a_fleet_keeps_its_least_and_follows_its_nodes() {
    let mut world = World::new(3);
    world.create_cloud_fleet(
        "pool",
        json!({"nodes": {"min": 1, "target": 2, "max": 3}, "idle_duration": "2m"}),
    );
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    assert_eq!(world.cloud.alive(Kind::Machine), 2, "the target at first");
    assert!(world.run_until(300, |world| world.cloud.alive(Kind::Machine) == 1));
    world.run_for(900);
    assert_eq!(world.cloud.alive(Kind::Machine), 1, "the least for ever");
    // One that somebody deletes is made anew.
    let key = world.cloud.things[0].key.clone();
    world.lose_machine(&key);
    assert!(world.run_until(600, |world| {
        world.cloud.alive(Kind::Machine) == 1 && world.fleet_is_ready("pool")
    }));
    world.delete_fleet("pool").unwrap();
    assert!(world.run_until(120, empty));
    assert!(
        world
            .memory
            .state
            .fleet_by_name(world.project, "pool")
            .is_none()
    );
}

#[test]
fn what_is_not_to_be_had_is_had_elsewhere_or_said() {
    let mut world = World::new(4);
    world
        .cloud
        .sold_out
        .insert("h100-80gb-sxm-ib.8x in us-east1-a".into());
    world.create_cloud_fleet("pool", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    let state = &world.memory.state;
    let fleet = state.fleet_by_name(world.project, "pool").unwrap().id;
    assert_eq!(
        state.instances_of(fleet).next().unwrap().region(),
        "eu-iceland1-a"
    );
    world
        .cloud
        .sold_out
        .insert("h100-80gb-sxm-ib.8x in eu-iceland1-a".into());
    world.create_cloud_fleet("more", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    world.run_for(10);
    let state = &world.memory.state;
    let fleet = state.fleet_by_name(world.project, "more").unwrap().id;
    let waiting = state.instances_of(fleet).next().unwrap();
    assert_eq!(waiting.status, InstanceStatus::Pending);
    assert_eq!(
        waiting.last_error.as_deref(),
        Some("No h100-80gb-sxm-ib.8x in us-east1-a: out_of_stock; next try in 30 s")
    );
    let asked = world.cloud.writes;
    world.run_for(20);
    assert_eq!(world.cloud.writes, asked, "nobody asks again at once");
    world.cloud.sold_out.clear();
    assert!(world.run_until(120, |world| world.fleet_is_ready("more")));
}

#[test]
fn a_cluster_is_whole_or_not_at_all() {
    let mut world = World::new(5);
    cluster(&mut world, "gpus", "0..4");
    four_nodes(&mut world, "train");
    // After the second machine there are none left.
    assert!(world.run_until(60, |world| world.cloud.alive(Kind::Machine) >= 2));
    for region in ["us-east1-a", "eu-iceland1-a"] {
        world
            .cloud
            .sold_out
            .insert(format!("h100-80gb-sxm-ib.8x in {region}"));
    }
    let keys: Vec<String> = world
        .cloud
        .things
        .iter()
        .map(|one| one.key.clone())
        .collect();
    for key in keys.iter().filter(|key| !key.contains("-ib-")).skip(1) {
        world.lose_machine(key);
    }
    assert!(world.run_until(120, |world| over(world, "train")));
    let jobs = world.jobs("train");
    let told = jobs
        .iter()
        .filter_map(|job| job.termination_reason_message.clone());
    assert!(
        told.clone().any(|why| why.contains("out_of_stock")),
        "{:?}",
        told.collect::<Vec<_>>()
    );
    assert!(world.run_until(120, empty), "what was had is given back");
}

#[test]
fn a_machine_that_never_answers_is_replaced() {
    let mut world = World::new(6);
    world.faults.stillborn = 1000;
    world.create_cloud_fleet("pool", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    assert!(world.run_until(60, |world| world.cloud.alive(Kind::Machine) == 1));
    world.faults.stillborn = 0;
    assert!(world.run_until(1500, |world| world.fleet_is_ready("pool")));
    assert_eq!(world.cloud.made.len(), 2);
    assert!(world.run_until(60, |world| world.cloud.alive(Kind::Machine) == 1));
    let state = &world.memory.state;
    let fleet = state.fleet_by_name(world.project, "pool").unwrap().id;
    let there = state.instances_of(fleet).next().unwrap();
    assert_eq!(there.region(), "eu-iceland1-a", "the next offer was tried");
}

/// Stop, abort, delete: at every moment of a cluster's making.
#[test]
fn it_can_be_called_off_at_any_moment() {
    for moment in 0..60 {
        for abort in [false, true] {
            let mut world = World::new(100 + moment as u64);
            cluster(&mut world, "gpus", "0..4");
            four_nodes(&mut world, "train");
            for _ in 0..moment * 5 {
                world.tick();
            }
            world.stop("train", abort);
            assert!(
                world.run_until(120, |world| over(world, "train")),
                "{moment} {abort}"
            );
            // Its fleet is in use by no one, so it may go at once.
            world.delete_fleet("gpus").unwrap();
            assert!(world.run_until(120, empty), "{moment} {abort}");
            assert_eq!(world.memory.state.instances().count(), 0);
            assert!(world.cloud.made.values().all(|times| *times == 1));
        }
    }
}

#[test]
fn a_changed_fleet_changes_its_machines() {
    let mut world = World::new(7);
    world.create_cloud_fleet("pool", json!({"nodes": "1..2", "resources": {"gpu": GPUS}}));
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    world.create_cloud_fleet(
        "pool",
        json!({"nodes": "1..2", "resources": {"gpu": GPUS}, "regions": ["eu-iceland1-a"]}),
    );
    assert!(world.run_until(120, |world| {
        let state = &world.memory.state;
        let mut all = state.instances();
        all.all(|one| one.region() == "eu-iceland1-a" && one.status == InstanceStatus::Idle)
    }));
    assert_eq!(world.cloud.alive(Kind::Machine), 1);
}

#[test]
fn a_machine_that_vanishes_ends_its_jobs_and_says_so() {
    let mut world = World::new(8);
    world.create_cloud_fleet("pool", json!({"nodes": "0..1", "resources": {"gpu": GPUS}}));
    let run = json!({"resources": {"gpu": GPUS}, "commands": ["sleep"]});
    let long = dstack_tests::world::Script {
        run_ms: 3_600_000,
        ..Default::default()
    };
    world.scripts.insert(("train".into(), 0), long);
    world.submit("train", run).unwrap();
    assert!(world.run_until(120, |world| world.run("train").status == RunStatus::Running));
    let key = world.cloud.things[0].key.clone();
    world.lose_machine(&key);
    assert!(world.run_until(200, |world| over(world, "train")));
    let why = world.jobs("train")[0].termination_reason_message.clone();
    assert_eq!(why.as_deref(), Some("The machine is gone from the cloud"));
    assert!(world.run_until(60, empty));
}

#[test]
fn strays_are_watched_and_then_removed_a_few_at_a_time() {
    let mut world = World::new(9);
    world.create_cloud_fleet("pool", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    world.plant(Kind::Machine, "lost-0");
    world.plant(Kind::Fabric, "lost-ib");
    world.plant(Kind::Disk, "lost-1");
    world.sweep(false);
    assert_eq!(
        world.orphans().len(),
        0,
        "they are on record, as what they are"
    );
    assert_eq!(world.memory.state.intents().count(), 1 + 3);
    world.run_for(60);
    world.sweep(false);
    world.run_for(60);
    assert_eq!(
        world.cloud.things.len(),
        1 + 3,
        "told to observe, we observe"
    );
    world.sweep(true);
    assert!(world.run_until(60, |world| world.cloud.things.len() == 1));
    world.run_for(30);
    assert_eq!(world.memory.state.intents().count(), 1);
    assert!(world.fleet_is_ready("pool"), "nothing of ours was touched");
    for number in 0..11 {
        world.plant(Kind::Machine, &format!("many-{number}"));
    }
    world.sweep(true);
    world.run_for(60);
    world.sweep(true);
    world.run_for(60);
    assert_eq!(
        world.cloud.things.len(),
        1 + 11,
        "so many look like a mistake"
    );
}

#[test]
fn a_fleet_that_wants_to_be_whole_gives_back_what_it_could_have() {
    let mut world = World::new(10);
    let fleet = json!({"nodes": 3, "placement": "cluster", "resources": {"gpu": GPUS}, "retry": {"duration": "10m"}});
    world.create_cloud_fleet("gpus", fleet.clone());
    assert!(world.run_until(60, |world| world.cloud.alive(Kind::Machine) == 1));
    for region in ["us-east1-a", "eu-iceland1-a"] {
        world
            .cloud
            .sold_out
            .insert(format!("h100-80gb-sxm-ib.8x in {region}"));
    }
    world.run_for(400);
    assert!(world.cloud.alive(Kind::Machine) < 3, "some are waited for");
    assert!(world.run_until(400, empty));
    let known = world
        .memory
        .state
        .fleet_by_name(world.project, "gpus")
        .unwrap();
    let why = known.status_message.clone().unwrap();
    assert!(
        why.contains("within 10 minutes") && why.contains("out_of_stock"),
        "{why}"
    );
    world.run_for(1000);
    assert!(empty(&world), "nothing is tried until somebody says so");
    world.cloud.sold_out.clear();
    world.create_cloud_fleet("gpus", fleet);
    assert!(world.run_until(200, |world| {
        world.fleet_is_ready("gpus") && world.cloud.alive(Kind::Machine) == 3
    }));
}

#[test]
fn a_backend_stays_where_its_machines_are() {
    let mut world = World::new(11);
    world.create_cloud_fleet("pool", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    let project = world.project;
    let elsewhere = SetBackend {
        project,
        kind: BackendType::Crusoe,
        config: json!({"type": "crusoe", "project_id": "another"}),
        creds: Sealed("sealed".into()),
        exists: None,
    };
    let delete = DeleteBackends {
        project,
        kinds: vec![BackendType::Crusoe],
    };
    for refused in [
        world.admin_does(elsewhere),
        world.admin_does(delete.clone()),
    ] {
        let message = refused.unwrap_err().message;
        assert!(message.contains("would be lost sight of"), "{message}");
    }
    world.delete_fleet("pool").unwrap();
    assert!(world.run_until(120, empty));
    // What is only watched does not hold it.
    world.plant(Kind::Machine, "lost-0");
    world.sweep(false);
    assert!(world.admin_does(delete).is_ok());
    assert_eq!(world.memory.state.intents().count(), 0);
}

#[test]
fn projects_may_share_an_account() {
    let mut world = World::new(12);
    world.create_cloud_fleet("pool", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    let first = world.project;
    world.project = world.create_project("research");
    world.create_cloud_fleet("pool", json!({"nodes": 1, "resources": {"gpu": GPUS}}));
    assert!(world.run_until(120, |world| world.fleet_is_ready("pool")));
    for project in [first, world.project] {
        world.project = project;
        world.sweep(true);
        world.run_for(60);
        world.sweep(true);
        world.run_for(60);
    }
    assert_eq!(world.cloud.alive(Kind::Machine), 2, "each is the other's");
    assert_eq!(world.memory.state.intents().count(), 2);
}
