//! Why a host could not be used, in words that say what to do. Kept apart by cause, because what helps differs.

use std::fmt;
use thiserror::Error;

/// `user@host:port`, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub user: String,
    pub hostname: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.hostname, self.port)
    }
}

#[derive(Debug, Clone, Error)]
pub enum HostError {
    #[error(
        "the name {hostname:?} does not resolve ({cause}); check `hostname` and the DNS of the servers"
    )]
    Dns { hostname: String, cause: String },
    #[error("{at} refuses connections on port {}; check that sshd runs there and `port` is right", .at.port)]
    Refused { at: Address },
    #[error(
        "{at} did not answer within {seconds} s; check the address, the firewall, and that the host is up"
    )]
    TimedOut { at: Address, seconds: u64 },
    #[error("{at} cannot be reached: {cause}")]
    Unreachable { at: Address, cause: String },
    #[error("what answers at {at} does not speak SSH as we do: {cause}")]
    Handshake { at: Address, cause: String },
    #[error(
        "the private key for {at} cannot be used: {cause}; it must be an RSA, ECDSA or Ed25519 key without passphrase"
    )]
    BadKey { at: Address, cause: String },
    #[error(
        "{at} refused user {:?} with the key {fingerprint}; add its public part to ~/.ssh/authorized_keys of that user, or correct `user` and `identity_file`",
        .at.user
    )]
    Auth { at: Address, fingerprint: String },
    #[error("no private key is known for {at}; set `identity_file` in the fleet's `ssh_config`")]
    NoKey { at: Address },
    #[error(
        "the host key of {at} has changed: {expected} was recorded, {found} was shown. Somebody may be in between, or the host was reinstalled; if it was, remove the host from the fleet and add it again"
    )]
    HostKeyChanged {
        at: Address,
        expected: String,
        found: String,
    },
    #[error("through the proxy jump: {0}")]
    Proxy(Box<HostError>),
    #[error(
        "the proxy jump {proxy} cannot open a connection to {hostname}:{port}: {cause}; check the address as seen from there, and AllowTcpForwarding in its sshd_config"
    )]
    Jump {
        proxy: Address,
        hostname: String,
        port: u16,
        cause: String,
    },
    #[error("the connection to {at} was lost: {cause}")]
    Lost { at: Address, cause: String },
    #[error(
        "{at} has no room for the agent: {said}; free some disk space, or set DSTACK_AGENT_HOME on the host to a folder on another disk"
    )]
    NoSpace { at: Address, said: String },
    #[error("the agent could not be {step} on {at}: {said}")]
    Bootstrap {
        at: Address,
        step: &'static str,
        said: String,
    },
    #[error("{at}: {cause}")]
    Unsuitable {
        at: Address,
        cause: dstack_deploy::agent::ProbeError,
    },
    #[error(
        "the agent binary {path} cannot be read ({cause}); build it (`make build`) or set DSTACK_AGENT_BINARY"
    )]
    AgentBinary { path: String, cause: String },
    #[error(
        "{at} does not let us reach the agent's socket: {cause}; check AllowStreamLocalForwarding in its sshd_config, and whether the agent runs"
    )]
    Socket { at: Address, cause: String },
    #[error("the agent on {at} does not answer: {cause}")]
    Agent { at: Address, cause: String },
    #[error("the agent on {at} obeys a newer leader (epoch {seen}, ours is {ours})")]
    Superseded { at: Address, seen: u64, ours: u64 },
    #[error("a sealed key or secret of this host cannot be opened: {0}")]
    Sealed(String),
    #[error("the host is no longer in the records")]
    Gone,
}

/// The end of what a program said, on one line: enough to know, little enough for a table.
pub fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(4)..].join("; ");
    let skip = last.chars().count().saturating_sub(400);
    last.chars()
        .skip(skip)
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_short_and_printable() {
        assert_eq!(
            tail(b"one\n\n two \r\n\x1b[31mthree\x1b[0m\n"),
            "one; two; [31mthree[0m"
        );
        assert_eq!(tail("x".repeat(5000).as_bytes()).len(), 400);
        assert_eq!(tail(b""), "");
    }

    #[test]
    fn messages_say_what_to_do() {
        let at = Address {
            user: "ubuntu".into(),
            hostname: "h1".into(),
            port: 22,
        };
        let error = HostError::Auth {
            at,
            fingerprint: "SHA256:abc".into(),
        };
        let text = error.to_string();
        assert!(
            text.contains("\"ubuntu\"")
                && text.contains("SHA256:abc")
                && text.contains("authorized_keys"),
            "{text}"
        );
    }
}
