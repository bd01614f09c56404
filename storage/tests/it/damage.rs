//! Real files, really damaged: told clearly, never served, never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::{LogEngine, Result, Scan, StateEngine, StorageError, Table};
use tempfile::TempDir;

use crate::home::{Random, append, batch, entries, entry, put, save_vote};

fn open_log(dir: &Path) -> Result<RocksLog> {
    RocksLog::open(dir, &Shared::new().unwrap())
}

fn open_state(dir: &Path) -> Result<RocksState> {
    RocksState::open(dir, Arc::new(Shared::new().unwrap()))
}

/// A replica with 100 acknowledged entries and a vote, not running.
fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path()).unwrap();
    save_vote(&log, "term 3").unwrap();
    for index in (1..=100).step_by(5) {
        append(
            &log,
            entries(
                index..index + 5,
                "a rather long entry, so that there are some bytes to damage ",
            ),
        )
        .unwrap();
    }
    dir
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.to_str().unwrap().ends_with(ending) && path.metadata().unwrap().len() > 0
        })
        .collect();
    found.sort();
    found
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    // A new file: tables may be hard links of a snapshot's.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn intact(log: &RocksLog) -> bool {
    let expected = entries(
        1..101,
        "a rather long entry, so that there are some bytes to damage ",
    );
    log.read(0..u64::MAX, usize::MAX)
        .is_ok_and(|found| found == expected)
        && log.vote().is_ok_and(|vote| vote == Some(entry("term 3")))
}

/// What a power cut leaves of a write that nobody was promised.
#[test]
fn a_torn_tail_is_dropped_and_nothing_else() {
    for torn in [&b"\x07"[..], &[0; 300], &[0xa5; 4000]] {
        let dir = written();
        let wal = files(&dir.path().join("raft"), ".log").pop().unwrap();
        damage(&wal, |bytes| bytes.extend_from_slice(torn));
        let log = open_log(dir.path()).unwrap();
        assert!(intact(&log));
        append(&log, entries(101..102, "next")).unwrap();
        drop(log);
        assert_eq!(open_log(dir.path()).unwrap().bounds().last, Some(101));
    }
}

/// S2: RocksDB alone would start with fewer entries and say nothing.
#[test]
fn a_log_that_lost_acknowledged_entries_is_refused() {
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 20);
    let garble = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].fill(0xee);
    };
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    for change in [&cut as &dyn Fn(&mut Vec<u8>), &garble, &empty] {
        let dir = written();
        let wal = files(&dir.path().join("raft"), ".log").pop().unwrap();
        damage(&wal, change);
        for _ in 0..2 {
            let refused = open_log(dir.path())
                .err()
                .expect("refused, at the second start too");
            assert!(refused.is_corruption(), "{refused}");
            let text = refused.to_string();
            assert!(
                text.contains("raft") && text.contains("remove this replica from the cluster"),
                "{text}"
            );
        }
    }
    let dir = written();
    fs::remove_dir_all(dir.path().join("raft")).unwrap();
    assert!(open_log(dir.path()).err().expect("refused").is_corruption());
}

/// A written log whose entries have reached a table.
fn flushed() -> TempDir {
    let dir = written();
    drop(open_log(dir.path()).unwrap()); // recovery writes what it replays into tables
    dir
}

#[test]
fn a_damaged_table_is_refused_by_name() {
    let dir = flushed();
    let tables = files(&dir.path().join("raft"), ".sst");
    let largest = tables
        .iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
        .clone();
    damage(&largest, |bytes| bytes[100..140].fill(0x5a));
    let refused = open_log(dir.path()).err().expect("refused");
    assert!(refused.is_corruption(), "{refused}");
    let name = largest.file_name().unwrap().to_str().unwrap();
    assert!(
        refused.to_string().contains(name),
        "{refused} does not name {name}"
    );
}

#[test]
fn a_missing_table_is_refused_by_name() {
    let dir = flushed();
    let table = files(&dir.path().join("raft"), ".sst").remove(0);
    fs::remove_file(&table).unwrap();
    let refused = open_log(dir.path()).err().expect("refused");
    assert!(refused.is_corruption(), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(table.file_name().unwrap().to_str().unwrap()),
        "{refused}"
    );
}

/// Any byte of any file: either refused, or everything that was acknowledged is there.
#[test]
fn no_flipped_byte_loses_an_acknowledged_entry_silently() {
    let (mut refused, mut fine) = (0, 0);
    let mut random = Random(7);
    for round in 0..60 {
        let dir = if round % 2 == 0 { written() } else { flushed() };
        let mut all = files(&dir.path().join("raft"), "");
        all.retain(|path| !path.to_str().unwrap().ends_with("LOCK"));
        let path = &all[random.below(all.len() as u64) as usize];
        damage(path, |bytes| {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 + random.below(255) as u8;
        });
        match open_log(dir.path()) {
            Ok(log) => {
                assert!(
                    intact(&log),
                    "round {round}: {} damaged, and entries are missing",
                    path.display()
                );
                fine += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && fine > 0, "{refused} refused, {fine} fine");
}

#[test]
fn an_unreadable_watermark_does_not_stop_a_sound_log() {
    let dir = written();
    damage(&dir.path().join("raft.acked"), |bytes| bytes[3] ^= 0xff);
    assert!(intact(&open_log(dir.path()).unwrap()));
}

#[test]
fn a_damaged_state_is_an_error_where_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let state = open_state(dir.path()).unwrap();
    let many = (0..2000)
        .map(|key| put(Table::Obj, &format!("{key:05}"), &"v".repeat(key % 97)))
        .collect();
    state.write(batch(many, 1)).unwrap();
    state.checkpoint("00001-1").unwrap().finish(0).unwrap();
    let snapshot_dir = dir.path().join("snap/00001-1");
    drop(state);
    let live = dir.path().join("state/s-000001");
    let largest = files(&live, ".sst")
        .into_iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    damage(&largest, |bytes| bytes[200..260].fill(0x5a));
    let name = largest.file_name().unwrap().to_str().unwrap().to_owned();
    let found = open_state(dir.path()).and_then(|state| {
        let visit = &mut |_: &[u8], _: &[u8]| std::ops::ControlFlow::Continue(());
        state.rows().scan(Scan::all(Table::Obj), visit)
    });
    let error = found.unwrap_err();
    assert!(
        error.is_corruption() && error.to_string().contains(&name),
        "{error}"
    );
    assert!(
        snapshot_dir.join(&name).exists(),
        "the snapshot keeps its own name of the file"
    );
}

#[test]
fn a_lost_or_damaged_pointer_to_the_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open_state(dir.path())
        .unwrap()
        .write(batch(vec![put(Table::Obj, "a", "1")], 1))
        .unwrap();
    let current = dir.path().join("state/CURRENT");
    let good = fs::read(&current).unwrap();
    fs::write(&current, "{").unwrap();
    assert!(
        open_state(dir.path())
            .err()
            .expect("refused")
            .is_corruption()
    );
    fs::remove_file(&current).unwrap();
    assert!(
        open_state(dir.path())
            .err()
            .expect("refused")
            .is_corruption()
    );
    fs::write(&current, good).unwrap();
    assert_eq!(
        open_state(dir.path()).unwrap().meta("applied").unwrap(),
        Some(entry("1"))
    );
}

#[test]
fn a_snapshot_that_is_not_whole_is_not_offered() {
    let dir = tempfile::tempdir().unwrap();
    let state = open_state(dir.path()).unwrap();
    state
        .write(batch(vec![put(Table::Obj, "a", "1")], 1))
        .unwrap();
    state.checkpoint("00001-1").unwrap().finish(0).unwrap();
    state.checkpoint("00001-2").unwrap().finish(0).unwrap();
    drop(state);
    let table = files(&dir.path().join("snap/00001-2"), ".sst").remove(0);
    damage(&table, |bytes| bytes.truncate(10));
    let state = open_state(dir.path()).unwrap();
    assert_eq!(state.current_snapshot().unwrap().manifest().name, "00001-1");
}

#[test]
fn two_replicas_cannot_share_a_directory() {
    let dir = written();
    let _log = open_log(dir.path()).unwrap();
    let _state = open_state(dir.path()).unwrap();
    for second in [open_log(dir.path()).err(), open_state(dir.path()).err()] {
        let refused = second.expect("refused");
        assert!(matches!(refused, StorageError::Locked { .. }), "{refused}");
        assert!(refused.to_string().contains("in use by another process"));
    }
}
