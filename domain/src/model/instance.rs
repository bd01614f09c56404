//! Machines. For a host of an SSH fleet the record is also the intention to have it connected.

use super::{HostFacts, InstanceOffer, InstanceType, RemoteHost};
use crate::ids::{FleetId, InstanceId, IntentId, ProjectId, SubmissionId};
use crate::spec::{BackendType, Blocks};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum InstanceStatus {
    Pending,
    Provisioning,
    Idle,
    Busy,
    Terminating,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Healthy,
    Warning,
    Failure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceReason {
    TerminatedByUser,
    IdleTimeout,
    ProvisioningTimeout,
    Error,
    JobFinished,
    Unreachable,
    NoOffers,
    MasterFailed,
    MaxInstancesLimit,
    FleetSpecMismatch,
    NoBalance,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub project_id: ProjectId,
    pub fleet_id: FleetId,
    pub num: u32,
    pub name: String,
    pub created_at: Timestamp,
    pub status: InstanceStatus,
    /// How it is reached. Always known of a host of one's own; of a machine in a cloud once it has an address.
    pub remote: Option<RemoteHost>,
    /// Set when a cloud makes it.
    #[serde(default)]
    pub made: Option<Made>,
    pub requested_blocks: Blocks,
    /// Guards against outcomes of an older attempt.
    pub generation: u64,
    /// Failed attempts to connect in a row.
    pub attempts: u32,
    /// Not before this moment is the next attempt made.
    pub retry_at: Option<Timestamp>,
    /// Why the last attempt failed, in words for the user.
    pub last_error: Option<String>,
    /// The host key seen first; another one is refused.
    pub host_key: Option<String>,
    pub facts: Option<HostFacts>,
    pub instance_type: Option<InstanceType>,
    pub agent_version: Option<String>,
    pub runtime: Option<String>,
    pub boot_id: Option<String>,
    pub total_blocks: Option<u32>,
    pub unreachable: bool,
    pub health: Health,
    /// Jobs that hold blocks.
    pub jobs: BTreeSet<SubmissionId>,
    /// Blocks held, the sum over `jobs`.
    pub busy_blocks: u32,
    /// Jobs given up without the agent's word that their processes are gone. Nothing new is
    /// placed here until the agent has reported a set without them.
    pub lingering: BTreeSet<SubmissionId>,
    pub idle_since: Option<Timestamp>,
    pub termination_reason: Option<InstanceReason>,
    pub termination_message: Option<String>,
    pub finished_at: Option<Timestamp>,
}

/// Of a machine that a cloud makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// What was chosen last.
    pub offer: Option<InstanceOffer>,
    /// The ledger's record of the machine that is, or is to be, this instance.
    pub intent: Option<IntentId>,
    /// How many records there were before it.
    pub attempt: u32,
    /// How long it may idle, in seconds, above what its fleet keeps; `None`: for ever.
    pub idle_seconds: Option<u64>,
    /// It was wanted by a run, not by its fleet.
    pub for_run: bool,
    /// A job was handed over to it.
    #[serde(default)]
    pub used: bool,
    /// When its present machine was first seen.
    pub seen_at: Option<Timestamp>,
}

impl Instance {
    pub fn is_own_host(&self) -> bool {
        self.made.is_none()
    }

    pub fn backend(&self) -> BackendType {
        let offer = self.offer();
        offer.map_or(BackendType::Remote, |offer| offer.backend)
    }

    pub fn region(&self) -> &str {
        self.offer().map_or("remote", |offer| &offer.region)
    }

    /// Dollars an hour. One's own hosts cost nothing here.
    pub fn price(&self) -> f64 {
        self.offer().map_or(0.0, |offer| offer.price)
    }

    /// Whether it takes one of its fleet's `nodes`.
    pub fn counts(&self) -> bool {
        !matches!(
            self.status,
            InstanceStatus::Terminating | InstanceStatus::Terminated
        )
    }

    fn offer(&self) -> Option<&InstanceOffer> {
        self.made.as_ref()?.offer.as_ref()
    }

    /// The host's name, or the best there is to say instead of it.
    pub fn hostname(&self) -> &str {
        let remote = self.remote.as_ref();
        remote.map_or(&self.name, |remote| &remote.hostname)
    }

    /// Whether an agent is expected to answer here.
    pub fn has_agent(&self) -> bool {
        matches!(self.status, InstanceStatus::Idle | InstanceStatus::Busy)
            || (self.status == InstanceStatus::Terminating && self.facts.is_some())
    }

    pub fn free_blocks(&self) -> u32 {
        self.total_blocks
            .unwrap_or(0)
            .saturating_sub(self.busy_blocks)
    }
}
