//! A disk that is really full: a small tmpfs. Needs root and the right to mount; says so when it has neither.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::{LogEngine, StateEngine, StorageError, Table};

use crate::home::{append, applied, batch, put};

struct Mount(tempfile::TempDir);

impl Mount {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        mount(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            dir.path(),
        )
        .then_some(Mount(dir))
    }

    fn resize(&self, size: &str) {
        assert!(mount(
            &["-o", &format!("remount,size={size}")],
            self.0.path()
        ));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(at).output();
    mounted.is_ok_and(|output| output.status.success())
}

#[test]
fn s11_a_full_disk_stops_the_log_and_keeps_what_was_acknowledged() {
    let Some(disk) = Mount::new("12m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let log = RocksLog::open(disk.0.path(), &Shared::new().unwrap()).unwrap();
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut last = 0;
    let error = loop {
        match append(&log, vec![(last + 1, chunk.clone())]) {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
        assert!(last < 1000, "12 MiB never get full");
    };
    assert!(
        error.is_full(),
        "{error}: {:?}",
        std::error::Error::source(&error)
    );
    assert!(last > 50);
    disk.resize("64m");
    let refused = append(&log, vec![(last + 1, chunk.clone())]).unwrap_err();
    assert!(
        matches!(refused, StorageError::Stopped { .. }) && refused.is_full(),
        "{refused}"
    );
    drop(log);
    let log = RocksLog::open(disk.0.path(), &Shared::new().unwrap()).unwrap();
    let end = log.bounds().last.unwrap();
    assert!(end >= last);
    assert_eq!(log.read(0..u64::MAX, usize::MAX).unwrap().len() as u64, end);
    append(&log, vec![(end + 1, chunk)]).unwrap();
}

#[test]
fn s11_a_full_disk_stops_the_state_and_keeps_it_whole() {
    let Some(disk) = Mount::new("12m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let shared = Arc::new(Shared::new().unwrap());
    let state = RocksState::open(disk.0.path(), shared.clone()).unwrap();
    let mut random = crate::home::Random(1);
    let mut text = || {
        (0..20_000)
            .map(|_| char::from(b'a' + random.below(26) as u8))
            .collect::<String>()
    };
    let mut last = 0;
    let error = loop {
        let index = last + 1;
        match state.write(batch(
            vec![put(Table::Obj, &index.to_string(), &text())],
            index,
        )) {
            Ok(()) => last = index,
            Err(error) => break error,
        }
        assert!(last < 3000, "12 MiB never get full");
    };
    assert!(
        error.is_full(),
        "{error}: {:?}",
        std::error::Error::source(&error)
    );
    assert!(state.checkpoint("1").is_err());
    drop(state);
    disk.resize("96m");
    let state = RocksState::open(disk.0.path(), shared).unwrap();
    let index = applied(&state);
    assert!(
        index >= last,
        "the process did not die, so nothing is lost: {index} of {last}"
    );
    for key in 1..=index {
        assert!(
            state
                .rows()
                .get(Table::Obj, key.to_string().as_bytes())
                .unwrap()
                .is_some(),
            "S8: row {key}"
        );
    }
    state.checkpoint("1").unwrap().finish(0).unwrap();
}
