//! Three stores in one process, with wires that can be cut.

use super::disk::checksum;
use super::*;
use crate::mesh_fake::{FakeMesh, Wires};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

struct Cluster {
    dir: tempfile::TempDir,
    wires: Arc<Wires>,
    stores: Vec<Arc<Bulk>>,
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
    let own = cluster
        .dir
        .path()
        .join("1/archives")
        .join(&sha256[..2])
        .join(&sha256);
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
