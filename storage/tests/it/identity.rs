//! A replica keeps who it is.

use dstack_storage::{Identity, StorageError};

#[test]
fn an_identity_is_written_once_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    assert_eq!(Identity::load(&data).unwrap(), None);
    let created = Identity::create(&data, "c-1", 3, "node-3").unwrap();
    assert_eq!(Identity::load(&data).unwrap(), Some(created.clone()));
    assert_eq!(
        Identity::create(&data, "c-1", 3, "node-3").unwrap(),
        created,
        "the same again is fine"
    );
    let refused = Identity::create(&data, "c-2", 3, "node-3").unwrap_err();
    assert!(matches!(refused, StorageError::Refused { .. }), "{refused}");
    assert_eq!(Identity::load(&data).unwrap(), Some(created));
}

#[test]
fn a_damaged_or_newer_identity_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("IDENTITY"), "{\"format\": 1").unwrap();
    assert!(Identity::load(dir.path()).unwrap_err().is_corruption());
    let newer = r#"{"format": 99, "cluster_id": "c", "node_id": 1, "node_name": "n"}"#;
    std::fs::write(dir.path().join("IDENTITY"), newer).unwrap();
    let refused = Identity::load(dir.path()).unwrap_err();
    assert!(
        matches!(refused, StorageError::Format { found: 99, .. }),
        "{refused}"
    );
}
