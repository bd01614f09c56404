//! One property each, over many seeds. Lawful transitions, invariants of the state, actions built
//! on records and proposals that are accepted are asserted inside the world at every step of every
//! test here; the files below add what only a whole history can show.

mod control_plane_kills_nothing;
mod converges;
mod lawful;
mod nothing_leaks;
mod nothing_shared;
mod same_log_same_state;

/// Seeds of a property; a failing one is named by the panic's test and seed.
fn seeds(count: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let first = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let range = first.map_or(0..count, |seed| seed..seed + 1);
    for seed in range {
        if let Err(panic) = std::panic::catch_unwind(|| test(seed)) {
            eprintln!("failed with SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
