//! A real OpenSSH server of the current user: own port on loopback, own keys, own folder, own agent home.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Sshd {
    pub dir: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Sshd {
    pub fn start() -> Self {
        Self::with("")
    }

    /// `extra` is added to the configuration.
    pub fn with(extra: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sshd").tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut sshd = Self {
            dir,
            port,
            child: None,
        };
        sshd.new_host_key();
        sshd.key("user", "ed25519", &[]);
        std::fs::copy(sshd.path("user.pub"), sshd.path("authorized_keys")).unwrap();
        let root = sshd.dir.path().display();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nPidFile none\nAuthorizedKeysFile {root}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             AllowStreamLocalForwarding yes\nAllowTcpForwarding yes\nSetEnv DSTACK_AGENT_HOME={root}/agent\n{extra}\n"
        );
        std::fs::write(sshd.path("sshd_config"), text).unwrap();
        sshd.up();
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn agent_home(&self) -> PathBuf {
        self.path("agent")
    }

    /// Makes a key pair, and lets it log in when asked by the caller (see [`Sshd::authorize`]).
    pub fn key(&self, name: &str, kind: &str, more: &[&str]) -> String {
        let path = self.path(name);
        keygen(&path, kind, more);
        std::fs::read_to_string(path).unwrap()
    }

    pub fn authorize(&self, name: &str) {
        let mut all = std::fs::read_to_string(self.path("authorized_keys")).unwrap();
        all.push_str(&std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap());
        std::fs::write(self.path("authorized_keys"), all).unwrap();
    }

    pub fn user_key(&self) -> String {
        std::fs::read_to_string(self.path("user")).unwrap()
    }

    pub fn new_host_key(&self) {
        let path = self.path("host");
        let _ = std::fs::remove_file(&path);
        keygen(&path, "ed25519", &[]);
    }

    pub fn up(&mut self) {
        // Where sshd of root wants an empty folder; others do without.
        let _ = std::fs::create_dir_all("/run/sshd");
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(self.path("sshd_config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd is needed for these tests: apt-get install openssh-server");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = child.try_wait().unwrap();
            let said = || std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(ended.is_none(), "sshd ended: {}", said());
            assert!(
                Instant::now() < deadline,
                "sshd does not listen: {}",
                said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    /// Ends the listener and every session it has open.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Sessions are children of the listener; a SIGKILL of the parent alone would leave them.
            let _ = Command::new("pkill")
                .args(["-KILL", "-P", &child.id().to_string()])
                .status();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for name in ["supervisor.pid", "agent.pid"] {
            if let Ok(pid) = std::fs::read_to_string(self.agent_home().join(name)) {
                let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
            }
        }
        self.down();
    }
}

fn keygen(path: &Path, kind: &str, more: &[&str]) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-f"])
        .arg(path)
        .args(more)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
}

pub fn me() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout)
        .unwrap()
        .trim()
        .into()
}
