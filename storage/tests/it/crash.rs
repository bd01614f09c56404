//! The power goes at every single operation, the disk fails at every single operation: what was promised
//! is kept, or nothing more is promised.

use std::collections::BTreeMap;
use std::sync::mpsc;

use bytes::Bytes;
use dstack_storage::twin::{Disk, Fault, SyncMode, TwinLog, TwinState};
use dstack_storage::{LogEngine, Result, Scan, StateEngine, StorageError, Table};

use crate::home::{Random, all_rows, append, applied, batch, entry, put, rows, send};

/// What the log has acknowledged.
#[derive(Default)]
struct Promised {
    vote: u64,
    entries: BTreeMap<u64, Bytes>,
}

/// A voter's life until the first error.
fn live(log: &TwinLog, seed: u64, promised: &mut Promised) -> Result<()> {
    let mut random = Random(seed);
    for _ in 0..40 {
        let last = log
            .bounds()
            .last
            .or(log.bounds().purged.map(|(index, _)| index))
            .unwrap_or(0);
        match random.below(8) {
            0 | 1 => {
                let (sender, receiver) = mpsc::channel();
                let term = promised.vote + 1;
                log.save_vote(
                    entry(term.to_string()),
                    Box::new(move |result| drop(sender.send(result))),
                )?;
                receiver.recv().unwrap()?;
                promised.vote = term;
            }
            2 => {
                let keep = last.saturating_sub(random.below(4));
                // What is cut is promised no more, whether or not the cut reaches the disk.
                promised.entries.split_off(&(keep + 1));
                log.truncate_after(Some(keep))?;
            }
            3 => {
                let index = last.saturating_sub(3 + random.below(4));
                if log.bounds().first.is_some_and(|first| first <= index) {
                    promised.entries = promised.entries.split_off(&(index + 1));
                    log.purge_to(index, entry("p"))?;
                }
            }
            4 => log.save_committed(entry(last.to_string()))?,
            _ => {
                let new: Vec<_> = (last + 1..last + 2 + random.below(3))
                    .map(|index| {
                        (
                            index,
                            entry(format!("{} {index} {}", promised.vote, random.below(1000))),
                        )
                    })
                    .collect();
                append(log, new.clone())?;
                promised.entries.extend(new);
            }
        }
    }
    Ok(())
}

/// Opens the disk after a crash and compares.
fn judge(disk: &Disk, promised: &Promised) -> std::result::Result<(), String> {
    let log = TwinLog::open(disk, SyncMode::Auto).map_err(|error| error.to_string())?;
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let vote: u64 = log
        .vote()
        .unwrap()
        .map_or(0, |vote| text(&vote).parse().unwrap());
    if vote < promised.vote {
        return Err(format!(
            "S1: vote {} was promised, {vote} is on disk",
            promised.vote
        ));
    }
    let found: BTreeMap<u64, Bytes> = log
        .read(0..u64::MAX, usize::MAX)
        .unwrap()
        .into_iter()
        .collect();
    for (index, expected) in &promised.entries {
        if found.get(index) != Some(expected) {
            return Err(format!(
                "S2: entry {index} was acknowledged as {expected:?}, found {:?}",
                found.get(index)
            ));
        }
    }
    let mut expected = found.keys().next().copied();
    if let (Some((purged, _)), Some(first)) = (log.bounds().purged, expected)
        && first != purged + 1
    {
        return Err(format!(
            "S5: purged up to {purged}, but the log starts at {first}"
        ));
    }
    for (index, content) in &found {
        if Some(*index) != expected {
            return Err(format!("S5: hole before {index}"));
        }
        expected = Some(index + 1);
        let term: u64 = text(content).split(' ').next().unwrap().parse().unwrap();
        if term > vote {
            return Err(format!(
                "S4: entry {index} of term {term} is on disk, the vote is {vote}"
            ));
        }
    }
    Ok(())
}

/// Operations of one fault-free life.
fn operations(seed: u64) -> u64 {
    let disk = Disk::new();
    live(
        &TwinLog::open(&disk, SyncMode::Auto).unwrap(),
        seed,
        &mut Promised::default(),
    )
    .unwrap();
    disk.operations()
}

fn power_cut(mode: SyncMode, seed: u64, at: u64, crash: u64) -> std::result::Result<(), String> {
    let disk = Disk::new();
    disk.fail_at(at, Fault::PowerCut);
    let mut promised = Promised::default();
    if let Ok(log) = TwinLog::open(&disk, mode) {
        let _ = live(&log, seed, &mut promised);
    }
    disk.crash(crash);
    // The power goes again while the log is being recovered.
    disk.fail_at(disk.operations() + crash % 2, Fault::PowerCut);
    let _ = TwinLog::open(&disk, mode);
    disk.crash(crash + 1);
    judge(&disk, &promised)
}

#[test]
fn s1_s2_s4_s5_s6_hold_when_the_power_goes_at_any_operation() {
    for seed in 0..8 {
        for at in 0..operations(seed) {
            for crash in 0..4 {
                if let Err(broken) = power_cut(SyncMode::Auto, seed, at, crash) {
                    panic!("seed {seed}, power cut at operation {at}, crash {crash}: {broken}");
                }
            }
        }
    }
}

/// The test above can fail: an engine that acknowledges before the fsync is caught.
#[test]
fn s1_s2_a_lying_disk_is_caught() {
    let broken = |which: &str| {
        (0..8).any(|seed| {
            (0..operations(seed)).any(|at| {
                power_cut(SyncMode::Lying, seed, at, 0)
                    .is_err_and(|broken| broken.starts_with(which))
            })
        })
    };
    assert!(broken("S1"), "no lost vote was noticed");
    assert!(broken("S2"), "no lost entry was noticed");
}

#[test]
fn s11_after_a_failed_operation_nothing_more_is_acknowledged() {
    for fault in [Fault::InputOutput, Fault::Full] {
        for at in 0..operations(1) {
            let disk = Disk::new();
            let log = TwinLog::open(&disk, SyncMode::Auto).unwrap();
            disk.fail_at(at, fault);
            let mut promised = Promised::default();
            let Err(first) = live(&log, 1, &mut promised) else {
                continue;
            };
            assert_eq!(first.is_full(), fault == Fault::Full, "{first}");
            disk.clear_fault();
            // The disk works again, but what it holds is not known.
            let next = log
                .bounds()
                .last
                .or(log.bounds().purged.map(|(index, _)| index))
                .map_or(1, |last| last + 1);
            let refused = append(&log, vec![(next, entry("0"))]).unwrap_err();
            assert!(
                matches!(refused, StorageError::Stopped { .. }),
                "operation {at}: {refused}"
            );
            assert!(
                log.save_vote(
                    entry("9"),
                    Box::new(|_| panic!("a refused vote has no callback"))
                )
                .is_err()
            );
            assert!(log.truncate_after(None).is_err() && log.sync(Box::new(|_| {})).is_err());
            drop(log);
            disk.crash(at);
            judge(&disk, &promised)
                .unwrap_or_else(|broken| panic!("{fault:?} at operation {at}: {broken}"));
        }
    }
}

#[test]
fn callbacks_wait_for_the_fsync_and_learn_of_its_failure() {
    let disk = Disk::new();
    let log = TwinLog::open(&disk, SyncMode::Manual).unwrap();
    let (sender, results) = mpsc::channel();
    let done = |name: &'static str| -> dstack_storage::Done {
        let sender = sender.clone();
        Box::new(move |result| sender.send((name, result.is_ok())).unwrap())
    };
    log.append(vec![(1, entry("a"))], done("one")).unwrap();
    log.save_vote(entry("1"), done("vote")).unwrap();
    assert_eq!(log.read(0..9, 9).unwrap().len(), 1, "S3");
    assert!(
        results.try_recv().is_err(),
        "S2: nothing is promised before the fsync"
    );
    assert_eq!((log.waiting(), log.complete()), (2, 2));
    assert_eq!(
        results.try_iter().collect::<Vec<_>>(),
        [("one", true), ("vote", true)]
    );
    log.append(vec![(2, entry("b"))], done("two")).unwrap();
    disk.fail_at(disk.operations(), Fault::InputOutput);
    assert_eq!(log.complete(), 1);
    assert_eq!(results.try_iter().collect::<Vec<_>>(), [("two", false)]);
}

/// A replica's state: each batch sets every row to the index it applies.
fn write(state: &dyn StateEngine, index: u64) -> Result<()> {
    let mut writes: Vec<_> = (0..5)
        .map(|row| put(Table::Obj, &format!("row {row}"), &index.to_string()))
        .collect();
    writes.push(put(Table::Hist, &format!("{index:05}"), "v"));
    state.write(batch(writes, index))
}

/// Writes, syncs, snapshots and one install, until the first error. Returns what must not be lost.
fn live_state(
    disk: &Disk,
    durable: &mut u64,
    snapshot: &dyn dstack_storage::Snapshot,
) -> Result<()> {
    let state = TwinState::open(disk)?;
    for index in 1..=12u64 {
        write(&state, index)?;
        if index % 5 == 0 {
            state.sync()?;
            *durable = index;
        }
        if index % 4 == 0 {
            state.checkpoint(&format!("{index:05}-1"))?.finish(index)?;
            *durable = index;
            state.retain_snapshots(2)?;
        }
    }
    send(snapshot, &state).install()?;
    *durable = 100;
    write(&state, 101)?;
    state.checkpoint("00101-2")?.finish(101)?;
    *durable = 101;
    Ok(())
}

#[test]
fn s7_s8_s10_hold_when_the_power_goes_or_the_disk_fails_at_any_operation() {
    let source_disk = Disk::new();
    let source = TwinState::open(&source_disk).unwrap();
    write(&source, 100).unwrap();
    let snapshot = source.checkpoint("00100-2").unwrap().finish(100).unwrap();

    let fault_free = Disk::new();
    live_state(&fault_free, &mut 0, &*snapshot).unwrap();
    let mut old_after_install_began = 0;
    let mut new = 0;
    for at in 0..fault_free.operations() {
        for (crash, fault) in [
            (0, Fault::PowerCut),
            (1, Fault::PowerCut),
            (2, Fault::InputOutput),
            (3, Fault::Full),
        ] {
            let disk = Disk::new();
            disk.fail_at(at, fault);
            let mut durable = 0;
            assert!(live_state(&disk, &mut durable, &*snapshot).is_err() || fault == Fault::Full);
            disk.crash(crash);
            let state = TwinState::open(&disk).unwrap();
            let place = format!("{fault:?} at operation {at}");
            let index = applied(&state);
            assert!(
                index >= durable,
                "S7, {place}: {durable} was durable, the state is at {index}"
            );
            for (key, value) in rows(&*state.rows(), Scan::all(Table::Obj)) {
                assert_eq!(value, index.to_string(), "S8, {place}: {key}");
            }
            let history = rows(&*state.rows(), Scan::all(Table::Hist)).len() as u64;
            let expected = if index >= 100 { index - 99 } else { index };
            assert_eq!(
                history, expected,
                "S10, {place}: rows of the old and of the new state"
            );
            let names: Vec<_> = state
                .snapshots()
                .iter()
                .map(|found| found.manifest().name.clone())
                .collect();
            for snapshot in state.snapshots() {
                let covered = snapshot.manifest().applied.clone().unwrap();
                let covered: u64 = String::from_utf8(covered).unwrap().parse().unwrap();
                assert!(
                    covered <= index,
                    "S7, {place}: a snapshot of {covered}, the state is at {index}"
                );
                assert_eq!(
                    index >= 100,
                    covered >= 100,
                    "S10, {place}: {names:?} with the state at {index}"
                );
            }
            if index >= 100 {
                new += 1;
                assert!(
                    names.contains(&"00100-2".to_owned()) || names == ["00101-2"],
                    "S10, {place}: {names:?}"
                );
            } else if durable == 12 {
                old_after_install_began += 1;
            }
            // And it goes on from there.
            write(&state, index + 1).unwrap();
            assert_eq!(applied(&state), index + 1);
        }
    }
    assert!(
        old_after_install_began > 0 && new > 0,
        "the faults hit both sides of the switch"
    );
}

#[test]
fn s11_a_state_that_failed_takes_no_more_writes() {
    let disk = Disk::new();
    let state = TwinState::open(&disk).unwrap();
    write(&state, 1).unwrap();
    let before = all_rows(&state);
    disk.fail_at(disk.operations(), Fault::Full);
    assert!(write(&state, 2).unwrap_err().is_full());
    disk.clear_fault();
    assert!(matches!(
        write(&state, 2),
        Err(StorageError::Stopped { .. })
    ));
    assert!(state.checkpoint("1").is_err() && state.sync().is_err());
    assert_eq!(all_rows(&state), before, "reads go on");
    disk.kill();
    let state = TwinState::open(&disk).unwrap();
    assert_eq!(all_rows(&state), before);
    write(&state, 2).unwrap();
}

/// The death of the process alone loses nothing, synced or not.
#[test]
fn a_killed_process_loses_nothing() {
    let disk = Disk::new();
    let state = TwinState::open(&disk).unwrap();
    let log = TwinLog::open(&disk, SyncMode::Auto).unwrap();
    write(&state, 1).unwrap();
    log.save_committed(entry("1")).unwrap();
    disk.kill();
    assert!(write(&state, 2).is_err(), "the old process is dead");
    assert_eq!(applied(&TwinState::open(&disk).unwrap()), 1);
    assert_eq!(
        TwinLog::open(&disk, SyncMode::Auto)
            .unwrap()
            .committed()
            .unwrap(),
        Some(entry("1"))
    );
}

/// A failure found by a seed can be looked at again.
#[test]
fn the_same_seed_is_the_same_history() {
    let run = || {
        let disk = Disk::new();
        let log = TwinLog::open(&disk, SyncMode::Manual).unwrap();
        for index in 1..20u64 {
            log.append(vec![(index, entry("e"))], Box::new(|_| {}))
                .unwrap();
        }
        disk.crash(42);
        TwinLog::open(&disk, SyncMode::Auto).unwrap().bounds()
    };
    assert_eq!(run(), run());
}
