//! What every hand holds.

use super::binary::AgentBinary;
use super::pool::Pool;
use crate::bulk::Bulk;
use crate::clouds::Clouds;
use crate::door::{Door, DoorError};
use crate::liveness::Liveness;
use crate::logs::LogStore;
use crate::sealing::Sealer;
use crate::view::Views;
use dstack_domain::command::Command;
use std::sync::Arc;
use tokio::sync::Notify;

pub struct Tools {
    pub door: Door,
    pub views: Views,
    pub sealer: Sealer,
    pub logs: Arc<LogStore>,
    pub bulk: Arc<Bulk>,
    pub liveness: Liveness,
    pub pool: Pool,
    pub clouds: Clouds,
    pub binary: AgentBinary,
    /// The leader's loop should look again. Carries no data.
    pub wake: Arc<Notify>,
}

/// What became of something that was seen and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Applied,
    /// The records had moved on; whoever decides will look again.
    Refused,
    /// Worth saying again later.
    NotNow,
    /// This replica no longer leads.
    Over,
}

impl Tools {
    /// Tells the records what was seen, as the leader of `term`.
    pub async fn tell(&self, term: u64, command: impl Into<Command>) -> Told {
        let command = command.into();
        let name = command.name();
        match self.door.propose_as_leader(term, command).await {
            Ok(_) => Told::Applied,
            Err(DoorError::Rejected(rejection)) => {
                tracing::debug!(
                    command = name,
                    why = rejection.message,
                    "what was seen is no longer of interest"
                );
                Told::Refused
            }
            Err(DoorError::Deposed { .. } | DoorError::Stopped) => Told::Over,
            Err(error) => {
                tracing::warn!(command = name, %error, "what was seen could not be recorded");
                Told::NotNow
            }
        }
    }

    pub fn cluster_id(&self) -> String {
        self.views
            .now()
            .state
            .cluster()
            .map(|cluster| cluster.id.to_string())
            .unwrap_or_default()
    }
}
