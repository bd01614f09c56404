//! Machines that are real: each that runs has a process tree with an own root folder, its startup script and an sshd on
//! an address of this machine, and is gone with all of that when the cloud ends it.

use crate::server::Shared;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Weak;
use std::time::Duration;
use tokio::time::Instant;

/// How soon a machine follows what the cloud says of it.
const PERIOD: Duration = Duration::from_millis(50);

/// What goes into a machine.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    pub name: String,
    pub address: String,
    pub ssh_key: String,
    pub startup: String,
    pub gpus: u64,
    /// As its driver would say it.
    pub gpu_name: String,
    pub gpu_mib: u64,
    /// Of its partition, in hexadecimal.
    pub pkey: Option<String>,
}

struct Guest {
    address: String,
    child: Child,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The first process of the tree takes all others with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether machines can be real here, and what is missing if not.
pub fn check() -> anyhow::Result<()> {
    let status = Command::new("unshare")
        .args(["--mount", "--uts", "--pid", "--fork", "true"])
        .stderr(Stdio::null())
        .status()
        .context("unshare (of util-linux) is needed for real machines")?;
    if !status.success() {
        bail!(
            "real machines need root: own mounts, names and process trees are refused to this user"
        );
    }
    match Path::new("/usr/sbin/sshd").exists() {
        true => Ok(()),
        false => bail!("real machines need sshd: apt-get install openssh-server"),
    }
}

/// Starts and ends machines as the cloud says, until it is gone. On a thread of its own: a guest dies with the thread
/// that started it, so that none outlives a cloud that was killed.
pub(crate) fn follow(shared: Weak<Shared>, folder: PathBuf) {
    let mut guests: BTreeMap<String, Guest> = BTreeMap::new();
    while let Some(shared) = shared.upgrade() {
        let wanted = shared.running(Instant::now());
        guests.retain(|id, guest| {
            let still = wanted.get(id);
            still.is_some_and(|inside| inside.address == guest.address)
        });
        for (id, inside) in wanted {
            if guests.contains_key(&id) {
                continue;
            }
            match boot(&folder.join(&id), &inside) {
                Ok(guest) => drop(guests.insert(id, guest)),
                Err(error) => eprintln!("{} does not boot: {error:#}", inside.name),
            }
        }
        drop(shared);
        std::thread::sleep(PERIOD);
    }
}

fn boot(folder: &Path, inside: &Inside) -> anyhow::Result<Guest> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let log = folder.with_extension("log");
    let log = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    let child = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
        ])
        .args([
            "--kill-child=KILL",
            "/bin/bash",
            "-c",
            include_str!("guest.sh"),
        ])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("VM", folder)
        .env("NAME", &inside.name)
        .env("ADDRESS", &inside.address)
        .env("SSH_KEY", &inside.ssh_key)
        .env("STARTUP", &inside.startup)
        .env("GPUS", inside.gpus.to_string())
        .env("GPU_NAME", &inside.gpu_name)
        .env("GPU_MIB", inside.gpu_mib.to_string())
        .env("PKEY", inside.pkey.as_deref().unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("its log")?)
        .stderr(log)
        .spawn()
        .context("starting it")?;
    Ok(Guest {
        address: inside.address.clone(),
        child,
    })
}
