//! In the world, not only in the books: no submission's processes ever start twice, and the
//! processes that run on a host at one time never use more of it than there is.

use dstack_tests::storm::{all_faults, storm};
use dstack_tests::world::{Process, World};
use std::collections::BTreeMap;

/// GPUs of a host. A job that asked for none on a whole host still counts for one.
const GPUS: u32 = 8;

#[test]
fn nothing_starts_twice() {
    super::seeds(6, |seed| {
        let world = storm(4000 + seed, all_faults(), 400);
        let mut starts: BTreeMap<_, u32> = BTreeMap::new();
        for process in &world.processes {
            *starts.entry(process.submission).or_default() += 1;
        }
        let twice: Vec<_> = starts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        assert!(world.processes.len() > 5, "the storm runs something");
    });
}

#[test]
fn no_host_is_overcommitted() {
    super::seeds(6, |seed| {
        let world = storm(5000 + seed, all_faults(), 400);
        for process in &world.processes {
            let beside: u32 = beside(&world, process).map(|other| other.blocks).sum();
            assert!(
                beside <= GPUS,
                "{} GPUs used on {} at {}",
                beside,
                process.host,
                process.started
            );
        }
    });
}

/// The processes that run on the host when this one starts, itself included.
fn beside<'a>(world: &'a World, process: &'a Process) -> impl Iterator<Item = &'a Process> {
    world.processes.iter().filter(move |other| {
        other.host == process.host
            && other.started <= process.started
            && other.ended.is_none_or(|ended| ended > process.started)
    })
}
