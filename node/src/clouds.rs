//! Clouds that projects may use: one client for each configuration, and what it offers, for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dstack_api::http::backends::{CrusoeBackend, CrusoeCreds};
use dstack_backends::Outcome;
use dstack_backends::crusoe::{AccessKey, Account, Catalogue, Client, Crusoe, Owner};
use dstack_domain::ids::{ClusterId, ProjectId};
use dstack_domain::model::{Backend, InstanceOffer};
use dstack_domain::spec::BackendType;
use dstack_domain::state::State;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::sealing::Sealer;

/// Stock and quotas change slowly, and asking costs requests; upstream keeps them as long.
const FRESH: Duration = Duration::from_secs(180);

/// Cheap to clone.
#[derive(Clone)]
pub struct Clouds {
    sealer: Sealer,
    known: Arc<Mutex<HashMap<(ProjectId, BackendType), Known>>>,
}

#[derive(Clone)]
struct Known {
    /// Of the configuration it was made from.
    configured: Timestamp,
    cloud: Arc<Crusoe>,
    offers: Option<(Instant, Arc<Vec<InstanceOffer>>)>,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Useless(String);

impl Clouds {
    pub fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            known: Arc::default(),
        }
    }

    /// What the project's clouds offer, in the regions it chose, unranked. A cloud that does not answer offers nothing.
    pub async fn offers(&self, state: &State, project: ProjectId) -> Vec<InstanceOffer> {
        let Some(cluster) = state.cluster().map(|cluster| cluster.id) else {
            return Vec::new();
        };
        let backends: Vec<Arc<Backend>> = state.backends_of(project).cloned().collect();
        let mut all = Vec::new();
        for backend in backends {
            match self.offers_of(cluster, &backend).await {
                Ok(offers) => all.extend(
                    offers
                        .iter()
                        .filter(|offer| chosen(&backend, offer))
                        .cloned(),
                ),
                Err(error) => {
                    let kind = backend.kind;
                    tracing::warn!(%kind, %error, "a cloud was left out of the offers");
                }
            }
        }
        all
    }

    async fn offers_of(
        &self,
        cluster: ClusterId,
        backend: &Backend,
    ) -> Result<Arc<Vec<InstanceOffer>>, Useless> {
        let known = self.known(cluster, backend)?;
        if let Some((at, offers)) = &known.offers
            && at.elapsed() < FRESH
        {
            return Ok(offers.clone());
        }
        let offers = match known.cloud.every_offer().await {
            Outcome::Done(offers) => Arc::new(offers),
            Outcome::Refused(why) | Outcome::Unknown(why) => return Err(Useless(why)),
            Outcome::Absent => return Err(Useless("there is no such project".into())),
        };
        if let Some(known) = self
            .known
            .lock()
            .get_mut(&(backend.project_id, backend.kind))
        {
            known.offers = Some((Instant::now(), offers.clone()));
        }
        Ok(offers)
    }

    fn known(&self, cluster: ClusterId, backend: &Backend) -> Result<Known, Useless> {
        let place = (backend.project_id, backend.kind);
        let found = self.known.lock().get(&place).cloned();
        if let Some(known) = found.filter(|known| known.configured == backend.updated_at) {
            return Ok(known);
        }
        let known = Known {
            configured: backend.updated_at,
            cloud: Arc::new(open(cluster, &self.opened(backend)?)?),
            offers: None,
        };
        self.known.lock().insert(place, known.clone());
        Ok(known)
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
    let client = Client::new(Account::new(endpoint, &config.project_id, key))
        .map_err(|error| Useless(error.to_string()))?;
    Ok(Crusoe::new(client, owner(cluster)?, Catalogue::built_in()))
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
