//! The server folder and the secrets in it: who this replica is, and the key it seals with.
//!
//! A single voter makes its own on the first start. The replicas of a cluster get theirs from `init-ca`,
//! because they must share an authority and a cluster key.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dstack_raft::tls::{Ca, Identity, TlsError};

use crate::args::InitCa;
use crate::failure::{Failure, Kind};
use crate::sealing::{self, KEY_FILE, SealError, Sealer};
use crate::settings::Settings;

/// Held as long as the process uses the folder.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Makes the folder when it is missing, and takes it for this process.
pub fn open_dir(dir: &Path) -> Result<DirLock, Failure> {
    let cannot = |source: io::Error| {
        Failure::new(
            Kind::Data,
            format!("cannot use the server folder {}", dir.display()),
        )
        .source(source)
        .hint("name another folder with --server-dir, or correct its owner and permissions")
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(cannot)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Kind::Data,
            format!(
                "the server folder {} is in use by another dstack server",
                dir.display()
            ),
        )
        .hint("stop that one first, or give this one its own folder with --server-dir")),
        Err(TryLockError::Error(source)) => Err(cannot(source)),
    }
}

/// Reads the replica's certificate and the cluster key; a single voter without any makes them.
pub fn load(settings: &Settings) -> Result<(Identity, Sealer), Failure> {
    let own = settings.dir.join("tls");
    let dir = settings.tls_dir.clone().unwrap_or_else(|| own.clone());
    let alone = settings.initial.is_empty() && settings.join.is_empty();
    if alone && settings.tls_dir.is_none() && !dir.join("node.pem").exists() {
        create_own(&dir, &settings.node_name).map_err(|source| {
            Failure::new(
                Kind::Credentials,
                format!("cannot make the replica's keys in {}", dir.display()),
            )
            .source(source)
        })?;
    }
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| {
        Failure::new(
            Kind::Credentials,
            format!("cannot use the replica's keys in {}", dir.display()),
        )
        .source(source)
        .hint(
            "make them with `dstack-server init-ca` and name this replica's folder with --tls-dir",
        )
    };
    let identity = Identity::load(&dir).map_err(|error| refused(error.into()))?;
    let sealer = Sealer::load(&dir.join(KEY_FILE)).map_err(|error| refused(error.into()))?;
    Ok((identity, sealer))
}

/// Why credentials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Key(#[from] SealError),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

fn create_own(dir: &Path, node: &str) -> Result<(), CreateError> {
    // The authority is kept beside the replica, so that the cluster can grow later.
    let ca = if dir.join("ca.key").exists() {
        Ca::load(dir)?
    } else {
        new_ca(dir, "dstack")?
    };
    let key = dir.join(KEY_FILE);
    if !key.exists() {
        write_private(&key, &sealing::generate_key()?)?;
    }
    // Last, because its presence says that all is there.
    ca.issue(node, &[])?.save(dir)?;
    Ok(())
}

fn new_ca(dir: &Path, cluster: &str) -> Result<Ca, CreateError> {
    let ca = Ca::create(cluster)?;
    ca.save(dir)?;
    Ok(ca)
}

/// `dstack-server init-ca`: a folder for each replica. What is there already is kept, so it can be repeated
/// with more names to let a cluster grow.
pub fn init_ca(args: &InitCa) -> Result<Vec<PathBuf>, Failure> {
    let failed = |source: CreateError| {
        Failure::new(
            Kind::Credentials,
            format!("cannot make the cluster's keys in {}", args.dir.display()),
        )
        .source(source)
    };
    for name in &args.nodes {
        dstack_raft::tls::check_name(name)
            .map_err(|error| Failure::new(Kind::Usage, format!("--nodes: {error}")))?;
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.dir)
        .map_err(|source| {
            failed(CreateError::Write {
                path: args.dir.clone(),
                source,
            })
        })?;
    create_cluster(args).map_err(failed)
}

fn create_cluster(args: &InitCa) -> Result<Vec<PathBuf>, CreateError> {
    let dir = &args.dir;
    let ca = if dir.join("ca.key").exists() {
        Ca::load(dir)?
    } else {
        new_ca(dir, &args.cluster)?
    };
    let key_file = dir.join(KEY_FILE);
    if !key_file.exists() {
        write_private(&key_file, &sealing::generate_key()?)?;
    }
    let read = |source| CreateError::Write {
        path: key_file.clone(),
        source,
    };
    let key = zeroize::Zeroizing::new(fs::read_to_string(&key_file).map_err(read)?);
    let mut made = Vec::new();
    for name in &args.nodes {
        let own = dir.join(name);
        if own.join("node.pem").exists() {
            continue;
        }
        ca.issue(name, &[])?.save(&own)?;
        write_private(&own.join(KEY_FILE), &key)?;
        made.push(own);
    }
    Ok(made)
}

fn write_private(path: &Path, text: &str) -> Result<(), CreateError> {
    let failed = |source| CreateError::Write {
        path: path.to_owned(),
        source,
    };
    let temporary = path.with_extension("tmp");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_a_cluster_share_the_authority_and_the_key_but_not_the_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = InitCa {
            dir: dir.path().join("keys"),
            nodes: vec!["a".into(), "b".into()],
            cluster: "lab".into(),
        };
        assert_eq!(init_ca(&args).unwrap().len(), 2);
        let text = |path: &str| fs::read_to_string(args.dir.join(path)).unwrap();
        assert_eq!(text("a/ca.pem"), text("b/ca.pem"));
        assert_eq!(text("a/cluster.key"), text("b/cluster.key"));
        assert_ne!(text("a/node.pem"), text("b/node.pem"));
        let before = text("a/node.pem");
        args.nodes.push("c".into());
        assert_eq!(init_ca(&args).unwrap(), [args.dir.join("c")]);
        let text = |path: &str| fs::read_to_string(args.dir.join(path)).unwrap();
        assert_eq!(text("a/node.pem"), before);
        assert_eq!(text("c/cluster.key"), text("a/cluster.key"));
    }

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = open_dir(dir.path()).unwrap();
        let refused = open_dir(dir.path()).unwrap_err();
        assert!(refused.message.contains("in use"), "{}", refused.message);
        drop(held);
        open_dir(dir.path()).unwrap();
    }
}
