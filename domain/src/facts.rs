//! What the leader knows but does not replicate: liveness of agents, actions in flight, how far
//! job output has been stored. Facts may be missing or late; every decision must stay right then.

use crate::ids::{InstanceId, ProjectId, SubmissionId};
use crate::model::InstanceOffer;
use crate::step::ActionKey;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub agents: BTreeMap<InstanceId, AgentFact>,
    pub in_flight: BTreeSet<ActionKey>,
    /// Exited submissions whose output is stored by a majority to its end. Their agents may
    /// forget them. Without this fact a job waits for its output until `DRAIN_LIMIT`.
    pub drained: BTreeSet<SubmissionId>,
    /// What the clouds of a project offered when they were asked last, not long ago. A project that
    /// is not here is asked first.
    pub offers: BTreeMap<ProjectId, Arc<CloudOffers>>,
    /// Since when this replica leads: silence is counted from here at the earliest.
    pub leader_since: Timestamp,
}

/// What the clouds of one project said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloudOffers {
    pub offers: Vec<InstanceOffer>,
    /// Of clouds that did not answer well, in words for the user.
    pub problems: Vec<String>,
}

impl CloudOffers {
    /// Why there is nothing, after the fact.
    pub fn nothing(&self, what: &str) -> String {
        match self.problems.as_slice() {
            [] => what.to_owned(),
            problems => format!("{what}. {}", problems.join(". ")),
        }
    }
}

/// What the hands know about one agent.
#[derive(Clone, Debug, Default)]
pub struct AgentFact {
    pub connected: bool,
    /// When any replica last heard from the agent.
    pub last_seen: Option<Timestamp>,
    /// Since when this leader has been trying to reach it, when it is not connected.
    pub trying_since: Option<Timestamp>,
    pub error: Option<String>,
}

impl Facts {
    /// Since when the instance has been silent as far as *this* leader can vouch: it must have
    /// been trying itself all the while. `None` when connected or when nobody tries yet.
    pub fn silent_since(&self, instance: InstanceId) -> Option<Timestamp> {
        let fact = self.agents.get(&instance)?;
        if fact.connected {
            return None;
        }
        let trying = fact.trying_since?;
        let since = trying.max(self.leader_since);
        Some(fact.last_seen.map_or(since, |seen| since.max(seen)))
    }
}
