//! RocksDB options for a small machine: bounded memory, two background jobs, steady write-back.

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Env, InfoLogger, LogLevel,
    Options, WriteOptions,
};

use crate::engine::Result;
use crate::error::StorageError;

const MIB: usize = 1024 * 1024;

/// What both databases of a replica share: one block cache and one set of background threads, so that the
/// two of them together stay within the memory of one.
pub struct Shared {
    cache: Cache,
    env: Env,
}

impl Shared {
    /// Block cache of 64 MiB, one flush thread and one compaction thread: a core stays free for consensus.
    pub fn new() -> Result<Self> {
        let mut env = Env::new()
            .map_err(|error| StorageError::refused("set up RocksDB", error.into_string()))?;
        env.set_low_priority_background_threads(1);
        env.set_high_priority_background_threads(1);
        Ok(Shared {
            cache: Cache::new_lru_cache(64 * MIB),
            env,
        })
    }

    pub(crate) fn log_database(&self, logger: InfoLogger) -> Options {
        let mut options = self.database(logger);
        options.set_db_write_buffer_size(48 * MIB);
        options.set_max_open_files(128);
        options.set_max_total_wal_size(64 * MIB as u64);
        // Counters only: they cost nothing that shows, and say how many fsyncs there were.
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        options
    }

    pub(crate) fn state_database(&self, logger: InfoLogger) -> Options {
        let mut options = self.database(logger);
        options.set_db_write_buffer_size(64 * MIB);
        options.set_max_open_files(256);
        options.set_max_total_wal_size(128 * MIB as u64);
        // Compaction in bursts would lengthen the fsyncs of the other database.
        options.set_ratelimiter(32 * MIB as i64, 100_000, 10);
        options
    }

    /// Options of a column family of the log: short-lived, so the upper levels are not compressed.
    pub(crate) fn log_family(&self) -> Options {
        let mut options = self.family();
        let mut levels = [DBCompressionType::Lz4; 7];
        levels[..2].fill(DBCompressionType::None);
        options.set_compression_per_level(&levels);
        options
    }

    pub(crate) fn state_family(&self) -> Options {
        let mut options = self.family();
        options.set_compression_type(DBCompressionType::Lz4);
        options
    }

    fn family(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(16 * MIB);
        options.set_max_write_buffer_number(3);
        options
    }

    fn database(&self, logger: InfoLogger) -> Options {
        let mut options = Options::default();
        options.set_env(&self.env);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        // Write-back in small steps: an fsync of ours should not pay for megabytes of others. Not durability.
        options.set_bytes_per_sync(MIB as u64);
        options.set_wal_bytes_per_sync(MIB as u64 / 2);
        // The vote and the entries, the applied marker and its effects, reach the tables together.
        options.set_atomic_flush(true);
        // A torn tail is what a power cut leaves, so it is no reason to refuse; what was acknowledged is
        // checked by our own watermark.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_paranoid_checks(true);
        // Writes reach the kernel at once, so that the death of the process alone loses nothing.
        options.set_manual_wal_flush(false);
        options.set_use_fsync(false);
        options.set_stats_dump_period_sec(0);
        options.set_info_logger(logger);
        options
    }
}

/// Writes that reach the kernel but wait for no disk.
pub(crate) fn unsynced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(false);
    options
}

/// Sends RocksDB's warnings to `tracing`, and to `heard` as long as that wants them.
pub(crate) fn logger(heard: impl Fn(&str) + Send + Sync + 'static) -> InfoLogger {
    InfoLogger::new_callback_logger(LogLevel::Warn, move |level, message| {
        let message = message.trim();
        match level {
            LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{message}"),
            LogLevel::Warn => tracing::warn!(target: "rocksdb", "{message}"),
            // The header is a dump of every option, at each start.
            _ => tracing::debug!(target: "rocksdb", "{message}"),
        }
        heard(message);
    })
}
