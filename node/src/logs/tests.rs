//! Three stores in one process, with wires that can be cut.

use super::*;
use crate::mesh_fake::{FakeMesh, Wires};
use bytes::{Bytes, BytesMut};
use dstack_api::frames;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

struct Cluster {
    dir: tempfile::TempDir,
    wires: Arc<Wires>,
    stores: Vec<Arc<LogStore>>,
}

/// Long enough for a busy machine wherever a majority is there; waited out where there is none.
const PATIENCE: Duration = Duration::from_secs(5);
const IDS: [u64; 3] = [1, 2, 3];

impl Cluster {
    fn new() -> Self {
        Self::with_rollover(1 << 20)
    }

    fn with_rollover(rollover: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            dir,
            wires: Arc::default(),
            stores: Vec::new(),
        };
        for id in IDS {
            let store = cluster.open(id, rollover);
            cluster.stores.push(store);
        }
        cluster
    }

    fn data(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    fn open(&self, me: u64, rollover: u64) -> Arc<LogStore> {
        let mesh = Arc::new(FakeMesh {
            me,
            all: IDS.to_vec(),
            wires: self.wires.clone(),
        });
        let store = LogStore::with(&self.data(me), mesh, rollover, PATIENCE);
        self.wires.register(me, LogStore::SERVICE, store.service());
        store
    }

    fn restart(&mut self, id: u64) {
        self.stores[id as usize - 1] = self.open(id, 1 << 20);
    }

    fn store(&self, id: u64) -> &LogStore {
        &self.stores[id as usize - 1]
    }

    /// What a reader of this replica gets, from the beginning.
    async fn text(&self, id: u64) -> String {
        let (mut text, mut at) = (Vec::new(), 0);
        loop {
            let page = self
                .store(id)
                .read(job(), Stream::Job, at, 4096)
                .await
                .unwrap();
            if page.frames.is_empty() {
                return String::from_utf8(text).unwrap();
            }
            for frame in frames::Frames::new(&page.frames) {
                text.extend_from_slice(frame.unwrap().payload);
            }
            at = page.next();
        }
    }

    async fn append(&self, id: u64, offset: u64, bytes: &Bytes) -> Result<u64, LogError> {
        self.store(id)
            .append(job(), Stream::Job, offset, bytes.clone())
            .await
    }
}

fn job() -> SubmissionId {
    SubmissionId::from(uuid::Uuid::from_u128(7))
}

/// Lines `from..to` as frames, with the line number as timestamp.
fn lines(from: u32, to: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    for n in from..to {
        frames::put(
            &mut bytes,
            i64::from(n) + 1,
            format!("line {n}\n").as_bytes(),
        );
    }
    bytes.freeze()
}

fn expected(to: u32) -> String {
    (0..to).map(|n| format!("line {n}\n")).collect()
}

#[tokio::test]
async fn what_the_leader_took_is_read_anywhere() {
    let cluster = Cluster::new();
    let end = cluster.append(1, 0, &lines(0, 50)).await.unwrap();
    assert_eq!(
        cluster.append(1, end, &lines(50, 100)).await.unwrap(),
        lines(0, 100).len() as u64
    );
    for id in IDS {
        assert_eq!(cluster.text(id).await, expected(100), "replica {id}");
    }
}

#[tokio::test]
async fn repetition_and_overlap_change_nothing() {
    let cluster = Cluster::new();
    let all = lines(0, 20);
    cluster.append(1, 0, &lines(0, 10)).await.unwrap();
    cluster.append(1, 0, &lines(0, 10)).await.unwrap();
    cluster.append(1, 0, &all).await.unwrap();
    // Another replica leads now and hears it all again.
    cluster.append(2, 0, &all).await.unwrap();
    for id in IDS {
        assert_eq!(cluster.text(id).await, expected(20));
    }
}

#[tokio::test]
async fn one_replica_may_be_away_and_is_filled_up_later() {
    let cluster = Cluster::new();
    cluster.wires.cut(3);
    let end = cluster.append(1, 0, &lines(0, 200)).await.unwrap();
    cluster.wires.mend(3);
    cluster.append(1, end, &lines(200, 210)).await.unwrap();
    let whole = lines(0, 210).len() as u64;
    assert!(
        cluster
            .store(3)
            .wait_beyond(job(), Stream::Job, whole - 1, Duration::from_secs(20))
            .await
            .unwrap()
    );
    assert_eq!(cluster.text(3).await, expected(210));
}

#[tokio::test]
async fn without_a_majority_nothing_is_acknowledged() {
    let cluster = Cluster::new();
    cluster.wires.cut(2);
    cluster.wires.cut(3);
    let error = cluster.append(1, 0, &lines(0, 3)).await.unwrap_err();
    assert!(
        matches!(error, LogError::NoMajority { have: 1, need: 2 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_new_leader_first_learns_what_was_acknowledged() {
    let cluster = Cluster::new();
    cluster.wires.cut(2);
    let end = cluster.append(1, 0, &lines(0, 30)).await.unwrap();
    // 1 dies, 2 leads: the acknowledged part is on 3 only.
    cluster.wires.mend(2);
    cluster.wires.cut(1);
    assert_eq!(
        cluster.store(2).resume(job(), Stream::Job).await.unwrap(),
        end
    );
    cluster.append(2, end, &lines(30, 40)).await.unwrap();
    assert_eq!(cluster.text(2).await, expected(40));
    assert_eq!(cluster.text(3).await, expected(40));
    cluster.wires.mend(1);
    assert_eq!(
        cluster.text(1).await,
        expected(40),
        "the old leader reads through the others"
    );
}

#[tokio::test]
async fn a_new_leader_that_was_not_asked_to_resume_still_fills_the_gap() {
    let cluster = Cluster::new();
    cluster.wires.cut(2);
    let end = cluster.append(1, 0, &lines(0, 30)).await.unwrap();
    cluster.wires.mend(2);
    cluster.append(2, end, &lines(30, 40)).await.unwrap();
    assert_eq!(cluster.text(2).await, expected(40));
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_filled_up_again() {
    let mut cluster = Cluster::new();
    cluster.append(1, 0, &lines(0, 10)).await.unwrap();
    let whole = lines(0, 10).len() as u64;
    assert!(
        cluster
            .store(2)
            .wait_beyond(job(), Stream::Job, whole - 1, Duration::from_secs(20))
            .await
            .unwrap()
    );
    let file = cluster
        .data(2)
        .join("logs")
        .join(job().to_string())
        .join(format!("job.{:016x}", 0));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    cluster.restart(2);
    assert_eq!(
        std::fs::metadata(&file).unwrap().len(),
        bytes.len() as u64 - 3
    );
    assert_eq!(cluster.text(2).await, expected(10));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn output_that_nobody_has_any_more_leaves_a_hole_not_a_stop() {
    let cluster = Cluster::new();
    let end = cluster.append(1, 0, &lines(0, 5)).await.unwrap();
    // All replicas lost what the agent was told to trim.
    cluster.append(1, end + 1000, &lines(50, 55)).await.unwrap();
    let text = cluster.text(2).await;
    assert!(
        text.starts_with("line 0\n") && text.ends_with("line 54\n"),
        "{text}"
    );
}

/// A replica that is just being sent what it asks for must not take "I got nothing more" for "there is nothing".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_while_it_arrives() {
    let cluster = Cluster::new();
    for n in 0..300 {
        let job = SubmissionId::from(uuid::Uuid::from_u128(n));
        let appended = cluster
            .store(1)
            .append(job, Stream::Job, 0, lines(0, 5))
            .await;
        let page = cluster.store(3).read(job, Stream::Job, 0, 4096).await;
        assert_eq!(page.unwrap().next(), appended.unwrap(), "stream {n}");
    }
}

#[tokio::test]
async fn nonsense_is_refused() {
    let cluster = Cluster::new();
    let torn = lines(0, 2).slice(..20);
    assert!(matches!(
        cluster.append(1, 0, &torn).await,
        Err(LogError::Frames(_))
    ));
    assert_eq!(cluster.text(1).await, "");
}

#[tokio::test]
async fn a_follower_is_woken() {
    let cluster = Cluster::new();
    let waiting = cluster.stores[2].clone();
    let waiter = tokio::spawn(async move {
        waiting
            .wait_beyond(job(), Stream::Job, 0, Duration::from_secs(30))
            .await
    });
    cluster.append(1, 0, &lines(0, 1)).await.unwrap();
    assert!(waiter.await.unwrap().unwrap());
    let late = cluster
        .store(1)
        .wait_beyond(job(), Stream::Job, 1 << 30, Duration::from_millis(20))
        .await;
    assert!(!late.unwrap());
}

#[tokio::test]
async fn seek_finds_the_first_line_since() {
    let cluster = Cluster::with_rollover(200);
    let mut offset = 0;
    for n in 0..50 {
        offset = cluster.append(1, offset, &lines(n, n + 1)).await.unwrap();
    }
    let since = jiff::Timestamp::from_microsecond(31).unwrap();
    let at = cluster
        .store(2)
        .seek(job(), Stream::Job, since)
        .await
        .unwrap();
    assert_eq!(at, lines(0, 30).len() as u64);
    let never = jiff::Timestamp::from_microsecond(1000).unwrap();
    assert_eq!(
        cluster
            .store(2)
            .seek(job(), Stream::Job, never)
            .await
            .unwrap(),
        offset
    );
}

#[tokio::test]
async fn retention_takes_finished_jobs_first_and_then_the_oldest_files() {
    let cluster = Cluster::with_rollover(300);
    let alive = job();
    let done: Vec<_> = (100..103)
        .map(|n| SubmissionId::from(uuid::Uuid::from_u128(n)))
        .collect();
    let store = cluster.store(1);
    for submission in done.iter().chain([&alive]) {
        let mut offset = 0;
        for n in 0..40 {
            offset = store
                .append(*submission, Stream::Job, offset, lines(n, n + 1))
                .await
                .unwrap();
        }
    }
    let size = lines(0, 40).len() as u64;
    let kept = move |id: SubmissionId| id == alive;
    let limits = |total_bytes| Limits {
        total_bytes,
        ..Limits::default()
    };
    assert_eq!(
        store.sweep(kept, limits(10 * size)).await.unwrap(),
        Swept::default()
    );
    let swept = store.sweep(kept, limits(2 * size)).await.unwrap();
    assert_eq!(
        swept,
        Swept {
            submissions: 2,
            bytes: 2 * size
        }
    );
    let left: BTreeSet<_> = std::fs::read_dir(cluster.data(1).join("logs"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, [done[2].to_string(), alive.to_string()].into());
    // Not even the running one fits: its oldest files go, the newest output stays and is read.
    store.sweep(kept, limits(400)).await.unwrap();
    let page = store.read(alive, Stream::Job, 0, 1 << 20).await.unwrap();
    assert!(page.from > 0 && !page.frames.is_empty());
    assert_eq!(page.end, size);
    // Old age takes finished ones whatever the cap.
    let old = Limits {
        finished_for: Duration::ZERO,
        ..Limits::default()
    };
    assert_eq!(store.sweep(|_| false, old).await.unwrap().submissions, 1);
}

#[tokio::test]
async fn files_of_finished_jobs_are_let_go_and_opened_again() {
    let cluster = Cluster::new();
    let end = cluster.append(1, 0, &lines(0, 3)).await.unwrap();
    let waiting = cluster.stores[0].clone();
    let waiter = tokio::spawn(async move {
        waiting
            .wait_beyond(job(), Stream::Job, end, Duration::from_secs(30))
            .await
    });
    tokio::task::yield_now().await;
    cluster
        .store(1)
        .sweep(|_| false, Limits::default())
        .await
        .unwrap();
    cluster.append(1, end, &lines(3, 6)).await.unwrap();
    assert!(waiter.await.unwrap().unwrap(), "a follower outlives that");
    assert_eq!(cluster.text(1).await, expected(6));
}

/// Polls by hand, so that no other task has a turn in between, as happens on a busy machine.
async fn alone<F: Future + Unpin>(mut future: F) -> Result<F::Output, F> {
    for _ in 0..40 {
        if let Poll::Ready(done) = futures::poll!(&mut future) {
            return Ok(done);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(future)
}

/// Sweeping closes a file, which ends the tasks that ship it: an append that finds them before they have noticed
/// must start others.
#[tokio::test]
async fn an_append_does_not_fail_because_a_sweep_came_just_before() {
    let cluster = Cluster::new();
    let end = cluster.append(1, 0, &lines(0, 1)).await.unwrap();
    let sweep = cluster.store(1).sweep(|_| false, Limits::default());
    assert!(alone(Box::pin(sweep)).await.is_ok());
    let more = lines(1, 2);
    match alone(Box::pin(cluster.append(1, end, &more))).await {
        Ok(done) => panic!("{done:?} before any replica could have answered"),
        Err(append) => append.await.unwrap(),
    };
    assert_eq!(cluster.text(2).await, expected(2));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let cluster = Cluster::new();
    std::fs::create_dir_all(cluster.data(1)).unwrap();
    let mut file = std::fs::File::create(cluster.data(1).join("logs")).unwrap();
    file.write_all(b"not a folder").unwrap();
    let error = cluster.append(1, 0, &lines(0, 1)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&cluster.data(1).join("logs").display().to_string()),
        "{error}"
    );
}
