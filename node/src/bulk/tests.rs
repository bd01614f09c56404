//! Three stores in one process, with wires that can be cut.

use super::disk::checksum;
use super::*;
use crate::mesh_fake::{FakeMesh, Wires};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

struct Cluster {
    dir: tempfile::TempDir,
    wires: Arc<Wires>,
    stores: Vec<Arc<Bulk>>,
}

impl Cluster {
    fn path(&self, replica: usize, sha256: &str) -> PathBuf {
        let shelf = format!("{}/archives/{}", replica + 1, &sha256[..2]);
        self.dir.path().join(shelf).join(sha256)
    }
}

fn cluster() -> Cluster {
    let (dir, wires) = (tempfile::tempdir().unwrap(), Arc::<Wires>::default());
    let stores = [1, 2, 3].map(|me| {
        let mesh = Arc::new(FakeMesh {
            me,
            all: vec![1, 2, 3],
            wires: wires.clone(),
        });
        let store = Bulk::open(&dir.path().join(me.to_string()), mesh);
        wires.register(me, Bulk::SERVICE, store.service());
        store
    });
    Cluster {
        dir,
        wires,
        stores: stores.into(),
    }
}

/// Several pieces long, and no two of them alike.
fn archive() -> Bytes {
    (0..4_500_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn stored_by_a_majority_and_fetched_by_whoever_lacks_it() {
    let cluster = cluster();
    cluster.wires.cut(3);
    let sha256 = cluster.stores[0].put(archive()).await.unwrap();
    assert_eq!(sha256, checksum(&archive()));
    cluster.wires.mend(3);
    cluster.wires.cut(1);
    assert_eq!(cluster.stores[2].get(&sha256).await.unwrap(), archive());
    // It is kept there now.
    cluster.wires.cut(2);
    assert_eq!(cluster.stores[2].get(&sha256).await.unwrap(), archive());
}

#[tokio::test]
async fn no_majority_no_promise() {
    let cluster = cluster();
    cluster.wires.cut(2);
    cluster.wires.cut(3);
    let error = cluster.stores[0]
        .put(Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, BulkError::NoMajority { have: 1, need: 2 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_copy_is_replaced_from_another() {
    let cluster = cluster();
    let sha256 = cluster.stores[0]
        .put(Bytes::from_static(b"good"))
        .await
        .unwrap();
    let own = cluster.path(0, &sha256);
    std::fs::write(&own, b"evil").unwrap();
    assert_eq!(cluster.stores[0].get(&sha256).await.unwrap(), "good");
    assert_eq!(std::fs::read(own).unwrap(), b"good");
}

#[tokio::test]
async fn names_that_are_not_checksums_are_refused() {
    let cluster = cluster();
    assert!(matches!(
        cluster.stores[0].get("../../etc/passwd").await,
        Err(BulkError::Name(_))
    ));
    assert!(matches!(
        cluster.stores[0].get(&"0".repeat(64)).await,
        Err(BulkError::Absent(_))
    ));
}

#[tokio::test]
async fn what_was_just_uploaded_is_not_swept() {
    let cluster = cluster();
    let sha256 = cluster.stores[0]
        .put(Bytes::from_static(b"fresh"))
        .await
        .unwrap();
    assert_eq!(cluster.stores[0].sweep(BTreeSet::new()).await.unwrap(), 0);
    assert!(cluster.stores[0].get(&sha256).await.is_ok());
}

/// As if nobody had written it for two days.
fn age(file: &Path) {
    let old = SystemTime::now() - Duration::from_secs(48 * 3600);
    File::open(file).unwrap().set_modified(old).unwrap();
}

#[tokio::test]
async fn an_old_archive_is_swept_unless_a_record_names_it_or_it_is_uploaded_again() {
    let cluster = cluster();
    let mut names = Vec::new();
    for content in ["recorded", "renewed", "forgotten"] {
        let sha256 = cluster.stores[0]
            .put(Bytes::from_static(content.as_bytes()))
            .await
            .unwrap();
        names.push(sha256);
    }
    let all = |replica: usize| -> BTreeSet<&str> {
        let kept = |sha256: &&String| {
            let path = cluster.path(replica, sha256);
            path.exists()
        };
        names.iter().filter(kept).map(String::as_str).collect()
    };
    let everywhere = || (0..3).all(|replica| all(replica).len() == 3);
    while !everywhere() {
        tokio::task::yield_now().await;
    }
    for (replica, sha256) in (0..3).flat_map(|r| names.iter().map(move |n| (r, n))) {
        age(&cluster.path(replica, sha256));
    }
    // By way of another replica: what the first one has is not sent again, but it is wanted again.
    cluster.stores[1]
        .put(Bytes::from_static(b"renewed"))
        .await
        .unwrap();
    let fresh = || {
        let modified = |replica| {
            std::fs::metadata(cluster.path(replica, &names[1]))
                .unwrap()
                .modified()
                .unwrap()
        };
        (0..3).all(|replica| {
            modified(replica).elapsed().unwrap_or_default() < Duration::from_secs(24 * 3600)
        })
    };
    while !fresh() {
        tokio::task::yield_now().await;
    }
    for (replica, store) in cluster.stores.iter().enumerate() {
        let recorded = BTreeSet::from([names[0].clone()]);
        assert_eq!(store.sweep(recorded).await.unwrap(), 1);
        assert_eq!(all(replica), [names[0].as_str(), names[1].as_str()].into());
    }
}
