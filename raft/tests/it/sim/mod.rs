//! Three replicas in one thread: the real consensus core and the real stores on simulated disks, a
//! simulated network and a simulated clock. One seed chooses partitions, crashes that lose what was
//! not synced, and restarts; then everything heals.
//!
//! `SIM_SEED=n` runs one seed again, `SIM_SEEDS=n` so many seeds per test, or that one seed so often:
//! a seed decides what happens when, but not the order in which tokio wakes several tasks of one
//! moment, so a failure that hangs on it may need a few runs to show again.
//!
//! What must hold at every moment is in `ledger`; what must hold in the end, in `world`.

mod ledger;
mod net;
mod world;

use dstack_storage::twin::SyncMode;

use world::World;

const SEEDS_PER_TEST: u64 = 50;

fn run(seed: u64, mode: SyncMode) {
    dstack_raft::testing::seed_this_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(World::new(seed, mode).live());
}

/// Runs the seeds from `first` on, and says which one failed.
fn run_from(first: u64) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let times = number("SIM_SEEDS").unwrap_or(SEEDS_PER_TEST);
    let again = number("SIM_SEED");
    for n in 0..times {
        let seed = again.unwrap_or(first + n);
        if let Err(panic) = std::panic::catch_unwind(|| run(seed, SyncMode::Manual)) {
            eprintln!("the simulation failed with seed {seed}; run it again with SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn no_promise_is_broken_1() {
    run_from(1000);
}

#[test]
fn no_promise_is_broken_2() {
    run_from(2000);
}

#[test]
fn no_promise_is_broken_3() {
    run_from(3000);
}

#[test]
fn no_promise_is_broken_4() {
    run_from(4000);
}

/// The simulator is worth something only if it sees a broken promise: here the log says that it is on
/// disk when it is not (against S1 and S2), and some seed must show it.
#[test]
fn a_log_that_lies_about_its_syncs_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let caught =
        (1..=60).find(|seed| std::panic::catch_unwind(|| run(*seed, SyncMode::Lying)).is_err());
    let _ = std::panic::take_hook();
    assert!(
        caught.is_some(),
        "60 histories with a lying disk, and nothing was noticed"
    );
}
