//! What a replica is told when it starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::StartError;
use crate::tls;

/// Milliseconds. A follower waits `election_max` plus a random time between the election bounds
/// after the last heartbeat before it stands, so the usual pause after a killed leader is about
/// `election_max + (election_min + election_max) / 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    pub heartbeat: u64,
    pub election_min: u64,
    pub election_max: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            heartbeat: 100,
            election_min: 300,
            election_max: 500,
        }
    }
}

/// When snapshots are taken and how much log stays behind them, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    pub every: u64,
    pub keep: u64,
    /// A follower this far behind gets a snapshot instead of entries.
    pub lag: u64,
    pub purge_batch: u64,
}

impl Default for SnapshotRules {
    fn default() -> Self {
        SnapshotRules {
            every: 20_000,
            keep: 10_000,
            lag: 20_000,
            purge_batch: 256,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    pub node_name: String,
    /// Where this replica listens for its peers.
    pub listen: SocketAddr,
    /// `host:port` at which peers reach that listener.
    pub advertise: String,
    /// The initial cluster as `(name, host:port)`, the same on every replica of it. Empty: a single
    /// voter that can grow later. Ignored by a replica that has an identity.
    pub initial: Vec<(String, String)>,
    /// Peers `(name, host:port)` of a cluster to join. This replica waits until it was added there.
    pub join: Vec<(String, String)>,
    pub tls: tls::Identity,
    pub timings: Timings,
    pub snapshots: SnapshotRules,
    /// Dials these addresses instead of the advertised ones, by peer name: the hook by which tests
    /// and chaos put a proxy into every link between replicas.
    pub dial: BTreeMap<String, String>,
    /// Proposals that may be in flight; further ones are answered `Busy`.
    pub max_in_flight: usize,
}

impl Options {
    /// A single voter with the usual settings.
    pub fn new(data_dir: PathBuf, node_name: &str, listen: SocketAddr, tls: tls::Identity) -> Self {
        Options {
            data_dir,
            node_name: node_name.to_owned(),
            listen,
            advertise: listen.to_string(),
            initial: Vec::new(),
            join: Vec::new(),
            tls,
            timings: Timings::default(),
            snapshots: SnapshotRules::default(),
            dial: BTreeMap::new(),
            max_in_flight: 2000,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        tls::check_name(&self.node_name)?;
        let refuse = |reason: String| Err(StartError::Options(reason));
        if !self.initial.is_empty() && !self.join.is_empty() {
            return refuse(
                "a replica either forms an initial cluster or joins one, not both".to_owned(),
            );
        }
        let mut names: Vec<&str> = self.initial.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return refuse(format!("the initial cluster names {} twice", twice[0]));
        }
        if names.len() > crate::formation::MAX_INITIAL {
            return refuse(format!(
                "the initial cluster has more than {} members",
                crate::formation::MAX_INITIAL
            ));
        }
        if !names.is_empty() && !names.contains(&self.node_name.as_str()) {
            return refuse(format!(
                "this replica is {:?}, which is not in the initial cluster {}; name it there or correct the node name",
                self.node_name,
                names.join(", ")
            ));
        }
        let t = self.timings;
        if t.heartbeat == 0 || t.election_min < 3 * t.heartbeat || t.election_max <= t.election_min
        {
            return refuse(format!(
                "timings {}/{}/{} ms: the shortest election timeout must be at least three heartbeats and below the longest",
                t.heartbeat, t.election_min, t.election_max
            ));
        }
        let subject = self.tls.subject()?;
        if subject.node_name != self.node_name {
            return refuse(format!(
                "the certificate is for {:?}, this replica is {:?}; issue it one of its own",
                subject.node_name, self.node_name
            ));
        }
        Ok(())
    }
}

/// Reads `name=host:port,name=host:port`, the form of `--initial-cluster` and of dial overrides.
pub fn parse_members(text: &str) -> Result<Vec<(String, String)>, StartError> {
    let mut members = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let good = part.split_once('=').filter(|(name, addr)| {
            tls::check_name(name).is_ok()
                && addr
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        });
        let Some((name, addr)) = good else {
            return Err(StartError::Options(format!(
                "{part:?} is not of the form name=host:port"
            )));
        };
        members.push((name.to_owned(), addr.to_owned()));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_lists_are_read_or_refused_with_the_part_that_is_wrong() {
        let members = parse_members("a=10.0.0.1:7000, b=host:7000,").unwrap();
        assert_eq!(
            members,
            vec![
                ("a".into(), "10.0.0.1:7000".into()),
                ("b".into(), "host:7000".into())
            ]
        );
        for bad in ["a", "a=", "a=host", "a=:1", "A=h:1", "a=h:99999"] {
            let said = parse_members(bad).unwrap_err().to_string();
            assert!(said.contains(bad), "{said}");
        }
    }
}
