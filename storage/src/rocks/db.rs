//! Opening a database and turning RocksDB's error texts into ours.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::statistics::Ticker;
use rocksdb::{ColumnFamily, DB, ErrorKind, InfoLogger, Options};

use super::options;
use crate::engine::Result;
use crate::error::StorageError;

/// An open database with the path its errors name.
pub(crate) struct Db {
    pub(crate) db: DB,
    pub(crate) path: PathBuf,
    /// What recovery said it threw away: the unsynced end of a write-ahead log after a power cut, or damage.
    pub(crate) dropped: Vec<String>,
    /// Kept for its counters.
    options: Options,
}

impl Db {
    /// Opens (or creates) the database with exactly these column families.
    pub(crate) fn open<'a>(
        path: &Path,
        create: bool,
        families: impl IntoIterator<Item = (&'a str, Options)>,
        database: impl FnOnce(InfoLogger) -> Options,
    ) -> Result<Db> {
        let heard = Arc::new(Mutex::new(Some(Vec::new())));
        let listener = heard.clone();
        let mut options = database(options::logger(move |message| {
            if let Some(heard) = listener
                .lock()
                .as_mut()
                .filter(|_| message.contains("dropping"))
            {
                heard.push(message.to_owned());
            }
        }));
        options.create_if_missing(create);
        let opened = DB::open_cf_with_opts(&options, path, families);
        let db = opened.map_err(|error| open_error(path, error))?;
        let dropped = heard.lock().take().unwrap_or_default();
        Ok(Db {
            db,
            path: path.to_owned(),
            dropped,
            options,
        })
    }

    /// Fsyncs of the write-ahead log since open, as RocksDB counts them.
    pub(crate) fn wal_fsyncs(&self) -> u64 {
        self.options.get_ticker_count(Ticker::WalFileSynced)
    }

    pub(crate) fn family(&self, name: &str) -> Result<&ColumnFamily> {
        let missing = || {
            StorageError::corruption(
                "find a table",
                &self.path,
                format!("it has no table {name}"),
            )
        };
        self.db.cf_handle(name).ok_or_else(missing)
    }

    pub(crate) fn error(&self, operation: &'static str, error: rocksdb::Error) -> StorageError {
        convert(operation, &self.path, error)
    }
}

fn open_error(path: &Path, error: rocksdb::Error) -> StorageError {
    let text = error.as_ref();
    if text.contains("/LOCK") && (text.contains("lock hold") || text.contains("While lock file")) {
        return StorageError::Locked {
            path: path.to_owned(),
        };
    }
    // RocksDB names every file it needs in its own index, so one that is missing has been removed.
    if error.kind() == ErrorKind::IOError && text.contains("No such file")
        || text.contains("does not exist")
    {
        return StorageError::corruption("open the database", path, text);
    }
    convert("open the database", path, error)
}

pub(crate) fn convert(operation: &'static str, path: &Path, error: rocksdb::Error) -> StorageError {
    let kind = match error.kind() {
        ErrorKind::Corruption => {
            return StorageError::corruption(operation, path, error.into_string());
        }
        ErrorKind::IOError => io_kind(error.as_ref()),
        ErrorKind::TimedOut => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    StorageError::io(operation, path, io::Error::new(kind, error.into_string()))
}

/// RocksDB hands errors over as text only; these are the C library's words for the errno that matter here.
fn io_kind(text: &str) -> io::ErrorKind {
    const WORDS: [(&str, io::ErrorKind); 5] = [
        ("No space left on device", io::ErrorKind::StorageFull),
        ("Disk quota exceeded", io::ErrorKind::QuotaExceeded),
        ("Read-only file system", io::ErrorKind::ReadOnlyFilesystem),
        ("Permission denied", io::ErrorKind::PermissionDenied),
        ("No such file or directory", io::ErrorKind::NotFound),
    ];
    WORDS
        .iter()
        .find(|(words, _)| text.contains(words))
        .map_or(io::ErrorKind::Other, |(_, kind)| *kind)
}
