//! A real OpenSSH server of the current user on a loopback address of its own: one "host".

use super::ports::free_port;
use super::process::{Process, kill_by_environment};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The variable that tells a host's agent where it lives; also how its processes are found again.
pub const AGENT_HOME: &str = "DSTACK_AGENT_HOME";

/// One host: its sshd, its keys, its agent's folder.
#[derive(Debug)]
pub struct Host {
    /// 127.0.0.x.
    pub address: Ipv4Addr,
    /// The port sshd listens on.
    pub port: u16,
    /// Where the agent and its jobs live.
    pub agent_home: PathBuf,
    folder: PathBuf,
    sshd: Option<Process>,
}

impl Host {
    /// Prepares and starts an sshd that lets in the key whose public half is in `authorized`.
    pub async fn start(
        folder: &Path,
        address: Ipv4Addr,
        port: Option<u16>,
        authorized: &Path,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let agent_home = folder.join("agent");
        let port = match port {
            Some(port) => port,
            None => free_port(address)?,
        };
        let mut host = Self {
            address,
            port,
            agent_home,
            folder: folder.to_owned(),
            sshd: None,
        };
        keygen(&folder.join("host_key"))?;
        std::fs::write(folder.join("sshd_config"), host.config(authorized))
            .context("writing sshd_config")?;
        host.open().await?;
        Ok(host)
    }

    /// Starts sshd (again) and waits until it takes connections.
    pub async fn open(&mut self) -> Result<()> {
        if nix::unistd::geteuid().is_root() {
            // Debian's service unit makes this folder; we start sshd without it.
            std::fs::create_dir_all("/run/sshd").context("creating /run/sshd")?;
        }
        let mut command = Command::new("/usr/sbin/sshd");
        command
            .arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(self.folder.join("sshd_config"));
        self.sshd = Some(Process::start(
            "sshd",
            command,
            &self.folder.join("sshd.log"),
        )?);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((self.address, self.port)).is_err() {
            if Instant::now() > deadline {
                bail!(
                    "sshd on {}:{} does not answer:\n{}",
                    self.address,
                    self.port,
                    self.tail()
                );
            }
            super::pause().await;
        }
        Ok(())
    }

    /// Stops sshd and its open sessions; the agent and its jobs go on, as they would behind a cut wire.
    pub fn close(&mut self) {
        if let Some(sshd) = self.sshd.take() {
            // A session outlives the listener that took it.
            let sessions = children(sshd.pid());
            drop(sshd);
            for session in sessions {
                let _ = kill(session, Signal::SIGKILL); // gone already is as good
            }
        }
    }

    /// Gives the host another key, as a reinstalled machine has.
    pub fn change_host_key(&self) -> Result<()> {
        let key = self.folder.join("host_key");
        std::fs::remove_file(&key)
            .and_then(|()| std::fs::remove_file(key.with_extension("pub")))
            .context("removing the host key")?;
        keygen(&key)
    }

    /// SIGKILLs the agent alone; its jobs go on.
    pub fn kill_agent(&self) -> Result<usize> {
        super::agents::kill_agent(&self.agent_home)
    }

    /// The machine dies: sshd, agent and jobs.
    pub fn power_off(&mut self) -> usize {
        self.close();
        kill_by_environment(AGENT_HOME, &self.agent_home)
    }

    fn config(&self, authorized: &Path) -> String {
        let folder = self.folder.display();
        format!(
            "ListenAddress {address}\nPort {port}\nHostKey {folder}/host_key\nPidFile {folder}/sshd.pid\n\
             AuthorizedKeysFile {authorized} {folder}/guests\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nAllowTcpForwarding yes\n\
             AllowStreamLocalForwarding yes\nMaxSessions 64\nMaxStartups 100\nLogLevel INFO\n\
             SetEnv {AGENT_HOME}={home} DSTACK_AGENT_RUNTIME=process DSTACK_AGENT_AUTHORIZED_KEYS={folder}/guests\n",
            address = self.address,
            port = self.port,
            authorized = authorized.display(),
            home = self.agent_home.display(),
        )
    }

    fn tail(&self) -> String {
        self.sshd.as_ref().map(Process::tail).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// Name of the user whose sshd and jobs these are: the one who runs the lab.
pub fn current_user() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map_or_else(|| "root".to_owned(), |user| user.name)
}

/// Direct children of a process.
fn children(parent: Pid) -> Vec<Pid> {
    let wanted = parent.to_string();
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            // `pid (name) state ppid …`; the name may hold blanks, so look behind its last bracket.
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                let rest = stat
                    .rsplit_once(") ")
                    .map(|(_, rest)| rest)
                    .unwrap_or_default();
                rest.split(' ').nth(1) == Some(&wanted)
            })
        })
        .map(Pid::from_raw)
        .collect()
}

/// Makes an ed25519 key pair at `path` and `path.pub`.
pub fn keygen(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let out = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "dstack-lab", "-f"])
        .arg(path)
        .output()
        .context("running ssh-keygen (Debian package openssh-client)")?;
    if !out.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}
