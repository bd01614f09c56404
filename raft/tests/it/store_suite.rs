//! openraft's own suite for stores, over each pair of engines.

use std::sync::Arc;

use dstack_raft::echo::Echo;
use dstack_raft::testing::{LogStore, MachineStore, TypeConfig};
use dstack_storage::rocks::{RocksLog, RocksState, Shared};
use dstack_storage::twin::{Disk, SyncMode, TwinLog, TwinState};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, MachineStore, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, MachineStore), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::new().unwrap());
        let log = RocksLog::open(dir.path(), &shared).unwrap();
        let state = RocksState::open(dir.path(), shared).unwrap();
        let machine = MachineStore::open(Arc::new(state), Box::new(Echo::new())).unwrap();
        Ok((dir, LogStore::new(Arc::new(log)), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes_on_rocksdb() {
    Suite::test_all(OnDisk).await.unwrap();
}

struct OnTwin;

impl StoreBuilder<TypeConfig, LogStore, MachineStore, Disk> for OnTwin {
    async fn build(&self) -> Result<(Disk, LogStore, MachineStore), StorageError<TypeConfig>> {
        let disk = Disk::new();
        let log = TwinLog::open(&disk, SyncMode::Auto).unwrap();
        let state = TwinState::open(&disk).unwrap();
        let machine = MachineStore::open(Arc::new(state), Box::new(Echo::new())).unwrap();
        Ok((disk, LogStore::new(Arc::new(log)), machine))
    }
}

#[tokio::test]
async fn openrafts_storage_suite_passes_on_the_twin() {
    Suite::test_all(OnTwin).await.unwrap();
}
