//! Rules between the keys of fleets, volumes and gateways.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::backend_type::BackendType;
use super::fleet::{FleetConfiguration, SshHost, SshParams};
use super::gateway::{Certificate, GatewayConfiguration};
use super::interpolate::{Reference, references};
use super::spec_error::SpecError;
use super::validate::{Checked, allow, refuse};
use super::volume::{VolumeBackend, VolumeConfiguration};

pub(crate) fn fleet(fleet: &FleetConfiguration) -> Checked {
    match (&fleet.ssh_config, &fleet.nodes) {
        (None, None) => Err(SpecError::new(
            "",
            "a fleet needs `ssh_config` (your own hosts) or `nodes` (machines of a backend)",
        )
        .with_hint("add `ssh_config:` with `user`, `identity_file` and `hosts`, or `nodes: 0..2`")),
        (Some(_), Some(_)) => refuse(
            "nodes",
            "`nodes` and `ssh_config` cannot be used together: hosts are listed, not created",
        ),
        (Some(params), None) => {
            backend_keys(fleet)?;
            ssh(params)?;
            no_references(fleet)
        }
        (None, Some(_)) if !fleet.env.is_empty() => refuse(
            "env",
            "`env` belongs to fleets with `ssh_config`; give variables to the run instead",
        ),
        (None, Some(_)) => Ok(()),
    }
}

fn backend_keys(fleet: &FleetConfiguration) -> Checked {
    let given = [
        ("reservation", fleet.reservation.is_some()),
        ("resources", fleet.resources.is_some()),
        ("backends", fleet.backends.is_some()),
        ("regions", fleet.regions.is_some()),
        ("availability_zones", fleet.availability_zones.is_some()),
        ("instance_types", fleet.instance_types.is_some()),
        ("spot_policy", fleet.spot_policy.is_some()),
        ("retry", fleet.retry.is_some()),
        ("max_price", fleet.max_price.is_some()),
        ("idle_duration", fleet.idle_duration.is_some()),
        ("tags", fleet.tags.is_some()),
        ("backend_options", fleet.backend_options.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(SpecError::new(
            key,
            format!("`{key}` belongs to fleets with `nodes`, not to hosts of your own"),
        )
        .with_hint("remove it")),
        None => Ok(()),
    }
}

fn no_references(fleet: &FleetConfiguration) -> Checked {
    for (name, value) in fleet.env.values() {
        let path = format!("env.{name}");
        let found = references(&value).map_err(|message| SpecError::new(path.clone(), message))?;
        if !found.is_empty() {
            return refuse(
                path,
                "references cannot be used in the variables of a fleet",
            );
        }
    }
    Ok(())
}

fn ssh(params: &SshParams) -> Checked {
    if params.hosts.is_empty() {
        return refuse("ssh_config.hosts", "the list of hosts is empty");
    }
    let mut seen = BTreeSet::new();
    for (index, host) in params.hosts.iter().enumerate() {
        if host.hostname().is_empty() {
            return refuse(
                format!("ssh_config.hosts[{index}]"),
                "a host needs a name or an address",
            );
        }
        let port = match host {
            SshHost::Params(own) => own.port,
            SshHost::Address(_) => None,
        };
        // Several hosts may share an address behind a forwarding gateway, each at its own port.
        if !seen.insert((host.hostname(), port.or(params.port).unwrap_or(22))) {
            return refuse(
                format!("ssh_config.hosts[{index}]"),
                format!("the host `{}` is listed twice", host.hostname()),
            );
        }
    }
    if let Some(network) = &params.network
        && !is_private_network(network)
    {
        let error = SpecError::new(
            "ssh_config.network",
            format!("`{network}` is not a private network"),
        );
        return Err(error.with_hint("write it as `10.0.0.0/16`"));
    }
    internal_addresses(params)
}

fn internal_addresses(params: &SshParams) -> Checked {
    let own = |host: &SshHost| match host {
        SshHost::Params(own) => own.internal_ip.clone(),
        SshHost::Address(_) => None,
    };
    let given: Vec<_> = params.hosts.iter().map(own).collect();
    for (index, address) in given.iter().enumerate() {
        let Some(address) = address else { continue };
        let path = format!("ssh_config.hosts[{index}].internal_ip");
        if params.network.is_some() {
            return refuse(
                path,
                "`internal_ip` cannot stand beside `network`: one of them decides the internal addresses",
            );
        }
        if !address.parse::<Ipv4Addr>().is_ok_and(is_private) {
            return refuse(path, format!("`{address}` is not a private IPv4 address"));
        }
        if given.iter().any(Option::is_none) {
            return refuse(
                path,
                "`internal_ip` is given for some hosts but not for all",
            );
        }
        if given[..index]
            .iter()
            .flatten()
            .any(|earlier| earlier == address)
        {
            return refuse(
                path,
                format!("two hosts have the internal address `{address}`"),
            );
        }
    }
    Ok(())
}

/// RFC 1918 and, so that a cluster can be tried out on one machine, loopback; also the shared space that overlay networks use.
fn is_private(address: Ipv4Addr) -> bool {
    let shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
    address.is_private() || address.is_loopback() || address.is_link_local() || shared
}

fn is_private_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let bits_ok = bits
        .parse::<u8>()
        .is_ok_and(|bits| (8..=32).contains(&bits));
    bits_ok && address.parse::<Ipv4Addr>().is_ok_and(is_private)
}

/// What the server needs before it can connect: the client has put the keys in by then.
pub fn ssh_credentials(params: &SshParams) -> Checked {
    for (index, host) in params
        .resolved_hosts(super::fleet::Blocks::default())
        .iter()
        .enumerate()
    {
        let path = format!("ssh_config.hosts[{index}]");
        if host.user.is_none() {
            let error = SpecError::new(path, format!("no user is given for `{}`", host.hostname));
            return Err(error.with_hint("add `user:` to the host or to `ssh_config`"));
        }
        if host
            .ssh_key
            .as_ref()
            .is_none_or(|key| key.private.is_none())
        {
            let error = SpecError::new(path, format!("no key is given for `{}`", host.hostname));
            return Err(error.with_hint("add `identity_file:` to the host or to `ssh_config`"));
        }
        if host
            .proxy_jump
            .as_ref()
            .is_some_and(|proxy| proxy.ssh_key.is_none())
        {
            return refuse(
                format!("{path}.proxy_jump"),
                "no key is given for the proxy",
            );
        }
    }
    Ok(())
}

pub(crate) fn volume(volume: &VolumeConfiguration) -> Checked {
    let kubernetes = volume.backend == VolumeBackend::Kubernetes;
    let foreign = [
        ("size", volume.size.is_some() && !volume.backend.has_size()),
        (
            "region",
            volume.region.is_some() && !volume.backend.has_region(),
        ),
        (
            "availability_zone",
            volume.availability_zone.is_some() && !volume.backend.has_zone(),
        ),
        ("volume_id", volume.volume_id.is_some() && kubernetes),
        ("claim_name", volume.claim_name.is_some() && !kubernetes),
        (
            "storage_class_name",
            volume.storage_class_name.is_some() && !kubernetes,
        ),
        ("access_modes", volume.access_modes.is_some() && !kubernetes),
        ("read_only", volume.read_only.is_some() && !kubernetes),
    ];
    if let Some((key, _)) = foreign.into_iter().find(|(_, foreign)| *foreign) {
        return refuse(
            key,
            format!("`{key}` is not known to volumes of this backend"),
        );
    }
    let external = volume.external_id().is_some();
    if volume.backend.has_region()
        && !kubernetes
        && volume.region.as_deref().unwrap_or_default().is_empty()
    {
        return refuse("region", "the key `region` is missing");
    }
    if volume.backend.has_size() && volume.size.is_none() && !external {
        let hint = if kubernetes {
            "or `claim_name` to use an existing claim"
        } else {
            "or `volume_id` to use an existing volume"
        };
        return Err(SpecError::new("size", "the key `size` is missing")
            .with_hint(format!("add `size: 100GB`, {hint}")));
    }
    if external
        && volume
            .auto_cleanup_duration
            .is_some_and(|duration| duration.limit().is_some())
    {
        return refuse(
            "auto_cleanup_duration",
            "a volume that was not created here is not deleted here either",
        );
    }
    Ok(())
}

pub(crate) fn gateway(gateway: &GatewayConfiguration) -> Checked {
    let aws = gateway.backend == BackendType::Aws;
    let gcp = gateway.backend == BackendType::Gcp;
    if !(aws
        || gcp
        || matches!(
            gateway.backend,
            BackendType::Azure | BackendType::Kubernetes
        ))
    {
        let error = SpecError::new("backend", format!("`{}` has no gateways", gateway.backend));
        return Err(error.with_advice(
            ["aws", "azure", "gcp", "kubernetes"]
                .map(str::to_owned)
                .to_vec(),
            None,
        ));
    }
    if gateway.instance_type.as_deref() == Some("") {
        return refuse("instance_type", "an instance type cannot be empty");
    }
    if gateway.instance_type.is_some() && gateway.backend == BackendType::Kubernetes {
        return refuse(
            "instance_type",
            "a gateway on Kubernetes has no instance type",
        );
    }
    if let Some(domain) = &gateway.domain {
        let usable = |reference: &Reference| matches!(reference, Reference::ProjectName);
        allow(
            "domain",
            domain,
            "only run.project_name can be used here",
            usable,
        )?;
    }
    certificate(gateway, aws, gcp)
}

fn certificate(gateway: &GatewayConfiguration, aws: bool, gcp: bool) -> Checked {
    let balanced = gateway.load_balancer.is_some();
    if balanced && !aws && !gcp {
        return refuse(
            "load_balancer",
            "a load balancer is available on aws and gcp",
        );
    }
    if !gateway.public_ip && !aws && !gcp {
        return refuse(
            "public_ip",
            "a gateway without a public address is available on aws and gcp",
        );
    }
    match &gateway.certificate {
        Some(Certificate::LetsEncrypt) if !gateway.public_ip => Err(SpecError::new(
            "certificate",
            "Let's Encrypt needs a public address",
        )
        .with_hint("add `certificate: null`")),
        Some(Certificate::LetsEncrypt) if gateway.replicas.unwrap_or(1) > 1 => Err(SpecError::new(
            "replicas",
            "several replicas cannot share a Let's Encrypt certificate",
        )
        .with_hint("add `certificate: null`")),
        Some(Certificate::LetsEncrypt) if balanced => Err(SpecError::new(
            "certificate",
            "a load balancer brings its own certificate",
        )
        .with_hint("add `certificate: null`")),
        Some(Certificate::Acm { .. }) if !aws => {
            refuse("certificate", "`acm` certificates are available on aws")
        }
        Some(Certificate::GcpCm { .. }) if !gcp => {
            refuse("certificate", "`gcp-cm` certificates are available on gcp")
        }
        Some(Certificate::GcpCm { .. }) if !balanced => Err(SpecError::new(
            "certificate",
            "`gcp-cm` needs a load balancer",
        )
        .with_hint("add `load_balancer: {type: alb}`")),
        _ => Ok(()),
    }
}
