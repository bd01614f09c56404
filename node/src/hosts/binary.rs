//! The agent binary that is uploaded to hosts: the one beside this server, or the one it was told to use.

use super::failure::HostError;
use bytes::Bytes;
use dstack_deploy::agent::Binary;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Environment variable that names the binary.
pub const VARIABLE: &str = "DSTACK_AGENT_BINARY";
const NAME: &str = "dstack-agent";

/// A binary in memory, ready to be sent.
#[derive(Debug)]
pub struct Loaded {
    pub binary: Binary,
    pub bytes: Bytes,
    /// As `uname -m` says it.
    pub arch: &'static str,
}

type Stamp = (SystemTime, u64);

/// A file as it was when it was read, and what was in it.
type Cached = (PathBuf, Stamp, Arc<Loaded>);

/// Finds the binary, and reads it again only when it has changed.
#[derive(Debug, Clone)]
pub struct AgentBinary {
    path: PathBuf,
    cache: Arc<Mutex<Vec<Cached>>>,
}

impl AgentBinary {
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            cache: Arc::default(),
        }
    }

    /// `explicit` is what [`VARIABLE`] says.
    pub fn locate(explicit: Option<PathBuf>) -> Self {
        let beside = || {
            std::env::current_exe()
                .ok()
                .and_then(|exe| Some(exe.parent()?.join(NAME)))
        };
        Self::at(
            explicit
                .or_else(beside)
                .unwrap_or_else(|| PathBuf::from(NAME)),
        )
    }

    /// For a host of this architecture: `dstack-agent-<arch>` when it lies beside `dstack-agent`, else that one.
    pub async fn load(&self, arch: &str) -> Result<Arc<Loaded>, HostError> {
        let mut special = self.path.clone().into_os_string();
        special.push(format!("-{arch}"));
        let special = PathBuf::from(special);
        let path = if special.is_file() {
            special
        } else {
            self.path.clone()
        };
        let this = self.clone();
        let shown = path.display().to_string();
        let failed = move |cause: String| HostError::AgentBinary {
            path: shown.clone(),
            cause,
        };
        let read = tokio::task::spawn_blocking(move || this.read(path));
        read.await
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(e.to_string()))
    }

    fn read(&self, path: PathBuf) -> std::io::Result<Arc<Loaded>> {
        let meta = std::fs::metadata(&path)?;
        let stamp = (meta.modified()?, meta.len());
        let mut cache = self.cache.lock();
        if let Some((_, _, loaded)) = cache.iter().find(|(p, s, _)| *p == path && *s == stamp) {
            return Ok(loaded.clone());
        }
        let bytes = Bytes::from(std::fs::read(&path)?);
        let loaded = Arc::new(Loaded {
            binary: Binary::of(&bytes),
            arch: arch_of(&bytes),
            bytes,
        });
        cache.retain(|(p, _, _)| *p != path);
        cache.push((path, stamp, loaded.clone()));
        Ok(loaded)
    }
}

/// From the ELF header; what is not ELF (a script in a test) is taken to run here.
fn arch_of(bytes: &[u8]) -> &'static str {
    match (bytes.get(..4), bytes.get(18..20)) {
        (Some(b"\x7fELF"), Some([0x3e, 0])) => "x86_64",
        (Some(b"\x7fELF"), Some([0xb7, 0])) => "aarch64",
        _ => std::env::consts::ARCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn read_again_only_when_changed_and_by_architecture() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let agent = AgentBinary::at(path.clone());
        let error = agent.load("x86_64").await.unwrap_err();
        assert!(error.to_string().contains(VARIABLE), "{error}");
        std::fs::write(&path, b"one").unwrap();
        let first = agent.load("x86_64").await.unwrap();
        assert!(Arc::ptr_eq(&first, &agent.load("x86_64").await.unwrap()));
        std::fs::write(&path, b"other").unwrap();
        assert_ne!(agent.load("x86_64").await.unwrap().binary, first.binary);
        let mut elf = vec![0_u8; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[18] = 0xb7;
        std::fs::write(dir.path().join("dstack-agent-aarch64"), elf).unwrap();
        assert_eq!(agent.load("aarch64").await.unwrap().arch, "aarch64");
    }
}
