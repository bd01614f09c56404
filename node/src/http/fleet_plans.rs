//! What applying a fleet would do, and its hosts in the form the log may hold.

use axum::extract::{Path, State};
use dstack_api::http::fleets::{FleetPlan, GetFleetPlan};
use dstack_api::http::runs::ApplyAction;
use dstack_domain::command::HostOrder;
use dstack_domain::decide::growth;
use dstack_domain::model::{ProxyHost, RemoteHost, Sealed};
use dstack_domain::spec::{
    AnyConfiguration, FleetSpec, ResolvedHost, SshKey, SshProxyParams, diff, validate,
    validate_infra,
};

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::Body;
use super::convert;
use super::errors::HttpError;
use crate::context::Context;

/// Offers in a plan; there may be more.
const MOST_OFFERS: usize = 50;
/// Machines that one entry of the log may ask for.
const MOST_NODES: u32 = 1000;

pub async fn get_plan(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<GetFleetPlan>,
) -> Outcome<FleetPlan> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let effective = effective(&request.spec)?;
    check_keys(&request.spec)?;
    check_backends(&scope, &effective)?;
    let state = scope.state();
    let mut offers = Vec::new();
    if effective.configuration.nodes.is_some() {
        let clouds = context.clouds.offers(state, scope.project_id()).await;
        offers = growth::fleet_offers(&effective, &clouds.offers);
    }
    let total_offers = offers.len() as u64;
    let max_offer_price = offers.iter().map(|offer| offer.price).reduce(f64::max);
    offers.truncate(MOST_OFFERS);
    let name = effective.configuration.name.as_deref();
    let existing = name.and_then(|name| state.fleet_by_name(scope.project_id(), name));
    let fits =
        existing.is_some_and(|fleet| diff::fleet_update(&fleet.spec, &effective).is_possible());
    let plan = FleetPlan {
        project_name: scope.project.name.clone(),
        user: scope.user().username.clone(),
        spec: request.spec,
        current_resource: existing.map(|fleet| convert::fleet(state, fleet)),
        effective_spec: Some(effective),
        offers,
        total_offers,
        max_offer_price,
        action: Some(if fits {
            ApplyAction::Update
        } else {
            ApplyAction::Create
        }),
    };
    Ok(Answer::new(plan, scope.view.revision))
}

/// Checked, and without private keys: what is stored, shown and compared.
pub fn effective(spec: &FleetSpec) -> Result<FleetSpec, HttpError> {
    let configuration = AnyConfiguration::Fleet(Box::new(spec.configuration.clone()));
    validate::configuration(&configuration)
        .map_err(|error| HttpError::refused(error.one_line()))?;
    Ok(spec.without_keys())
}

/// Whether anybody here could make the fleet's machines.
pub fn check_backends(scope: &Scope, spec: &FleetSpec) -> Result<(), HttpError> {
    let configuration = &spec.configuration;
    let Some(nodes) = configuration.nodes else {
        return Ok(());
    };
    let first = nodes.target.max(nodes.min);
    if first > MOST_NODES {
        return Err(HttpError::refused(format!(
            "`nodes` asks for {first} machines at once, the most is {MOST_NODES}"
        )));
    }
    let known: Vec<&str> = scope
        .state()
        .backends_of(scope.project_id())
        .map(|backend| backend.kind.as_str())
        .collect();
    if known.is_empty() {
        return Err(HttpError::refused(
            "This project has no backend to create machines with. Set one with `dstack backend set -f FILE`, or list hosts under `ssh_config` instead of `nodes`.",
        ));
    }
    let wanted = spec.merged_profile();
    if let Some(reservation) = &wanted.reservation {
        return Err(HttpError::refused(format!(
            "`reservation: {reservation}` cannot be used: no backend of this project ({}) takes reservations. Leave it out.",
            known.join(", ")
        )));
    }
    match wanted.backends {
        Some(wanted) if !wanted.iter().any(|kind| known.contains(&kind.as_str())) => {
            Err(HttpError::refused(format!(
                "None of the fleet's `backends` is set up in this project, which has: {}",
                known.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

fn hosts(spec: &FleetSpec) -> Vec<ResolvedHost> {
    let params = spec.configuration.ssh_config.as_ref();
    params
        .map(|params| params.resolved_hosts(spec.configuration.blocks))
        .unwrap_or_default()
}

/// Every host has a user and a key that can be used without asking anybody.
fn check_keys(spec: &FleetSpec) -> Result<(), HttpError> {
    if let Some(params) = &spec.configuration.ssh_config {
        validate_infra::ssh_credentials(params)
            .map_err(|error| HttpError::refused(error.one_line()))?;
    }
    for host in hosts(spec) {
        if let Some(key) = &host.ssh_key {
            check_key(key, &host.hostname)?;
        }
        if let Some(proxy) = &host.proxy_jump
            && let Some(key) = &proxy.ssh_key
        {
            check_key(key, &proxy.hostname)?;
        }
    }
    Ok(())
}

fn check_key(key: &SshKey, host: &str) -> Result<(), HttpError> {
    let Some(private) = &key.private else {
        return Err(HttpError::refused(format!(
            "The private key for host {host} is missing"
        )));
    };
    // The parser's own words are left out: they may quote the key.
    match russh::keys::decode_secret_key(private, None) {
        Ok(_) => Ok(()),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(HttpError::refused(format!(
            "The private key for host {host} has a passphrase. Use a key without one, or remove it with `ssh-keygen -p`."
        ))),
        Err(_) => Err(HttpError::refused(format!(
            "The private key for host {host} cannot be read. Use an RSA, ECDSA or Ed25519 key in OpenSSH or PEM form."
        ))),
    }
}

/// The hosts with their keys sealed: nothing else may enter the log.
pub fn orders(context: &Context, spec: &FleetSpec) -> Result<Vec<HostOrder>, HttpError> {
    check_keys(spec)?;
    hosts(spec)
        .into_iter()
        .map(|host| order(context, host))
        .collect()
}

fn order(context: &Context, host: ResolvedHost) -> Result<HostOrder, HttpError> {
    let public = host.ssh_key.as_ref().map(|key| key.public.clone());
    let remote = RemoteHost {
        identity: sealed(context, host.ssh_key.as_ref())?,
        identity_public: public,
        proxy_jump: host
            .proxy_jump
            .map(|proxy| jump(context, proxy))
            .transpose()?,
        hostname: host.hostname,
        port: host.port,
        user: host.user.unwrap_or_default(),
        internal_ip: host.internal_ip,
    };
    Ok(HostOrder {
        remote,
        blocks: host.blocks,
    })
}

fn jump(context: &Context, proxy: SshProxyParams) -> Result<ProxyHost, HttpError> {
    Ok(ProxyHost {
        identity: sealed(context, proxy.ssh_key.as_ref())?,
        hostname: proxy.hostname,
        port: proxy.port.unwrap_or(22),
        user: proxy.user,
    })
}

fn sealed(context: &Context, key: Option<&SshKey>) -> Result<Option<Sealed>, HttpError> {
    let private = key.and_then(|key| key.private.as_deref());
    private
        .map(|private| {
            context
                .sealer
                .seal(private)
                .map_err(|error| HttpError::internal("seal a host's key", &error))
        })
        .transpose()
}
