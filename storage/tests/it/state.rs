//! What every state engine promises.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use dstack_storage::{Batch, Manifest, Scan, Snapshot, StorageError, Table, Write};

use crate::home::{Home, Random, all_rows, applied, batch, entry, put, rows, send};

on_both!(
    s8_markers_and_effects_are_in_one_batch,
    s8_the_markers_cannot_be_written_as_rows,
    deletes_and_tables_are_kept_apart,
    scans_follow_bounds_direction_and_limit,
    a_scan_sees_one_moment,
    s7_a_snapshot_holds_the_moment_of_its_checkpoint,
    s10_an_install_replaces_everything,
    s10_a_damaged_snapshot_changes_nothing,
    snapshots_are_retained_by_name_and_readable_while_held,
    a_snapshot_name_covers_one_state,
    unfinished_checkpoints_and_transfers_leave_nothing,
    lawless_manifests_are_refused,
    it_behaves_like_a_map_over_random_histories,
);

fn s8_markers_and_effects_are_in_one_batch(home: &Home) {
    let state = home.state();
    let membership = Some(entry("voters 1 2 3"));
    let first = Batch {
        membership,
        ..batch(
            vec![put(Table::Obj, "a", "1"), put(Table::Idx, "i", "a")],
            5,
        )
    };
    state.write(first).unwrap();
    state
        .write(batch(vec![put(Table::Obj, "a", "2")], 6))
        .unwrap();
    drop(state);
    let state = home.state();
    assert_eq!(applied(&*state), 6);
    assert_eq!(
        state.meta("membership").unwrap(),
        Some(entry("voters 1 2 3")),
        "kept when not given"
    );
    assert_eq!(
        state.rows().get(Table::Obj, b"a").unwrap(),
        Some(entry("2"))
    );
    assert_eq!(
        state.rows().get(Table::Idx, b"i").unwrap(),
        Some(entry("a"))
    );
}

fn s8_the_markers_cannot_be_written_as_rows(home: &Home) {
    let state = home.state();
    for name in ["applied", "membership"] {
        let refused = state.write(batch(
            vec![put(Table::Obj, "a", "1"), put(Table::Meta, name, "9")],
            1,
        ));
        assert!(matches!(refused, Err(StorageError::Refused { .. })));
    }
    assert_eq!(applied(&*state), 0);
    assert_eq!(
        state.rows().get(Table::Obj, b"a").unwrap(),
        None,
        "all of a batch or nothing"
    );
    state
        .write(batch(vec![put(Table::Meta, "feature_level", "3")], 1))
        .unwrap();
    assert_eq!(state.meta("feature_level").unwrap(), Some(entry("3")));
}

fn deletes_and_tables_are_kept_apart(home: &Home) {
    let state = home.state();
    state
        .write(batch(
            vec![put(Table::Obj, "k", "obj"), put(Table::Hist, "k", "hist")],
            1,
        ))
        .unwrap();
    let mut delete = put(Table::Obj, "k", "");
    delete.value = None;
    state.write(batch(vec![delete], 2)).unwrap();
    assert_eq!(state.rows().get(Table::Obj, b"k").unwrap(), None);
    assert_eq!(
        state.rows().get(Table::Hist, b"k").unwrap(),
        Some(entry("hist"))
    );
}

fn scans_follow_bounds_direction_and_limit(home: &Home) {
    let state = home.state();
    let letters = ["a", "b", "c", "d", "e"];
    state
        .write(batch(
            letters
                .iter()
                .map(|key| put(Table::Events, key, "v"))
                .collect(),
            1,
        ))
        .unwrap();
    let handle = state.rows();
    let keys = |scan: Scan<'_>| {
        rows(&*handle, scan)
            .into_iter()
            .map(|(key, _)| key)
            .collect::<String>()
    };
    assert_eq!(keys(Scan::all(Table::Events)), "abcde");
    assert_eq!(keys(Scan::range(Table::Events, b"b", b"d")), "bc");
    assert_eq!(
        keys(Scan {
            reverse: true,
            ..Scan::range(Table::Events, b"b", b"d")
        }),
        "cb"
    );
    assert_eq!(
        keys(Scan {
            reverse: true,
            limit: 2,
            ..Scan::all(Table::Events)
        }),
        "ed"
    );
    assert_eq!(
        keys(Scan {
            limit: 2,
            from: b"bb",
            ..Scan::all(Table::Events)
        }),
        "cd"
    );
    assert_eq!(
        keys(Scan::range(Table::Events, b"d", b"b")),
        "",
        "an empty range is empty"
    );
    assert_eq!(keys(Scan::all(Table::Dedup)), "");
    let mut visited = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        visited += 1;
        ControlFlow::Break(())
    };
    handle.scan(Scan::all(Table::Events), visit).unwrap();
    assert_eq!(visited, 1);
}

fn a_scan_sees_one_moment(home: &Home) {
    let state = home.state();
    state
        .write(batch(
            vec![put(Table::Obj, "a", "1"), put(Table::Obj, "b", "1")],
            1,
        ))
        .unwrap();
    let mut seen = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        seen.push((key.to_vec(), value.to_vec()));
        state
            .write(batch(
                vec![put(Table::Obj, "b", "2"), put(Table::Obj, "c", "2")],
                2,
            ))
            .unwrap();
        ControlFlow::Continue(())
    };
    state.rows().scan(Scan::all(Table::Obj), visit).unwrap();
    assert_eq!(
        seen,
        vec![
            (b"a".to_vec(), b"1".to_vec()),
            (b"b".to_vec(), b"1".to_vec())
        ]
    );
}

fn s7_a_snapshot_holds_the_moment_of_its_checkpoint(home: &Home) {
    let state = home.state();
    state
        .write(batch(vec![put(Table::Obj, "a", "at 10")], 10))
        .unwrap();
    let at_10 = all_rows(&*state);
    let checkpoint = state.checkpoint("00010-1").unwrap();
    state
        .write(batch(vec![put(Table::Obj, "a", "at 11")], 11))
        .unwrap();
    let snapshot = checkpoint.finish(77).unwrap();
    assert_eq!(snapshot.manifest().applied.as_deref(), Some(&b"10"[..]));
    assert_eq!(snapshot.manifest().hash, 77);
    // What it covers is on disk although nobody called sync.
    if let Home::Twin(disk) = home {
        disk.crash(3);
        assert!(applied(&*home.state()) >= 10);
    }
    let other = home.another();
    let receiver = other.state();
    send(&*snapshot, &*receiver).install().unwrap();
    assert_eq!(all_rows(&*receiver), at_10);
}

fn s10_an_install_replaces_everything(home: &Home) {
    let sender = home.another();
    let sender = sender.state();
    let many = (0..500)
        .map(|key| put(Table::Obj, &format!("new{key:04}"), "v"))
        .collect();
    sender.write(batch(many, 90)).unwrap();
    let expected = all_rows(&*sender);
    let snapshot = sender.checkpoint("00090-4").unwrap().finish(0).unwrap();

    let state = home.state();
    state
        .write(batch(
            vec![put(Table::Obj, "old", "v"), put(Table::Hist, "old", "v")],
            20,
        ))
        .unwrap();
    state.checkpoint("00020-1").unwrap().finish(0).unwrap();
    let old_rows = state.rows();
    let incoming = send(&*snapshot, &*state);
    let installed = incoming.install().unwrap();
    assert_eq!(installed.manifest(), snapshot.manifest());
    assert_eq!(
        old_rows.get(Table::Obj, b"old").unwrap(),
        Some(entry("v")),
        "readers finish on the old state"
    );
    let names = |state: &dyn dstack_storage::StateEngine| {
        state
            .snapshots()
            .iter()
            .map(|snapshot| snapshot.manifest().name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(all_rows(&*state), expected);
    assert_eq!(names(&*state), ["00090-4"]);
    // The new state takes writes, and both survive a restart.
    state
        .write(batch(vec![put(Table::Obj, "after", "v")], 91))
        .unwrap();
    drop((old_rows, installed, state));
    let state = home.state();
    assert_eq!(applied(&*state), 91);
    assert_eq!(state.rows().get(Table::Obj, b"old").unwrap(), None);
    assert_eq!(rows(&*state.rows(), Scan::all(Table::Obj)).len(), 501);
    assert_eq!(names(&*state), ["00090-4"]);
    // What came in can be passed on.
    let third = home.another();
    let third = third.state();
    send(&*state.current_snapshot().unwrap(), &*third)
        .install()
        .unwrap();
    assert_eq!(all_rows(&*third), expected);
}

fn s10_a_damaged_snapshot_changes_nothing(home: &Home) {
    let sender = home.another();
    let sender = sender.state();
    sender
        .write(batch(vec![put(Table::Obj, "new", "v")], 90))
        .unwrap();
    let snapshot = sender.checkpoint("00090-4").unwrap().finish(0).unwrap();
    let state = home.state();
    state
        .write(batch(vec![put(Table::Obj, "old", "v")], 20))
        .unwrap();
    let before = all_rows(&*state);

    let mut short = state.receive(snapshot.manifest().clone()).unwrap();
    let file = snapshot
        .manifest()
        .files
        .iter()
        .max_by_key(|file| file.size)
        .unwrap()
        .clone();
    short
        .write(
            &file.name,
            &snapshot
                .read(&file.name, 0, file.size as usize - 1)
                .unwrap(),
        )
        .unwrap();
    assert!(short.install().is_err());

    let mut wrong_marker = snapshot.manifest().clone();
    wrong_marker.applied = Some(b"95".to_vec());
    let mut flipped = snapshot.manifest().clone();
    flipped.files[0].crc32 ^= 1;
    for manifest in [flipped, wrong_marker] {
        let mut incoming = state.receive(manifest.clone()).unwrap();
        for file in &manifest.files {
            incoming
                .write(
                    &file.name,
                    &snapshot.read(&file.name, 0, usize::MAX).unwrap(),
                )
                .unwrap();
        }
        let refused = incoming.install().err().expect("refused");
        assert!(!refused.to_string().is_empty());
    }
    let mut long = state.receive(snapshot.manifest().clone()).unwrap();
    assert!(
        long.write(&file.name, &vec![0; file.size as usize + 1])
            .is_err()
    );
    assert!(long.write("unknown", b"x").is_err());
    drop(long);

    assert_eq!(all_rows(&*state), before);
    assert!(state.snapshots().is_empty());
    state
        .write(batch(vec![put(Table::Obj, "old", "goes on")], 21))
        .unwrap();
    drop(state);
    assert_eq!(applied(&*home.state()), 21);
}

fn snapshots_are_retained_by_name_and_readable_while_held(home: &Home) {
    let state = home.state();
    for index in 1..=4u64 {
        state
            .write(batch(vec![put(Table::Obj, "a", "v")], index))
            .unwrap();
        state
            .checkpoint(&format!("{index:05}-1"))
            .unwrap()
            .finish(index)
            .unwrap();
    }
    let oldest = state.snapshots().remove(0);
    state.retain_snapshots(2).unwrap();
    let names: Vec<_> = state
        .snapshots()
        .iter()
        .map(|held| held.manifest().name.clone())
        .collect();
    assert_eq!(names, ["00003-1", "00004-1"]);
    // A transfer that has begun can end.
    let other = home.another();
    let other = other.state();
    send(&*oldest, &*other).install().unwrap();
    assert_eq!(applied(&*other), 1);
    drop(oldest);
    drop(state);
    let state = home.state();
    assert_eq!(state.snapshots().len(), 2);
    assert_eq!(state.current_snapshot().unwrap().manifest().hash, 4);
}

fn a_snapshot_name_covers_one_state(home: &Home) {
    let state = home.state();
    state.write(batch(vec![], 1)).unwrap();
    state.checkpoint("same").unwrap().finish(1).unwrap();
    let again = state.checkpoint("same").unwrap().finish(1).unwrap();
    assert_eq!(again.manifest().hash, 1);
    state.write(batch(vec![], 2)).unwrap();
    assert!(state.checkpoint("same").is_err());
    for name in ["", "..", "a/b", ".hidden", "x.tmp", "x.staged"] {
        assert!(state.checkpoint(name).is_err(), "{name:?}");
    }
}

fn unfinished_checkpoints_and_transfers_leave_nothing(home: &Home) {
    let state = home.state();
    state
        .write(batch(vec![put(Table::Obj, "a", "1")], 1))
        .unwrap();
    let snapshot = state.checkpoint("00001-1").unwrap().finish(0).unwrap();
    drop(state.checkpoint("00002-1").unwrap());
    drop(send(&*snapshot, &*state));
    assert_eq!(state.snapshots().len(), 1);
    if let Home::Rocks(dir) = home {
        let left: Vec<_> = std::fs::read_dir(dir.path().join("snap"))
            .unwrap()
            .collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

fn lawless_manifests_are_refused(home: &Home) {
    let state = home.state();
    state.write(batch(vec![], 1)).unwrap();
    let snapshot = state.checkpoint("00001-1").unwrap().finish(0).unwrap();
    let good = snapshot.manifest();
    assert_eq!(&Manifest::decode(&good.encode()).unwrap(), good);
    let mut escaping = good.clone();
    escaping.files[0].name = "../../IDENTITY".to_owned();
    let mut twice = good.clone();
    twice.files.push(twice.files[0].clone());
    let mut newer = good.clone();
    newer.format += 1;
    for manifest in [escaping, twice, newer] {
        assert!(state.receive(manifest.clone()).is_err(), "{manifest:?}");
    }
    assert!(Manifest::decode(b"{").is_err());
}

fn it_behaves_like_a_map_over_random_histories(home: &Home) {
    type Model = BTreeMap<(Table, String), String>;
    for seed in 0..6 {
        let (home, other) = (home.another(), home.another());
        let mut random = Random(seed);
        let mut model = Model::new();
        let mut state = home.state();
        let mut sent: Option<(Arc<dyn Snapshot>, Model, u64)> = None;
        let mut index = 0;
        for step in 0..60 {
            match random.below(12) {
                0 => {
                    drop((state, sent.take()));
                    state = home.state();
                }
                1 => {
                    let snapshot = state
                        .checkpoint(&format!("{step:05}"))
                        .unwrap()
                        .finish(0)
                        .unwrap();
                    sent = Some((snapshot, model.clone(), index));
                }
                2 => {
                    // Through another replica and back: what a lagging replica lives through.
                    let Some((snapshot, then, at)) = sent.take() else {
                        continue;
                    };
                    let receiver = other.state();
                    let passed_on = send(&*snapshot, &*receiver).install().unwrap();
                    send(&*passed_on, &*state).install().unwrap();
                    (model, index) = (then, at);
                }
                _ => {
                    index += 1;
                    let writes = (0..random.below(5)).map(|_| {
                        let table = Table::ALL[1 + random.below(5) as usize];
                        let key = random.below(20).to_string();
                        let value =
                            (random.below(4) > 0).then(|| format!("{step} {}", random.below(100)));
                        match &value {
                            Some(value) => model.insert((table, key.clone()), value.clone()),
                            None => model.remove(&(table, key.clone())),
                        };
                        Write {
                            table,
                            key: entry(key),
                            value: value.map(entry),
                        }
                    });
                    let writes = writes.collect();
                    state.write(batch(writes, index)).unwrap();
                }
            }
            let found: Model = Table::ALL[1..]
                .iter()
                .flat_map(|table| {
                    let rows = rows(&*state.rows(), Scan::all(*table));
                    rows.into_iter().map(|(key, value)| ((*table, key), value))
                })
                .collect();
            assert_eq!(found, model, "seed {seed} step {step}");
            assert_eq!(applied(&*state), index, "seed {seed} step {step}");
        }
    }
}
