//! Snapshots of the twin: one file that holds the manifest and all rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Decoder, Encoder};
use crate::engine::{APPLIED, MEMBERSHIP, Result, Snapshot};
use crate::error::StorageError;
use crate::manifest::{MANIFEST_FORMAT, Manifest, SnapshotFile};
use crate::table::Table;

/// All rows of the state, in the order of the tables.
pub(crate) type Content = BTreeMap<(Table, Bytes), Bytes>;

/// The one file of a twin's snapshot.
pub(crate) const ROWS: &str = "rows";

pub(crate) struct TwinSnapshot {
    pub(crate) manifest: Manifest,
    pub(crate) rows: Bytes,
}

impl TwinSnapshot {
    pub(crate) fn new(name: &str, content: &Content, hash: u64) -> Self {
        let rows = encode_rows(content);
        let meta = |key: &'static str| {
            let key = (Table::Meta, Bytes::from_static(key.as_bytes()));
            content.get(&key).map(|value| value.to_vec())
        };
        let file = SnapshotFile {
            name: ROWS.to_owned(),
            size: rows.len() as u64,
            crc32: crc32fast::hash(&rows),
        };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            name: name.to_owned(),
            applied: meta(APPLIED),
            membership: meta(MEMBERSHIP),
            hash,
            files: vec![file],
        };
        TwinSnapshot { manifest, rows }
    }

    pub(crate) fn encode(&self) -> Bytes {
        Encoder::default()
            .bytes(&self.manifest.encode())
            .bytes(&self.rows)
            .done()
    }

    pub(crate) fn decode(path: &str, data: Vec<u8>) -> Result<Self> {
        let bad =
            || StorageError::corruption("read a snapshot", Path::new(path), "it is not whole");
        let mut data = Decoder(data.into());
        let manifest = Manifest::decode(&data.bytes().ok_or_else(bad)?)?;
        let rows = data.bytes().ok_or_else(bad)?;
        if manifest
            .file(ROWS)
            .is_none_or(|file| file.crc32 != crc32fast::hash(&rows))
        {
            return Err(bad());
        }
        Ok(TwinSnapshot { manifest, rows })
    }

    pub(crate) fn content(&self) -> Result<Content> {
        let bad = || {
            let path = Path::new(&self.manifest.name);
            StorageError::corruption("read a snapshot", path, "its rows cannot be read")
        };
        decode_rows(self.rows.clone()).ok_or_else(bad)
    }
}

impl Snapshot for TwinSnapshot {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn read(&self, file: &str, offset: u64, max: usize) -> Result<Bytes> {
        if file != ROWS {
            let reason = format!("{} has no file {file}", self.manifest.name);
            return Err(StorageError::refused("read a snapshot", reason));
        }
        let start =
            usize::try_from(offset).map_or(self.rows.len(), |offset| offset.min(self.rows.len()));
        let end = start.saturating_add(max).min(self.rows.len());
        Ok(self.rows.slice(start..end))
    }
}

pub(crate) fn encode_rows(content: &Content) -> Bytes {
    let mut rows = Encoder::default();
    for ((table, key), value) in content {
        rows = rows.number(table.code().into()).bytes(key).bytes(value);
    }
    rows.done()
}

pub(crate) fn decode_rows(rows: Bytes) -> Option<Content> {
    let mut content = Content::new();
    let mut rows = Decoder(rows);
    while !rows.is_empty() {
        let table = decode_table(rows.number()?)?;
        let key = rows.bytes()?;
        content.insert((table, key), rows.bytes()?);
    }
    Some(content)
}

pub(crate) fn decode_table(code: u64) -> Option<Table> {
    Table::from_code(u8::try_from(code).ok()?)
}

/// For lists of trait objects.
pub(crate) fn erase(snapshot: &Arc<TwinSnapshot>) -> Arc<dyn Snapshot> {
    snapshot.clone()
}
