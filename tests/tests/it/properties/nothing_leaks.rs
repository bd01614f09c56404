//! Whatever dies and whatever the cloud answers: every object in the account has a record at every moment, nothing is
//! made twice, and soon after the last fault the account holds what the ledger says, and nothing else. The world itself
//! asserts the first two at every tick. The mistakes below are the ones that would break them.

use dstack_domain::check::check;
use dstack_domain::model::{Intent, JobReason, Phase};
use dstack_tests::storm::all_faults;
use dstack_tests::world::{Faults, Misfortune, Script, Slip, World};
use serde_json::json;

/// Within so many seconds of the last fault everything is as it should be.
const CONVERGES_SECONDS: i64 = 60;

fn cloud_faults() -> Faults {
    Faults {
        host_death: 0,
        silence: 0,
        leader_crash: 60,
        ..all_faults()
    }
}

/// People ask for clusters and call them off while everything goes wrong.
fn storm(seed: u64, slip: Slip, rounds: u64) -> World {
    let mut world = World::new(seed);
    world.cloud.slip = slip;
    let cluster = json!({"nodes": "0..3", "placement": "cluster", "resources": {"gpu": "H100:8"}});
    world.create_cloud_fleet("cluster", cluster.clone());
    world.create_cloud_fleet("pool", json!({"nodes": "1..2", "idle_duration": "30s"}));
    world.faults = cloud_faults();
    for round in 0..rounds {
        act(&mut world, round, &cluster);
        world.run_for(10);
    }
    world
}

fn act(world: &mut World, round: u64, cluster: &serde_json::Value) {
    let name = format!("train-{round}");
    match world.rng.below(8) {
        0..=3 => {
            let nodes = world.rng.between(1, 3) as u32;
            for job in 0..nodes {
                let run_ms = world.rng.between(0, 40_000) as i64;
                let script = Script {
                    run_ms,
                    ..Script::default()
                };
                world.scripts.insert((name.clone(), job), script);
            }
            let _ = world.submit(
                &name,
                json!({"nodes": nodes, "resources": {"gpu": "H100:8"}}),
            );
        }
        4 | 5 => {
            let running = world.unfinished();
            if let Some(name) = world.rng.pick(&running).cloned() {
                let abort = world.rng.chance(500);
                world.stop(&name, abort);
            }
        }
        6 => {
            // Refused while it is in use; that is an answer too.
            let _ = world.delete_fleet("cluster");
        }
        _ => {
            let there = world.memory.state.fleet_by_name(world.project, "cluster");
            if there.is_none() {
                world.create_cloud_fleet("cluster", cluster.clone());
            }
        }
    }
}

/// Heals the world; answers whether, soon after, every doubt of before is resolved, what is on record as there is there,
/// and everything there is on record. Work goes on meanwhile, so machines come and go.
fn converges(world: &mut World) -> bool {
    world.heal();
    let healed = world.now;
    world.run_until(CONVERGES_SECONDS, |world| {
        let of_before = |one: &Intent| one.issued_at.is_none_or(|at| at <= healed);
        let mut all = world.memory.state.intents();
        let doubt = all.any(|one| one.phase == Phase::Doubtful && of_before(one));
        let mut all = world.memory.state.intents();
        let missing = all.any(|one| {
            let mut things = world.cloud.things.iter();
            one.phase == Phase::Observed && !things.any(|thing| thing.key == one.key)
        });
        !doubt && !missing && world.orphans().is_empty()
    })
}

fn seeds(short: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let asked = std::env::var("CLOUD_SEEDS").ok();
    let count = asked.and_then(|text| text.parse().ok()).unwrap_or(short);
    super::seeds(count, test);
}

#[test]
fn no_machine_is_orphaned_or_made_twice() {
    seeds(40, |seed| {
        let mut world = storm(20_000 + seed, Slip::None, 30);
        assert!(!world.cloud.made.is_empty(), "the storm makes something");
        assert!(
            converges(&mut world),
            "{:?} against {:?}",
            world.cloud.things,
            world.memory.state.intents().collect::<Vec<_>>()
        );
        assert_eq!(check(&world.memory.state), []);
        for job in world.memory.state.submissions() {
            let reason = job.termination_reason;
            assert_ne!(reason, Some(JobReason::InstanceUnreachable), "{job:?}");
        }
        // And when nobody wants anything, nothing is left.
        for name in world.unfinished() {
            world.stop(&name, true);
        }
        assert!(world.run_until(120, |world| {
            world.memory.state.unfinished_runs().next().is_none()
        }));
        for fleet in ["cluster", "pool"] {
            world.delete_fleet(fleet).unwrap();
        }
        // The account first; the records end when it has said so twice.
        let gone = |world: &World| world.cloud.things.is_empty();
        let ended = |world: &World| world.memory.state.intents().next().is_none();
        assert!(
            world.run_until(CONVERGES_SECONDS, gone) && world.run_until(CONVERGES_SECONDS, ended),
            "now {}: {:?} against {:?}",
            world.now,
            world.cloud.things,
            world.memory.state.intents().collect::<Vec<_>>()
        );
    });
}

/// Whether these mistakes would be noticed: some seed must show an orphan, or a thing made twice.
fn is_noticed(slip: Slip) -> bool {
    (0..20).any(|seed| {
        let found = std::panic::catch_unwind(|| {
            let mut world = storm(30_000 + seed, slip, 20);
            let twice = world.cloud.made.values().any(|times| *times > 1);
            let rest = converges(&mut world);
            twice || !rest || !world.orphans().is_empty()
        });
        // A panic of the world is a finding too, but not this one.
        found.unwrap_or(false)
    })
}

#[test]
fn a_call_before_its_record_is_noticed() {
    assert!(is_noticed(Slip::CallsFirst));
}

#[test]
fn an_error_read_as_absence_is_noticed() {
    assert!(is_noticed(Slip::ErrorIsAbsent));
}

#[test]
fn a_random_name_is_noticed() {
    assert!(is_noticed(Slip::RandomName));
}

#[test]
fn belief_in_one_answer_is_noticed() {
    assert!(is_noticed(Slip::BelievesAtOnce));
}

/// The life of a cluster, from its run's submission to its fleet's end. Answers how many points and calls there were.
fn life(crash_at: Option<u64>, misfortune: Option<(u64, Misfortune)>) -> (u64, u64) {
    let mut world = World::new(40_000);
    let cluster = json!({"nodes": "0..2", "placement": "cluster", "resources": {"gpu": "H100:8"}});
    world.create_cloud_fleet("cluster", cluster);
    world.crash_at = crash_at;
    world.cloud.misfortune = misfortune;
    let run = json!({"nodes": 2, "resources": {"gpu": "H100:8"}});
    world.submit("train", run).expect("the run is submitted");
    let over = |world: &World| world.run("train").status.is_finished();
    assert!(world.run_until(300, over), "{crash_at:?} {misfortune:?}");
    world.delete_fleet("cluster").expect("the fleet is deleted");
    let nothing = |world: &World| {
        world.cloud.things.is_empty() && world.memory.state.intents().next().is_none()
    };
    assert!(world.run_until(120, nothing), "{crash_at:?} {misfortune:?}");
    assert_eq!(check(&world.memory.state), []);
    (world.points, world.cloud.calls_taken)
}

/// At every point at which a leader can die, with every misfortune of every call.
#[test]
fn a_leader_may_die_anywhere_while_any_call_fails() {
    let (points, calls) = life(None, None);
    assert!(points > 30 && calls > 8, "{points} points, {calls} calls");
    // In full it takes minutes: then each point meets all misfortunes, else each meets one, in turn.
    let full = std::env::var("CLOUD_SEEDS").is_ok();
    let all = [
        Misfortune::ErrorBefore,
        Misfortune::ErrorAfter,
        Misfortune::Refused,
    ];
    let mut turn = 0;
    for point in 1..=points {
        life(Some(point), None);
        for call in 1..=calls {
            for misfortune in all {
                turn += 1;
                if full || turn % (calls * 3 + 1) == 0 {
                    life(Some(point), Some((call, misfortune)));
                }
            }
        }
    }
}
