//! What the runner tells its SSH server, and what it hears back.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SSH_PORT;
use crate::runner::user::Identity;

/// Everything the server has to know; it has secrets in it and travels through a pipe.
#[derive(Clone, Serialize, Deserialize)]
pub struct Plan {
    pub listen: Listen,
    /// Public keys in OpenSSH's form.
    pub authorized_keys: Vec<String>,
    /// Who sessions run as.
    pub user: Identity,
    /// Who they run as when the client logs in as `root`; absent where that is not for clients to choose.
    pub root: Option<Identity>,
    /// The job's environment.
    pub env: BTreeMap<String, String>,
    pub working_dir: PathBuf,
    /// Set where the file system is the host's and the server has more rights than the job: sockets by path are
    /// then out of reach.
    pub confined: bool,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listen {
    /// The job has a network of its own, and somebody publishes the port.
    Everywhere,
    /// The job shares the host's network: on loopback, for those who came through the host, at another port when
    /// the usual one is taken; and for the other nodes of the job at this address.
    Host { node: Option<IpAddr> },
}

impl Listen {
    /// The listeners; the first is the one clients are told about.
    pub fn bind(self) -> std::io::Result<Vec<TcpListener>> {
        let at = |ip: IpAddr, port: u16| TcpListener::bind(SocketAddr::new(ip, port));
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        match self {
            Self::Everywhere => Ok(vec![at(Ipv4Addr::UNSPECIFIED.into(), SSH_PORT)?]),
            Self::Host { node } => {
                let first = at(loopback, SSH_PORT).or_else(|_| at(loopback, 0))?;
                // A node without it still runs; mpirun will say that it cannot connect.
                let other = node
                    .filter(|ip| *ip != loopback)
                    .and_then(|ip| at(ip, SSH_PORT).ok());
                Ok(std::iter::once(first).chain(other).collect())
            }
        }
    }
}

/// The first line the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub port: u16,
}
