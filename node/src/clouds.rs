//! Clouds that projects may use: one client for each configuration, and what they offer, for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dstack_api::http::backends::{CrusoeBackend, CrusoeCreds};
use dstack_backends::crusoe::{AccessKey, Account, Catalogue, Client, Crusoe, Owner};
use dstack_backends::{Backend as _, Outcome};
use dstack_domain::command::{Found, SetBackend};
use dstack_domain::facts::CloudOffers;
use dstack_domain::ids::{ClusterId, ProjectId};
use dstack_domain::model::{Backend, InstanceOffer};
use dstack_domain::spec::BackendType;
use dstack_domain::state::State;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::sealing::Sealer;

/// Stock and quotas change slowly, and asking costs requests; upstream keeps them as long.
const FRESH: Duration = Duration::from_secs(180);
/// After somebody did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// Cheap to clone.
#[derive(Clone)]
pub struct Clouds {
    sealer: Sealer,
    known: Arc<Mutex<HashMap<(ProjectId, BackendType), Known>>>,
    /// What each project was told last.
    told: Arc<Mutex<HashMap<ProjectId, Told>>>,
}

#[derive(Clone)]
struct Told {
    until: Instant,
    /// Of the configurations that were asked.
    configured: Vec<Timestamp>,
    offers: Arc<CloudOffers>,
}

#[derive(Clone)]
struct Known {
    /// Of the configuration it was made from.
    configured: Timestamp,
    cloud: Arc<Crusoe>,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Useless(String);

impl Useless {
    pub fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl Clouds {
    pub fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            known: Arc::default(),
            told: Arc::default(),
        }
    }

    /// What the project's clouds offer, in the regions it chose, unranked. A cloud that does not answer offers nothing,
    /// and that is said.
    pub async fn offers(&self, state: &State, project: ProjectId) -> Arc<CloudOffers> {
        if let Some(told) = self.told(state, project) {
            return told;
        }
        let backends: Vec<Arc<Backend>> = state.backends_of(project).cloned().collect();
        let mut all = CloudOffers::default();
        for backend in &backends {
            let asked = async { healthy(self.cloud_of(state, backend)?.every_offer().await) };
            match asked.await {
                Ok(mut offers) => {
                    offers.retain(|offer| chosen(backend, offer));
                    all.offers.extend(offers);
                }
                Err(error) => {
                    let kind = backend.kind;
                    tracing::warn!(%kind, %error, "a cloud was left out of the offers");
                    all.problems.push(format!("Backend {kind}: {error}"));
                }
            }
        }
        let fresh = match all.problems.is_empty() {
            true => FRESH,
            false => ASK_AGAIN,
        };
        let told = Told {
            until: Instant::now() + fresh,
            configured: backends.iter().map(|one| one.updated_at).collect(),
            offers: Arc::new(all),
        };
        let offers = told.offers.clone();
        self.told.lock().insert(project, told);
        offers
    }

    /// What every project was told, as long as that is fresh.
    pub fn known_offers(&self, state: &State) -> BTreeMap<ProjectId, Arc<CloudOffers>> {
        let projects: Vec<ProjectId> = self.told.lock().keys().copied().collect();
        let known = projects.into_iter();
        known
            .filter_map(|project| Some((project, self.told(state, project)?)))
            .collect()
    }

    fn told(&self, state: &State, project: ProjectId) -> Option<Arc<CloudOffers>> {
        let told = self.told.lock().get(&project).cloned()?;
        let configured = state.backends_of(project).map(|one| one.updated_at);
        let current = told.configured.iter().copied().eq(configured);
        (current && told.until > Instant::now()).then_some(told.offers)
    }

    /// The cloud that a project configured.
    pub fn cloud(
        &self,
        state: &State,
        project: ProjectId,
        kind: BackendType,
    ) -> Result<Arc<Crusoe>, Useless> {
        let backend = state.backend(project, kind);
        let backend = backend.ok_or_else(|| Useless(format!("there is no backend {kind}")))?;
        self.cloud_of(state, backend)
    }

    /// Everything of ours in its account.
    pub async fn inventory(
        &self,
        state: &State,
        project: ProjectId,
        kind: BackendType,
    ) -> Result<Vec<Found>, Useless> {
        let cloud = self.cloud(state, project, kind)?;
        let found = healthy(cloud.inventory(&cloud.owner()).await)?;
        let found = found.into_iter().map(|one| Found {
            kind: one.kind,
            key: one.key.to_string(),
            id: one.id,
        });
        Ok(found.collect())
    }

    fn cloud_of(&self, state: &State, backend: &Backend) -> Result<Arc<Crusoe>, Useless> {
        let cluster = state.cluster().map(|cluster| cluster.id);
        let cluster = cluster.ok_or_else(|| Useless("there is no cluster yet".into()))?;
        let place = (backend.project_id, backend.kind);
        let found = self.known.lock().get(&place).cloned();
        if let Some(known) = found.filter(|known| known.configured == backend.updated_at) {
            return Ok(known.cloud);
        }
        let cloud = Arc::new(open(cluster, &self.opened(backend)?)?);
        let known = Known {
            configured: backend.updated_at,
            cloud: cloud.clone(),
        };
        self.known.lock().insert(place, known);
        Ok(cloud)
    }

    /// The whole configuration of a backend, credentials and all.
    pub fn opened(&self, backend: &Backend) -> Result<CrusoeBackend, Useless> {
        let unreadable =
            |what: &str| Useless(format!("{what} of backend {} cannot be read", backend.kind));
        let creds = self
            .sealer
            .open(&backend.creds)
            .map_err(|_| unreadable("the credentials"))?;
        let creds: CrusoeCreds =
            serde_json::from_str(&creds).map_err(|_| unreadable("the credentials"))?;
        let mut config = backend.config.clone();
        if let (Some(config), Ok(creds)) = (config.as_object_mut(), serde_json::to_value(creds)) {
            config.insert("creds".into(), creds);
        }
        serde_json::from_value(config).map_err(|_| unreadable("the configuration"))
    }
}

/// What a cloud said, or why nothing is known.
fn healthy<T>(outcome: Outcome<T>) -> Result<T, Useless> {
    match outcome {
        Outcome::Done(said) => Ok(said),
        Outcome::Refused(why) | Outcome::Unknown(why) => Err(Useless(why)),
        Outcome::Absent => Err(Useless("there is no such project".into())),
    }
}

/// The type first, so that what is wrong is said of the right one.
pub fn understand(config: Value) -> Result<CrusoeBackend, Useless> {
    let kind = config
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match BackendType::parse(kind) {
        Some(BackendType::Crusoe) => serde_json::from_value(config)
            .map_err(|error| Useless(format!("Backend crusoe: {error}"))),
        Some(other) => Err(Useless(format!(
            "This server knows no backend {other} yet. It knows crusoe, and hosts over SSH by fleets with `ssh_config`."
        ))),
        None => Err(Useless(format!("{kind:?} is not a type of backend"))),
    }
}

/// The command that keeps it, with its credentials sealed.
pub fn order(
    sealer: &Sealer,
    project: ProjectId,
    config: &CrusoeBackend,
    exists: Option<bool>,
) -> Result<SetBackend, Useless> {
    let broken = |error: serde_json::Error| Useless(error.to_string());
    let creds = serde_json::to_string(&config.creds).map_err(broken)?;
    let mut public = serde_json::to_value(config).map_err(broken)?;
    if let Some(public) = public.as_object_mut() {
        public.remove("creds");
    }
    let creds = sealer.seal(&creds);
    Ok(SetBackend {
        project,
        kind: config.r#type,
        config: public,
        creds: creds.map_err(|error| Useless(error.to_string()))?,
        exists,
    })
}

/// Tries a configuration before it is kept.
pub async fn check(cluster: ClusterId, config: &CrusoeBackend) -> Result<(), Useless> {
    match open(cluster, config)?.check().await {
        Outcome::Done(()) => Ok(()),
        Outcome::Refused(why) => Err(Useless(format!("Crusoe does not accept it: {why}"))),
        Outcome::Unknown(why) => Err(Useless(format!("Crusoe could not be asked: {why}"))),
        Outcome::Absent => Err(Useless("Crusoe knows no such project".into())),
    }
}

fn open(cluster: ClusterId, config: &CrusoeBackend) -> Result<Crusoe, Useless> {
    let key = AccessKey::new(&config.creds.access_key, &config.creds.secret_key)
        .map_err(|error| Useless(error.to_string()))?;
    let endpoint = config.endpoint.as_deref().unwrap_or(Account::ENDPOINT);
    let mut account = Account::new(endpoint, &config.project_id, key);
    if let Some(calls) = config.calls_per_second {
        account.pace = Duration::from_secs(1) / calls.clamp(1, 1000);
    }
    let client = Client::new(account).map_err(|error| Useless(error.to_string()))?;
    Ok(Crusoe::new(client, owner(cluster)?, Catalogue::built_in()))
}

/// Whether things without a record are removed from the account, or only shown.
pub fn removes_strays(backend: &Backend) -> bool {
    let policy = backend
        .config
        .get("strays")
        .and_then(|policy| policy.as_str());
    policy != Some("observe")
}

/// Every replica marks machines alike.
fn owner(cluster: ClusterId) -> Result<Owner, Useless> {
    let id = cluster.0.simple().to_string();
    let mark = format!("ds{}", id.get(..8).unwrap_or_default());
    Owner::new(&mark).ok_or_else(|| Useless(format!("{mark} cannot mark machines")))
}

fn chosen(backend: &Backend, offer: &InstanceOffer) -> bool {
    let regions = backend
        .config
        .get("regions")
        .and_then(|regions| regions.as_array());
    regions.is_none_or(|regions| {
        regions
            .iter()
            .any(|region| region.as_str() == Some(&offer.region))
    })
}
