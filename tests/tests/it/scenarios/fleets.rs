//! Fleets of hosts.

use dstack_domain::command::{DeleteInstances, HostOrder};
use dstack_domain::model::InstanceStatus;
use dstack_domain::spec::Blocks;
use dstack_tests::world::{Host, Script, World, order};
use serde_json::json;

fn orders(numbers: &[u32]) -> Vec<HostOrder> {
    numbers
        .iter()
        .map(|number| order(&Host::new(*number), Blocks::Count(1)))
        .collect()
}

fn names(world: &World) -> Vec<(String, InstanceStatus)> {
    world
        .memory
        .state
        .instances()
        .map(|i| (i.hostname().to_owned(), i.status))
        .collect()
}

#[test]
fn a_host_that_does_not_answer_says_why_and_is_never_dropped() {
    let mut world = World::new(1);
    world.create_fleet("lab", 1..=1, Blocks::Count(1));
    for host in world.hosts.values_mut() {
        host.unreachable = true;
    }
    world.run_for(3600);
    let host = world.memory.state.instances().next().unwrap().clone();
    assert_eq!(host.status, InstanceStatus::Pending);
    assert_eq!(host.last_error.as_deref(), Some("connection timed out"));
    for host in world.hosts.values_mut() {
        host.unreachable = false;
    }
    assert!(world.run_until(60, |world| world.fleet_is_ready("lab")));
}

#[test]
fn hosts_come_and_go_in_place() {
    let mut world = World::new(2);
    let fleet = world.ready_fleet("lab", 1..=2, Blocks::Count(1));
    world.hosts.insert(Host::new(3).address, Host::new(3));
    let command = world.fleet_command("lab", orders(&[2, 3]));
    world.admin_does(command).unwrap();
    assert!(world.run_until(60, |world| world.fleet_is_ready("lab")));
    let mut hosts = names(&world);
    hosts.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        hosts,
        [
            ("10.0.0.2".into(), InstanceStatus::Idle),
            ("10.0.0.3".into(), InstanceStatus::Idle)
        ]
    );
    assert_eq!(
        world
            .memory
            .state
            .fleet_by_name(world.project, "lab")
            .unwrap()
            .id,
        fleet
    );
    assert!(
        world.hosts["10.0.0.1:22"].agent.is_none(),
        "the agent was removed"
    );
}

#[test]
fn a_plan_for_an_older_version_is_refused() {
    let mut world = World::new(3);
    world.ready_fleet("lab", 1..=1, Blocks::Count(1));
    let mut command = world.fleet_command("lab", orders(&[1]));
    command.force = false;
    let refusal = world.admin_does(command).unwrap_err();
    assert!(
        refusal.message.contains("Resource has been changed"),
        "{refusal}"
    );
}

#[test]
fn a_host_is_in_one_fleet_only() {
    let mut world = World::new(4);
    world.ready_fleet("lab", 1..=1, Blocks::Count(1));
    let command = world.fleet_command("other", orders(&[1]));
    let refusal = world.admin_does(command).unwrap_err();
    assert!(
        refusal.message.contains("already assigned to a fleet"),
        "{refusal}"
    );
}

#[test]
fn a_fleet_in_use_stays_and_an_idle_one_goes() {
    let mut world = World::new(5);
    world.ready_fleet("lab", 1..=2, Blocks::Count(1));
    world.scripts.insert(
        ("train".into(), 0),
        Script {
            run_ms: 3_600_000,
            ..Script::default()
        },
    );
    world.submit("train", json!({})).unwrap();
    world.run_for(5);
    assert!(
        world
            .delete_fleet("lab")
            .unwrap_err()
            .message
            .contains("in use")
    );
    world.stop("train", true);
    world.run_for(10);
    world.delete_fleet("lab").unwrap();
    world.delete_fleet("lab").unwrap();
    assert!(world.run_until(60, |world| world.memory.state.fleets().next().is_none()));
    assert!(world.memory.state.instances().next().is_none());
    assert!(world.hosts.values().all(|host| host.agent.is_none()));
}

#[test]
fn a_single_instance_can_be_deleted() {
    let mut world = World::new(6);
    world.ready_fleet("lab", 1..=2, Blocks::Count(1));
    let delete = DeleteInstances {
        project: world.project,
        fleet: "lab".into(),
        instance_nums: vec![0],
    };
    world.admin_does(delete).unwrap();
    assert!(world.run_until(60, |world| names(world).len() == 1));
    assert_eq!(names(&world)[0].0, "10.0.0.2");
}

#[test]
fn a_host_that_does_not_divide_is_refused_with_a_reason() {
    let mut world = World::new(7);
    world.create_fleet("lab", 1..=1, Blocks::Count(7));
    world.run_until(30, |world| world.memory.state.instances().next().is_none());
    // Never placed, released again; what was wrong stays in the events.
    let events = world
        .memory
        .rows
        .iter()
        .filter(|((table, _), _)| *table == dstack_domain::state::Table::Events);
    let told = events.filter_map(|(_, value)| dstack_domain::history::decode_event(value).ok());
    assert!(
        told.into_iter()
            .any(|event| event.message.contains("Cannot split into blocks"))
    );
}
