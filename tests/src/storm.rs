//! A storm: people submit, stop and delete at random while everything that can go wrong does.
//! Afterwards the world is healed and must come to rest.

use crate::world::{Faults, Script, World};
use dstack_domain::command::DeleteRuns;
use dstack_domain::spec::Blocks;
use serde_json::json;

/// Everything at once.
pub fn all_faults() -> Faults {
    Faults {
        dropped_wakeups: 300,
        leader_crash: 30,
        silence: 4,
        host_death: 1,
        duplicate_report: 200,
        late_report: 300,
        lost_outcome: 200,
        failed_connect: 200,
        cloud_error: 200,
        no_capacity: 150,
        stillborn: 50,
    }
}

/// What may befall the control plane and the network, but not the hosts; no silence is as long as
/// the limit that ends a job.
pub fn control_plane_faults() -> Faults {
    Faults {
        host_death: 0,
        ..all_faults()
    }
}

/// Blows for this many simulated seconds.
pub fn storm(seed: u64, faults: Faults, seconds: i64) -> World {
    let mut world = World::new(seed);
    world.create_fleet("whole", 1..=3, Blocks::Count(1));
    world.create_fleet("parts", 11..=12, Blocks::Count(8));
    world.faults = faults;
    let rounds = seconds / 5;
    for round in 0..rounds {
        people_act(&mut world, round);
        world.run_for(5);
    }
    world
}

/// Heals the world and waits until every run is over and every host is idle. Work that always
/// fails is retried for ever when its window allows, so from now on all work succeeds.
pub fn calm(world: &mut World) {
    world.heal();
    for script in world.scripts.values_mut() {
        script.exit_status = 0;
    }
    let at_rest = |world: &World| {
        let state = &world.memory.state;
        state.unfinished_runs().next().is_none()
            && state
                .instances()
                .all(|i| i.jobs.is_empty() && i.lingering.is_empty() && !i.unreachable)
            && world.fleet_is_ready("whole")
            && world.fleet_is_ready("parts")
    };
    if !world.run_until(7200, at_rest) {
        let state = &world.memory.state;
        let runs: Vec<_> = state
            .unfinished_runs()
            .map(|run| (run.name.clone(), run.status, run.retry_at))
            .collect();
        let hosts: Vec<_> = state
            .instances()
            .map(|i| {
                (
                    i.name.clone(),
                    i.status,
                    i.jobs.len(),
                    i.lingering.len(),
                    i.unreachable,
                    i.last_error.clone(),
                )
            })
            .collect();
        let jobs: Vec<_> = state
            .submissions()
            .filter(|job| !job.status.is_finished())
            .map(|job| {
                (
                    job.job_num,
                    job.submission_num,
                    job.status,
                    job.termination_reason,
                    job.submitted_at,
                    job.last_processed_at,
                )
            })
            .collect();
        let agents: Vec<_> = world
            .hosts
            .values()
            .map(|host| (&host.address, &host.agent))
            .collect();
        panic!(
            "the world does not come to rest: runs {runs:?}, hosts {hosts:?}, jobs {jobs:?}, agents {agents:?}, now {}",
            world.now
        );
    }
}

fn people_act(world: &mut World, round: i64) {
    let name = format!("run-{}", world.rng.below(8));
    match world.rng.below(10) {
        0..=4 => submit(world, &format!("task-{round}")),
        5 => submit(world, &name),
        6 => {
            let abort = world.rng.chance(300);
            let target = any_run(world).unwrap_or(name);
            world.stop(&target, abort);
        }
        7 => {
            let target = any_run(world).unwrap_or(name);
            // Refused while it is active; that is an answer too.
            let _ = world.admin_does(DeleteRuns {
                project: world.project,
                names: vec![target],
            });
        }
        _ => {}
    }
}

fn any_run(world: &mut World) -> Option<String> {
    let names = world.unfinished();
    world.rng.pick(&names).cloned()
}

fn submit(world: &mut World, name: &str) {
    let nodes = world.rng.between(1, 3) as u32;
    for job in 0..nodes {
        let script = Script {
            pull_ms: world.rng.between(0, 5_000) as i64,
            run_ms: world.rng.between(0, 60_000) as i64,
            exit_status: if world.rng.chance(200) { 3 } else { 0 },
            heeds_stop: world.rng.chance(700),
        };
        world.scripts.insert((name.to_owned(), job), script);
    }
    let mut extra = json!({"nodes": nodes, "priority": world.rng.below(3)});
    if world.rng.chance(300) {
        extra["retry"] = json!({"duration": world.rng.between(30, 600)});
    }
    match world.rng.below(4) {
        0 => extra["startup_order"] = json!("master-first"),
        1 => extra["startup_order"] = json!("workers-first"),
        _ => {}
    }
    if world.rng.chance(200) {
        extra["stop_criteria"] = json!("master-done");
    }
    if nodes == 1 && world.rng.chance(500) {
        extra["resources"] = json!({"gpu": format!("H100:{}", world.rng.between(1, 8))});
    }
    if world.rng.chance(200) {
        extra["max_duration"] = json!(10);
    }
    // Refused when a run of this name is active.
    let _ = world.submit(name, extra);
}
