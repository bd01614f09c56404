//! What every log engine promises.

use std::collections::BTreeMap;
use std::sync::mpsc;

use bytes::Bytes;
use dstack_storage::rocks::{RocksLog, Shared};
use dstack_storage::{LogBounds, LogEngine, StorageError};

use crate::home::{Home, Random, append, awaited, entries, entry, everything, save_vote};

on_both!(
    an_empty_log_is_empty,
    s1_vote_survives_reopening,
    s2_s4_callbacks_come_once_and_in_order,
    s3_entries_are_readable_when_append_returns,
    s5_an_append_with_a_hole_is_refused,
    s5_a_purge_never_leaves_a_hole,
    s6_a_truncated_tail_does_not_come_back,
    s9_the_committed_marker_is_carried_by_the_next_sync,
    a_purge_behind_the_end_empties_the_log,
    reads_are_bounded_by_bytes_but_never_empty,
    it_behaves_like_a_map_over_random_histories,
);

fn an_empty_log_is_empty(home: &Home) {
    let log = home.log();
    assert_eq!(log.bounds(), LogBounds::default());
    assert_eq!(log.last().unwrap(), None);
    assert_eq!(log.vote().unwrap(), None);
    assert_eq!(log.committed().unwrap(), None);
    assert!(everything(&*log).is_empty());
    append(&*log, Vec::new()).unwrap();
    log.truncate_after(None).unwrap();
    assert_eq!(log.bounds(), LogBounds::default());
}

fn s1_vote_survives_reopening(home: &Home) {
    let log = home.log();
    save_vote(&*log, "term 1").unwrap();
    save_vote(&*log, "term 2").unwrap();
    drop(log);
    assert_eq!(home.log().vote().unwrap(), Some(entry("term 2")));
}

fn s2_s4_callbacks_come_once_and_in_order(home: &Home) {
    let log = home.log();
    let (sender, order) = mpsc::channel();
    for index in 1..=200u64 {
        let sender = sender.clone();
        let done = Box::new(move |result: dstack_storage::Result<()>| {
            result.unwrap();
            sender.send(index).unwrap();
        });
        match index % 10 {
            0 => log.save_vote(entry(index.to_string()), done).unwrap(),
            _ => {
                let next = log.bounds().last.map_or(1, |last| last + 1);
                log.append(entries(next..next + 1, "e"), done).unwrap();
            }
        }
    }
    let (done, synced) = awaited();
    log.sync(done).unwrap();
    synced.recv().unwrap().unwrap();
    drop(sender);
    assert_eq!(
        order.iter().collect::<Vec<_>>(),
        (1..=200).collect::<Vec<_>>()
    );
}

fn s3_entries_are_readable_when_append_returns(home: &Home) {
    let log = home.log();
    let (done, synced) = awaited();
    log.append(entries(1..4, "e"), done).unwrap();
    assert_eq!(everything(&*log), entries(1..4, "e"));
    assert_eq!(log.last().unwrap(), Some((3, entry("e3"))));
    synced.recv().unwrap().unwrap();
}

fn s5_an_append_with_a_hole_is_refused(home: &Home) {
    let log = home.log();
    append(&*log, entries(5..8, "e")).unwrap();
    for lawless in [
        entries(9..10, "x"),
        entries(7..9, "x"),
        vec![(8, entry("x")), (10, entry("x"))],
    ] {
        let refused = append(&*log, lawless).unwrap_err();
        assert!(matches!(refused, StorageError::Refused { .. }), "{refused}");
    }
    assert_eq!(everything(&*log), entries(5..8, "e"));
    // A refusal is not a failure: the log goes on.
    append(&*log, entries(8..9, "e")).unwrap();
    log.purge_to(8, entry("p")).unwrap();
    assert!(
        append(&*log, entries(10..11, "x")).is_err(),
        "entry 9 would be missing"
    );
    append(&*log, entries(9..10, "e")).unwrap();
}

fn s5_a_purge_never_leaves_a_hole(home: &Home) {
    let log = home.log();
    append(&*log, entries(4..20, "e")).unwrap();
    assert!(
        log.purge_to(2, entry("p")).is_err(),
        "entry 3 would be missing"
    );
    log.purge_to(9, entry("at 9")).unwrap();
    log.purge_to(7, entry("at 7")).unwrap();
    let expected = LogBounds {
        first: Some(10),
        last: Some(19),
        purged: Some((9, entry("at 9"))),
    };
    assert_eq!(log.bounds(), expected, "an older purge changes nothing");
    drop(log);
    let log = home.log();
    assert_eq!(log.bounds(), expected);
    assert_eq!(everything(&*log), entries(10..20, "e"));
    assert_eq!(log.read(0..12, usize::MAX).unwrap(), entries(10..12, "e"));
}

fn s6_a_truncated_tail_does_not_come_back(home: &Home) {
    let log = home.log();
    append(&*log, entries(1..10, "old")).unwrap();
    log.truncate_after(Some(4)).unwrap();
    assert_eq!(log.last().unwrap(), Some((4, entry("old4"))));
    append(&*log, entries(5..7, "new")).unwrap();
    drop(log);
    let log = home.log();
    let expected = [entries(1..5, "old"), entries(5..7, "new")].concat();
    assert_eq!(everything(&*log), expected);
    log.truncate_after(None).unwrap();
    append(&*log, entries(1..2, "anew")).unwrap();
    drop(log);
    assert_eq!(everything(&*home.log()), entries(1..2, "anew"));
}

fn s9_the_committed_marker_is_carried_by_the_next_sync(home: &Home) {
    let log = home.log();
    log.save_committed(entry("7")).unwrap();
    assert_eq!(log.committed().unwrap(), Some(entry("7")));
    append(&*log, entries(1..2, "e")).unwrap();
    drop(log);
    if let Home::Twin(disk) = home {
        disk.crash(1);
    }
    assert_eq!(home.log().committed().unwrap(), Some(entry("7")));
}

fn a_purge_behind_the_end_empties_the_log(home: &Home) {
    let log = home.log();
    append(&*log, entries(1..5, "e")).unwrap();
    log.purge_to(100, entry("installed")).unwrap();
    assert_eq!(everything(&*log), Vec::new());
    append(&*log, entries(101..103, "e")).unwrap();
    drop(log);
    let log = home.log();
    let expected = LogBounds {
        first: Some(101),
        last: Some(102),
        purged: Some((100, entry("installed"))),
    };
    assert_eq!(log.bounds(), expected);
    assert_eq!(everything(&*log), entries(101..103, "e"));
}

fn reads_are_bounded_by_bytes_but_never_empty(home: &Home) {
    let log = home.log();
    let large = Bytes::from(vec![b'x'; 10_000]);
    append(&*log, (1..10).map(|index| (index, large.clone())).collect()).unwrap();
    assert_eq!(log.read(1..10, 25_000).unwrap().len(), 2);
    assert_eq!(log.read(3..10, 1).unwrap(), vec![(3, large.clone())]);
    assert_eq!(log.read(9..50, 0).unwrap(), vec![(9, large)]);
    assert_eq!(log.read(10..50, usize::MAX).unwrap(), Vec::new());
    assert_eq!(log.read(5..5, usize::MAX).unwrap(), Vec::new());
}

fn it_behaves_like_a_map_over_random_histories(home: &Home) {
    for seed in 0..20 {
        let home = home.another();
        let mut random = Random(seed);
        let mut model: BTreeMap<u64, Bytes> = BTreeMap::new();
        let mut purged = None;
        let mut log = home.log();
        for step in 0..60 {
            let end = model.keys().next_back().copied().or(purged).unwrap_or(0);
            let inside = random.below(end + 2);
            match random.below(10) {
                0..5 => {
                    let new = entries(end + 1..end + 1 + random.below(5), &format!("{step}-"));
                    append(&*log, new.clone()).unwrap();
                    model.extend(new);
                }
                5 | 6 => {
                    log.truncate_after(Some(inside)).unwrap();
                    model.split_off(&(inside + 1));
                }
                7 => {
                    if purged.is_none_or(|purged| purged < inside) {
                        log.purge_to(inside, entry("p")).unwrap();
                        model = model.split_off(&(inside + 1));
                        purged = Some(inside);
                    }
                }
                8 => {
                    drop(log);
                    log = home.log();
                }
                _ => {
                    let to = inside + random.below(6);
                    let expected: Vec<_> = model
                        .range(inside..to)
                        .map(|(i, e)| (*i, e.clone()))
                        .collect();
                    assert_eq!(
                        log.read(inside..to, usize::MAX).unwrap(),
                        expected,
                        "seed {seed} step {step}"
                    );
                }
            }
            let all: Vec<_> = model.clone().into_iter().collect();
            assert_eq!(everything(&*log), all, "seed {seed} step {step}");
            assert_eq!(
                log.last().unwrap(),
                all.last().cloned(),
                "seed {seed} step {step}"
            );
        }
    }
}

/// Objects of the engine are used behind `Arc<dyn …>` from many threads.
#[test]
fn engines_are_shareable() {
    fn shareable<T: Send + Sync + ?Sized>() {}
    shareable::<dyn LogEngine>();
    shareable::<dyn dstack_storage::StateEngine>();
    shareable::<dyn dstack_storage::Snapshot>();
    shareable::<StorageError>();
}

/// Writers from many threads: everything acknowledged is there, in one order (S2, S4).
#[test]
fn votes_and_appends_of_many_threads_share_one_queue() {
    let home = Home::rocks();
    let log = home.log();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..300).for_each(|index| append(&*log, entries(index..index + 1, "e")).unwrap())
        });
        scope.spawn(|| (1..300).for_each(|term| save_vote(&*log, &term.to_string()).unwrap()));
        scope.spawn(|| (0..300).for_each(|_| drop(everything(&*log))));
    });
    drop(log);
    let log = home.log();
    assert_eq!(everything(&*log), entries(1..300, "e"));
    assert_eq!(log.vote().unwrap(), Some(entry("299")));
}

/// More purged entries than one reclaim, so that whole files are given back: the live ones stay.
#[test]
fn s5_giving_files_back_keeps_every_live_entry() {
    let home = Home::rocks();
    let large = Bytes::from(vec![7; 4096]);
    for round in 0..4u64 {
        let log = home.log();
        let start = round * 5_000 + 1;
        for chunk in 0..10 {
            let from = start + chunk * 500;
            append(
                &*log,
                (from..from + 500)
                    .map(|index| (index, large.clone()))
                    .collect(),
            )
            .unwrap();
        }
        // All but the newest hundred.
        log.purge_to(start + 4_899, entry("p")).unwrap();
        assert_eq!(log.read(0..u64::MAX, usize::MAX).unwrap().len(), 100);
        drop(log);
        let log = home.log();
        let bounds = log.bounds();
        assert_eq!(
            (bounds.first, bounds.last),
            (Some(start + 4_900), Some(start + 4_999))
        );
        assert_eq!(log.read(0..u64::MAX, usize::MAX).unwrap().len(), 100);
    }
}

/// S1, S2 on the real engine: a callback comes only after an fsync that began after its write.
#[test]
fn s1_s2_every_acknowledgement_has_an_fsync_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = std::sync::Arc::new(RocksLog::open(dir.path(), &Shared::new().unwrap()).unwrap());
    let (sender, counted) = mpsc::channel();
    for index in 1..50u64 {
        let before = log.fsyncs();
        let (sender, at_callback) = (sender.clone(), log.clone());
        let done = Box::new(move |result: dstack_storage::Result<()>| {
            result.unwrap();
            sender.send(at_callback.fsyncs()).unwrap();
        });
        match index % 2 {
            0 => log.save_vote(entry("vote"), done).unwrap(),
            _ => {
                let next = log.bounds().last.unwrap_or(0) + 1;
                log.append(entries(next..next + 1, "e"), done).unwrap();
            }
        }
        let after = counted.recv().unwrap();
        assert!(
            after > before,
            "write {index} was acknowledged after {after} fsyncs, {before} before it"
        );
    }
}
