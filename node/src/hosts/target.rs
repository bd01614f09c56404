//! From an instance's record to what is needed to log in.

use super::failure::{Address, HostError};
use super::ssh::Target;
use crate::sealing::Sealer;
use dstack_domain::model::{Instance, Sealed};
use dstack_domain::state::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The host's own key when the user gave one, else the project's.
pub fn target(state: &State, instance: &Instance, sealer: &Sealer) -> Result<Target, HostError> {
    let remote = instance.remote.as_ref().ok_or(HostError::Gone)?;
    let project = state
        .project(instance.project_id)
        .map(|project| &project.ssh_private_key);
    let own = remote.identity.as_ref().or(project);
    let proxy = match &remote.proxy_jump {
        None => None,
        Some(proxy) => Some(Box::new(Target {
            at: Address {
                user: proxy.user.clone(),
                hostname: proxy.hostname.clone(),
                port: proxy.port,
            },
            key: open(sealer, proxy.identity.as_ref().or(own))?,
            host_key: None,
            proxy: None,
        })),
    };
    Ok(Target {
        at: Address {
            user: remote.user.clone(),
            hostname: remote.hostname.clone(),
            port: remote.port,
        },
        key: open(sealer, own)?,
        host_key: instance.host_key.clone(),
        proxy,
    })
}

fn open(
    sealer: &Sealer,
    sealed: Option<&Sealed>,
) -> Result<Option<Arc<Zeroizing<String>>>, HostError> {
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    let key = sealer
        .open(sealed)
        .map_err(|error| HostError::Sealed(error.to_string()))?;
    Ok(Some(Arc::new(Zeroizing::new(key))))
}

/// The fleet's environment: jobs get it from the server, the agent itself on its host.
pub fn fleet_env(state: &State, instance: &Instance) -> BTreeMap<String, String> {
    state
        .fleet(instance.fleet_id)
        .map(|fleet| fleet.spec.configuration.env.values())
        .unwrap_or_default()
}
