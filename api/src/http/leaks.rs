//! The ledger against the account: ours alone.

use dstack_domain::model::{Kind, Phase};
use dstack_domain::spec::BackendType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Moment;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leaks {
    /// Every thing in the accounts, and every record.
    pub things: Vec<LedgerThing>,
    /// Accounts that could not be looked at: nothing is known of what is in them.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerThing {
    pub backend: BackendType,
    pub kind: Kind,
    /// Its name in the account, after the mark of this cluster.
    pub key: String,
    /// The cloud's own name for it, when the account shows it.
    pub id: Option<String>,
    /// Of its record, if it has one.
    pub phase: Option<Phase>,
    pub fleet_name: Option<String>,
    pub instance_name: Option<String>,
    /// Dollars an hour.
    pub price: f64,
    /// Since when it is on record.
    pub since: Option<Moment>,
    pub verdict: Verdict,
    /// What is in the way, if anything.
    pub message: Option<String>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// In the account without a living record: it costs money for nobody.
    Leaked,
    /// On record, and nobody knows whether it is there. It is looked for.
    Doubtful,
    /// On record as there, and the account does not show it.
    Missing,
    /// On its way in or out.
    Moving,
    /// In the account and on record.
    Accounted,
}
