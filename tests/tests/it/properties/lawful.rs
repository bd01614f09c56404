//! Whatever happens: every status moves along its table, every invariant of the state holds after
//! every entry, every action stands on a record, and no decided command is refused. All of that is
//! asserted by the world itself; this test gives it many worlds.

use dstack_tests::storm::{all_faults, storm};

#[test]
fn every_step_of_every_storm_is_lawful() {
    super::seeds(12, |seed| {
        let world = storm(seed, all_faults(), 400);
        assert!(world.memory.log.len() > 50, "the storm does something");
    });
}
