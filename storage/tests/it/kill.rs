//! A process that is killed in the middle of its work. The child is this test binary, started again with
//! one of the ignored tests below; it tells on its standard output what has been acknowledged.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::{LogEngine, Scan, StateEngine, Table};

use crate::home::{append, applied, batch, entries, entry, put, rows, save_vote, send};

const DIRECTORY: &str = "DSTACK_STORAGE_TEST_DIRECTORY";

fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("kill::{test}"),
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child after so many acknowledgements and returns the last one it could still tell.
fn kill_after(mut child: Child, count: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(|line| line.ok());
    let number = |line: String| {
        line.strip_prefix("acknowledged ")
            .and_then(|number| number.parse().ok())
    };
    let mut last = lines
        .by_ref()
        .filter_map(number)
        .nth(count - 1)
        .expect("the child works");
    child.kill().unwrap();
    child.wait().unwrap();
    last = lines.filter_map(number).last().unwrap_or(last);
    last
}

fn acknowledged(number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {number}").unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "a child of the test below"]
fn child_that_appends() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let log = RocksLog::open(Path::new(&dir), &Shared::new().unwrap()).unwrap();
    let start = log.bounds().last.unwrap_or(0) + 1;
    for index in start.. {
        save_vote(&log, &index.to_string()).unwrap();
        append(&log, entries(index..index + 1, "e")).unwrap();
        if index % 50 == 0 {
            log.purge_to(index - 40, entry("p")).unwrap();
        }
        acknowledged(index);
    }
}

#[test]
fn s1_s2_a_killed_writer_keeps_everything_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for count in [1, 120, 77] {
        let last = kill_after(child("child_that_appends", dir.path()), count);
        let log = RocksLog::open(dir.path(), &Shared::new().unwrap()).unwrap();
        let bounds = log.bounds();
        assert!(
            bounds.last.unwrap() >= last,
            "{last} was acknowledged, the log ends at {:?}",
            bounds.last
        );
        let vote: u64 = std::str::from_utf8(&log.vote().unwrap().unwrap())
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            vote >= bounds.last.unwrap(),
            "S4: vote {vote} is older than the log"
        );
        let first = bounds.first.unwrap();
        let expected = entries(first..bounds.last.unwrap() + 1, "e");
        assert_eq!(log.read(0..u64::MAX, usize::MAX).unwrap(), expected);
    }
}

#[test]
#[ignore = "a child of the test below"]
fn child_that_installs() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::new().unwrap());
    let source = RocksState::open(source.path(), shared.clone()).unwrap();
    let state = RocksState::open(Path::new(&dir), shared).unwrap();
    for index in applied(&state) + 1.. {
        let rows = (0..50).map(|row| put(Table::Obj, &format!("{row:03}"), &index.to_string()));
        let all = rows
            .chain([put(Table::Hist, &format!("{index:09}"), "v")])
            .collect();
        // By turns a batch and an install, so that the kill hits both.
        if index % 2 == 0 {
            state.write(batch(all, index)).unwrap();
        } else {
            source.write(batch(all, index)).unwrap();
            let snapshot = source
                .checkpoint(&format!("{index:09}"))
                .unwrap()
                .finish(index)
                .unwrap();
            send(&*snapshot, &state).install().unwrap();
            source.retain_snapshots(1).unwrap();
        }
        acknowledged(index);
    }
}

#[test]
fn s8_s10_a_killed_receiver_has_the_old_or_the_new_state() {
    let dir = tempfile::tempdir().unwrap();
    for count in [1, 4, 9, 14] {
        let last = kill_after(child("child_that_installs", dir.path()), count);
        let state = RocksState::open(dir.path(), Arc::new(Shared::new().unwrap())).unwrap();
        let index = applied(&state);
        assert!(
            index >= last,
            "{last} was acknowledged, the state is at {index}"
        );
        let objects = rows(&*state.rows(), Scan::all(Table::Obj));
        assert_eq!(objects.len(), 50);
        assert!(
            objects.iter().all(|(_, value)| *value == index.to_string()),
            "a mix: {objects:?}"
        );
        let newest = state
            .current_snapshot()
            .expect("an install leaves its snapshot");
        assert!(newest.manifest().hash <= index);
        assert_eq!(state.snapshots().len(), 1);
        let left = std::fs::read_dir(dir.path().join("state")).unwrap().count();
        assert_eq!(left, 2, "CURRENT and one generation");
        assert_eq!(
            std::fs::read_dir(dir.path().join("snap")).unwrap().count(),
            1
        );
    }
}
