//! Wake-ups carry no data: with all of them dropped the world still comes to rest, and so it does
//! after any storm, with every run over, every host idle and nothing left behind.

use dstack_domain::check::check;
use dstack_tests::storm::{all_faults, calm, storm};
use dstack_tests::world::Faults;

#[test]
fn every_storm_ends() {
    super::seeds(8, |seed| {
        let mut world = storm(1000 + seed, all_faults(), 300);
        calm(&mut world);
        assert_eq!(check(&world.memory.state), []);
    });
}

#[test]
fn without_any_wake_up_all_work_is_done() {
    super::seeds(4, |seed| {
        let faults = Faults {
            dropped_wakeups: 1000,
            ..Faults::default()
        };
        let mut world = storm(2000 + seed, faults, 300);
        calm(&mut world);
    });
}

#[test]
fn at_rest_the_log_stands_still() {
    super::seeds(2, |seed| {
        let mut world = storm(3000 + seed, all_faults(), 120);
        calm(&mut world);
        world.run_for(60);
        let length = world.memory.log.len();
        world.run_for(600);
        assert_eq!(
            world.memory.log.len(),
            length,
            "an idle cluster writes nothing"
        );
    });
}
