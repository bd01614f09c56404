//! How the pure core behaves at size: placements, passes of `decide`, and what an entry costs.
//! `cargo run --profile fast -p dstack-tests --example scale -- [hosts] [runs]`

use dstack_domain::decide::decide;
use dstack_domain::spec::Blocks;
use dstack_domain::step::{Decision, Step};
use dstack_tests::world::{Script, World};
use serde_json::json;
use std::time::Instant;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse::<u32>().ok());
    let hosts = args.next().unwrap_or(1000);
    let runs = args.next().unwrap_or(10_000);
    let mut world = World::new(1);
    world.memory.checked = false;
    world.create_fleet("lab", 1..=hosts, Blocks::Count(8));
    while !world.fleet_is_ready("lab") {
        world.tick();
    }
    let many = runs.min(hosts * 8);
    let started = Instant::now();
    for number in 0..many {
        let name = format!("run-{number}");
        world.scripts.insert(
            (name.clone(), 0),
            Script {
                run_ms: i64::MAX / 2,
                ..Script::default()
            },
        );
        assert!(
            world
                .submit(&name, json!({"resources": {"gpu": "H100:1"}}))
                .is_ok()
        );
    }
    println!(
        "submit, with rows:      {:>9.1} /s",
        f64::from(many) / started.elapsed().as_secs_f64()
    );
    let (decision, seconds) = pass(&world);
    println!(
        "place {many} jobs:      {:>9.1} /s ({seconds:.3} s)",
        f64::from(many) / seconds
    );
    assert_eq!(decision.steps.len(), many as usize);
    let started = Instant::now();
    for step in decision.steps {
        if let Step::Propose(command) = step {
            assert!(world.system(command));
        }
    }
    println!(
        "apply assignments:      {:>9.1} /s",
        f64::from(many) / started.elapsed().as_secs_f64()
    );
    let (decision, _) = pass(&world);
    for step in decision.steps {
        if let Step::Propose(command) = step {
            world.system(command);
        }
    }
    let (decision, seconds) = pass(&world);
    println!(
        "a pass with nothing to do: {:.1} ms, {} steps",
        seconds * 1000.0,
        decision.steps.len()
    );
}

fn pass(world: &World) -> (Decision, f64) {
    let facts = world.facts();
    let started = Instant::now();
    let decision = decide(&world.memory.state, &facts, world.now);
    (decision, started.elapsed().as_secs_f64())
}
