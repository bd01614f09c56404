//! Archives that servers bring: stored under their digest, once, and removed when no job needs
//! them any more.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use dstack_api::agent::ArchiveChunk;
use sha2::{Digest, Sha256};
use tonic::{Status, Streaming};

use crate::durable;
use crate::home::Home;

/// An archive is brought before the order that names it has been looked at again, maybe long before.
const KEPT_UNUSED: Duration = Duration::from_secs(3600);

/// Stores one archive; true when this call brought it.
pub async fn receive(home: &Home, mut chunks: Streaming<ArchiveChunk>) -> Result<bool, Status> {
    let Some(first) = chunks.message().await? else {
        return Err(Status::invalid_argument("an archive without a chunk"));
    };
    let Some(path) = home.archive(&first.sha256) else {
        return Err(Status::invalid_argument(
            "an archive is named by its SHA-256 in lower-case hex",
        ));
    };
    if path.exists() {
        while chunks.message().await?.is_some() {}
        return Ok(false);
    }
    let mut incoming = Incoming::new(home).map_err(disk)?;
    let mut chunk = first;
    let sha256 = chunk.sha256.clone();
    loop {
        incoming.take(&chunk.data).map_err(disk)?;
        if chunk.last {
            break;
        }
        chunk = chunks
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the archive ended before its last chunk"))?;
    }
    let digest = incoming.digest();
    if digest != sha256 {
        return Err(Status::invalid_argument(format!(
            "the archive's digest is {digest}, not {sha256}"
        )));
    }
    incoming.keep(&path).map_err(disk)?;
    Ok(true)
}

/// Removes archives that no job names, once they are old.
pub fn collect_garbage(home: &Home, needed: &BTreeSet<&str>) {
    let entries = fs::read_dir(home.archives())
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries {
        let name = entry.file_name();
        let unused = name.to_str().is_none_or(|name| !needed.contains(name));
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|at| at.elapsed().ok());
        if unused && age.is_some_and(|age| age > KEPT_UNUSED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn disk(error: std::io::Error) -> Status {
    Status::resource_exhausted(format!("the host cannot store the archive: {error}"))
}

/// A file that is not an archive yet; it goes when it does not become one.
struct Incoming {
    path: PathBuf,
    file: File,
    hash: Sha256,
}

impl Incoming {
    fn new(home: &Home) -> std::io::Result<Self> {
        let path = home
            .archives()
            .join(format!(".incoming-{}", uuid::Uuid::new_v4().simple()));
        Ok(Self {
            file: File::create_new(&path)?,
            path,
            hash: Sha256::new(),
        })
    }

    fn take(&mut self, data: &[u8]) -> std::io::Result<()> {
        self.hash.update(data);
        self.file.write_all(data)
    }

    fn digest(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }

    fn keep(self, path: &std::path::Path) -> std::io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        path.parent().map_or(Ok(()), durable::sync_dir)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = durable::remove_file(&self.path);
    }
}
