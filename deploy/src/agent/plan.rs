//! What will be done on a host, decided from what the probe saw.

use super::probe::Probe;
use sha2::{Digest, Sha256};

/// The agent binary, known by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    pub sha256: String,
    pub size: u64,
}

impl Binary {
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: hex::encode(Sha256::digest(bytes)),
            size: bytes.len() as u64,
        }
    }

    /// Enough of the checksum to name a file by.
    pub fn short(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }
}

/// What keeps the agent alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Systemd,
    /// A small loop of our own in its own session: hosts without systemd, and homes that were named explicitly.
    Supervised,
}

impl Mode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Supervised => "supervised",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub home: String,
    pub mode: Mode,
    /// Scripts after the probe run through `sudo -n`.
    pub sudo: bool,
    /// The login user: the agent's socket must be open to it, because sshd connects to it as that user.
    pub user: String,
}

impl Plan {
    pub fn of(probe: &Probe) -> Self {
        let privileged = probe.uid == 0 || probe.sudo;
        let systemd = privileged && probe.systemd && !probe.explicit_home;
        Self {
            home: probe.home.clone(),
            mode: if systemd {
                Mode::Systemd
            } else {
                Mode::Supervised
            },
            sudo: probe.sudo && probe.uid != 0 && !probe.explicit_home,
            user: probe.user.clone(),
        }
    }

    pub fn socket(&self) -> String {
        format!("{}/{}", self.home, super::SOCKET_NAME)
    }
}
