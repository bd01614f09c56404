//! Which address of a host its neighbours should use.

use crate::model::{HostFacts, Instance};
use crate::state::State;
use std::net::IpAddr;

/// The host's own `internal_ip`; else its address in the fleet's `network`; else the host name, if it
/// is a loopback address (such hosts are one machine, told apart by nothing else); else an IPv4
/// address in a private network that all hosts of the fleet share; else the host name, if it is an
/// address. IPv6 must be asked for: `ADDRESS:PORT`, as most launchers write it, is wrong with it.
pub fn internal_ip(state: &State, instance: &Instance) -> Option<String> {
    let remote = instance.remote.as_ref()?;
    if let Some(ip) = &remote.internal_ip {
        return Some(ip.clone());
    }
    let own = instance.facts.as_ref().map(addresses).unwrap_or_default();
    let fleet = state.fleet(instance.fleet_id);
    let network = fleet
        .and_then(|fleet| fleet.spec.configuration.ssh_config.as_ref())
        .and_then(|config| config.network.as_deref());
    if let Some(network) = network.and_then(Network::parse) {
        return own
            .iter()
            .find(|address| network.contains(address.ip))
            .map(|address| address.ip.to_string());
    }
    let literal = remote.hostname.parse::<IpAddr>().ok();
    if let Some(ip) = literal.filter(IpAddr::is_loopback) {
        return Some(ip.to_string());
    }
    let others: Vec<Vec<Network>> = state
        .instances_of(instance.fleet_id)
        .filter(|other| other.id != instance.id)
        .filter_map(|other| other.facts.as_ref().map(addresses))
        .collect();
    let shared = own.iter().find(|address| {
        is_private(address.ip) && others.iter().all(|theirs| is_neighbour(address, theirs))
    });
    let named = literal.map(|ip| ip.to_string());
    match shared {
        Some(address) if !others.is_empty() => Some(address.ip.to_string()),
        Some(address) => named.or_else(|| Some(address.ip.to_string())),
        None => named,
    }
}

/// Whether a host with these addresses is in the address's network, as somebody else: an address
/// that two hosts have leads nowhere.
fn is_neighbour(address: &Network, theirs: &[Network]) -> bool {
    theirs.iter().any(|other| address.contains(other.ip))
        && theirs.iter().all(|other| other.ip != address.ip)
}

/// Networks inside a host (of containers, of virtual machines) that look alike on every host.
const INNER: [&str; 9] = [
    "lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxc",
];

/// An address and the network it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    ip: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.trim().parse().ok()?;
        let widest = if ip.is_ipv4() { 32 } else { 128 };
        let usual = if ip.is_ipv4() { 24 } else { 64 };
        Some(Self {
            ip,
            prefix: prefix.unwrap_or(usual).min(widest),
        })
    }

    fn contains(&self, other: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| {
            let shift = bits - u32::from(self.prefix).min(bits);
            shift >= 128 || (a >> shift) == (b >> shift)
        };
        match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

fn addresses(facts: &HostFacts) -> Vec<Network> {
    let outer = facts
        .nics
        .iter()
        .filter(|nic| !INNER.iter().any(|prefix| nic.name.starts_with(prefix)));
    outer
        .flat_map(|nic| nic.addresses.iter())
        .filter_map(|text| Network::parse(text))
        .collect()
}

/// Whether an address may be chosen unasked.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostNic;
    use crate::testing::{Lab, big_host};

    fn host(nics: &[(&str, &str)]) -> HostFacts {
        let nic = |(name, address): &(&str, &str)| HostNic {
            name: (*name).into(),
            addresses: vec![(*address).into()],
            speed_mbps: 1000,
        };
        HostFacts {
            nics: nics.iter().map(nic).collect(),
            ..big_host()
        }
    }

    fn chosen(hosts: &[HostFacts]) -> Vec<Option<String>> {
        let mut lab = Lab::new();
        let fleet = lab.fleet("lab", hosts);
        lab.state
            .instances_of(fleet)
            .map(|instance| internal_ip(&lab.state, instance))
            .collect()
    }

    #[test]
    fn the_shared_network_is_found_among_others() {
        let hosts = [
            host(&[
                ("docker0", "172.17.0.1/16"),
                ("eth0", "192.168.1.5/24"),
                ("ib0", "10.0.0.1/24"),
            ]),
            host(&[
                ("docker0", "172.17.0.1/16"),
                ("eth0", "192.168.2.6/24"),
                ("ib0", "10.0.0.2/24"),
            ]),
        ];
        assert_eq!(
            chosen(&hosts),
            [Some("10.0.0.1".to_owned()), Some("10.0.0.2".to_owned())]
        );
    }

    #[test]
    fn an_address_that_every_host_has_is_nobodys() {
        let hosts = [
            host(&[("bridge", "10.9.0.1/24")]),
            host(&[("bridge", "10.9.0.1/24")]),
        ];
        assert_eq!(chosen(&hosts), [None, None]);
    }

    #[test]
    fn networks_contain_by_prefix() {
        let network = Network::parse("10.0.0.0/16").unwrap();
        assert!(network.contains("10.0.9.9".parse().unwrap()));
        assert!(!network.contains("10.1.0.1".parse().unwrap()));
        assert!(!network.contains("fd00::1".parse().unwrap()));
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
        assert_eq!(Network::parse("10.0.0.0/99").unwrap().prefix, 32);
        assert_eq!(Network::parse("ten"), None);
    }
}
