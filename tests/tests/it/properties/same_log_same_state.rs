//! Same log, same bytes: a replay of the log and a reload from the rows both give what is there.

use dstack_domain::command::{Actor, Entry};
use dstack_domain::encoding::decode_entry;
use dstack_domain::state::{State, Table};
use dstack_tests::storm::{all_faults, storm};
use dstack_tests::world::{Memory, World};

#[test]
fn a_replay_gives_the_same_rows() {
    super::seeds(4, |seed| {
        let world = storm(6000 + seed, all_faults(), 300);
        let other = world.memory.replay();
        assert_eq!(other.rows, world.memory.rows);
    });
}

#[test]
fn rows_give_back_the_state() {
    super::seeds(4, |seed| {
        let world = storm(7000 + seed, all_faults(), 300);
        let reloaded = world.memory.reload();
        assert_same(&reloaded, &world.memory.state);
        // And it goes on the same way.
        assert_same_future(&world, reloaded);
    });
}

fn assert_same(a: &State, b: &State) {
    assert_eq!(a.clock(), b.clock());
    assert_eq!(a.remembered_count(), b.remembered_count());
    assert!(a.runs_newest_first().eq(b.runs_newest_first()));
    assert!(a.unfinished_runs().eq(b.unfinished_runs()));
    assert!(a.finished_runs().eq(b.finished_runs()));
    assert!(a.submissions().eq(b.submissions()));
    assert!(a.instances().eq(b.instances()));
    assert!(a.fleets().eq(b.fleets()));
    assert!(a.users().eq(b.users()));
    assert!(a.projects().eq(b.projects()));
}

fn assert_same_future(world: &World, reloaded: State) {
    let facts = world.facts();
    let now = dstack_tests::world::after(world.now, 3_600_000);
    let a = dstack_domain::decide::decide(&world.memory.state, &facts, now);
    let b = dstack_domain::decide::decide(&reloaded, &facts, now);
    assert_eq!(a.steps, b.steps);
    assert_eq!(a.desired, b.desired);
    assert_eq!(a.next, b.next);
}

#[test]
fn a_retried_write_gets_the_same_answer_and_changes_nothing() {
    super::seeds(3, |seed| {
        let world = storm(8000 + seed, all_faults(), 120);
        let mut memory: Memory = world.memory.clone();
        let entries: Vec<Entry> = memory
            .log
            .iter()
            .map(|bytes| decode_entry(bytes).unwrap())
            .collect();
        let before: Vec<_> = live(&memory);
        let recent = entries
            .iter()
            .rev()
            .filter(|entry| entry.actor != Actor::System)
            .take(20);
        for entry in recent {
            let reply = memory.commit(entry);
            assert!(reply.changes.is_empty(), "{:?}", entry.command);
        }
        assert_eq!(live(&memory), before);
    });
}

fn live(memory: &Memory) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = memory
        .rows
        .iter()
        .filter(|((table, _), _)| *table != Table::Dedup);
    rows.map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}
