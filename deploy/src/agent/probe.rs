//! The answer of the probe script, and what it may refuse.

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probe {
    pub kernel: String,
    pub arch: String,
    pub user: String,
    pub uid: u32,
    /// Where the agent lives, or will live.
    pub home: String,
    pub explicit_home: bool,
    pub systemd: bool,
    pub sudo: bool,
    /// Short checksums of agent binaries already there.
    pub installed: Vec<String>,
    /// Short checksum of the agent that runs now.
    pub running: Option<String>,
    /// Room left where the agent lives, when the host could tell.
    pub free_kib: Option<u64>,
}

#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ProbeError {
    #[error(
        "the host did not answer the first command as a POSIX shell would; check that the user may run commands over SSH. It said: {0:?}"
    )]
    Unreadable(String),
    #[error("the host runs {0}, but the agent needs Linux")]
    Kernel(String),
    #[error(
        "the host is {host}, but the agent binary beside this server is for {ours}; set DSTACK_AGENT_BINARY to one built for {host}"
    )]
    Arch { host: String, ours: String },
    #[error(
        "the agent's home {0:?} cannot be used: it may have 90 characters at most, and only letters, digits and / . _ - + @. Set DSTACK_AGENT_HOME on the host, or in the fleet's env, to another folder"
    )]
    Home(String),
}

/// A unix socket's path may have 107 bytes, and the agent's is in its home.
const MAX_HOME: usize = 90;
const MARK: &str = "dstack-probe=1";

impl Probe {
    /// Login scripts may print before the probe does; only what follows the mark counts.
    pub fn parse(output: &str) -> Result<Self, ProbeError> {
        let unreadable = || ProbeError::Unreadable(tail(output, 200));
        let (_, body) = output.split_once(MARK).ok_or_else(unreadable)?;
        let mut probe = Self::default();
        for (key, value) in body.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim();
            match key {
                "kernel" => probe.kernel = value.into(),
                "arch" => probe.arch = value.into(),
                "user" => probe.user = value.into(),
                "uid" => probe.uid = value.parse().map_err(|_| unreadable())?,
                "home" => probe.home = value.into(),
                "explicit_home" => probe.explicit_home = value == "1",
                "systemd" => probe.systemd = value == "1",
                "sudo" => probe.sudo = value == "1",
                "installed" => probe.installed.push(value.into()),
                "running" if !value.is_empty() => probe.running = Some(value.into()),
                "free_kib" => probe.free_kib = value.parse().ok(),
                _ => {}
            }
        }
        if probe.kernel.is_empty() || probe.user.is_empty() || probe.user.contains('\'') {
            return Err(unreadable());
        }
        // The path is written into shell files and a systemd unit; one narrow alphabet is safe in all of them.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        let length = 2..=MAX_HOME;
        if !probe.home.starts_with('/')
            || !length.contains(&probe.home.len())
            || !probe.home.chars().all(plain)
        {
            return Err(ProbeError::Home(probe.home));
        }
        Ok(probe)
    }

    /// Whether our binary can run there. `arch` as `uname -m` says it on this machine.
    pub fn check(&self, arch: &str) -> Result<(), ProbeError> {
        if self.kernel != "Linux" {
            return Err(ProbeError::Kernel(self.kernel.clone()));
        }
        if canonical(&self.arch) != canonical(arch) {
            return Err(ProbeError::Arch {
                host: self.arch.clone(),
                ours: arch.into(),
            });
        }
        Ok(())
    }
}

fn canonical(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

fn tail(text: &str, limit: usize) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(limit);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_before_the_mark_are_ignored() {
        let text = "Welcome!\nuid=77\ndstack-probe=1\nkernel=Linux\narch=x86_64\nuser=me\nuid=1000\nhome=/h/.dstack-agent\n\
                    explicit_home=0\nsystemd=1\nsudo=0\ninstalled=abc\ninstalled=def\nrunning=\nfree_kib=12\n";
        let probe = Probe::parse(text).unwrap();
        assert_eq!(
            (probe.uid, probe.running.clone(), probe.free_kib),
            (1000, None, Some(12))
        );
        assert_eq!(probe.installed, ["abc", "def"]);
        assert!(probe.check("amd64").is_ok());
        assert!(
            probe
                .check("aarch64")
                .unwrap_err()
                .to_string()
                .contains("DSTACK_AGENT_BINARY")
        );
    }

    #[test]
    fn a_restricted_shell_is_said_so() {
        let error = Probe::parse("This account is currently not available.").unwrap_err();
        assert!(error.to_string().contains("not available"));
        assert!(Probe::parse("dstack-probe=1\nuid=x\n").is_err());
    }
}
