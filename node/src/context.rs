//! What the HTTP handlers may touch: the doors of the other rooms, and nothing behind them.

use std::sync::Arc;

use crate::bulk::Bulk;
use crate::clouds::Clouds;
use crate::cluster::Cluster;
use crate::door::Door;
use crate::logs::LogStore;
use crate::membership::Membership;
use crate::sealing::Sealer;
use crate::settings::HttpSettings;
use crate::view::Views;

/// Handed to every request. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub door: Door,
    pub views: Views,
    pub sealer: Sealer,
    pub logs: Arc<LogStore>,
    pub bulk: Arc<Bulk>,
    pub clouds: Clouds,
    pub cluster: Cluster,
    pub membership: Membership,
    pub settings: Arc<HttpSettings>,
}
