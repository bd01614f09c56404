//! The ledger: one record for each thing in somebody's cloud account that exists, or may exist, because of us. The
//! record comes first, the call second, what was seen third. Its key names the thing before it exists, and there is
//! at most one call in the life of a record that could make it.

use super::{InstanceOffer, Lawful};
use crate::ids::{FleetId, InstanceId, IntentId, ProjectId};
use crate::spec::BackendType;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Wanted. Nobody was asked for it yet.
    Planned,
    /// The call that makes it was allowed, and may be under way.
    Issued,
    /// A healthy answer showed it.
    Observed,
    /// The call was made, or may have been, and nobody knows what came of it.
    Doubtful,
    /// It is to go, until healthy answers say that it is gone.
    Releasing,
    /// Gone, or never made: the record ends with this.
    Released,
}

impl Lawful for Phase {
    fn may_become(self, next: Self) -> bool {
        use Phase::*;
        match self {
            Planned => matches!(next, Issued | Released),
            Issued => matches!(next, Observed | Doubtful | Releasing | Released),
            Doubtful => matches!(next, Observed | Releasing | Released),
            Observed => matches!(next, Releasing),
            Releasing => matches!(next, Released),
            Released => false,
        }
    }

    fn shout(self) -> &'static str {
        match self {
            Phase::Planned => "PLANNED",
            Phase::Issued => "ISSUED",
            Phase::Observed => "OBSERVED",
            Phase::Doubtful => "DOUBTFUL",
            Phase::Releasing => "RELEASING",
            Phase::Released => "RELEASED",
        }
    }
}

/// What kind of thing lies in an account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// With the disk that was made for it, which bears its name and goes with it.
    Machine,
    /// A disk without its machine.
    Disk,
    /// An InfiniBand partition, say.
    Fabric,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Machine => "machine",
            Kind::Disk => "disk",
            Kind::Fabric => "fabric",
        }
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To be this instance, in this fabric.
    Machine {
        instance: InstanceId,
        fabric: Option<IntentId>,
    },
    /// To join so many machines.
    Fabric { nodes: u32 },
    /// None: it was found in the account, bearing our mark, and nobody remembers it.
    Stray { kind: Kind },
}

/// The thing as a healthy answer showed it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The cloud's own name for it.
    pub id: String,
    /// Of a machine: where it is reached, once it is up, and not for ever the same.
    pub address: Option<String>,
    /// Where its siblings reach it.
    pub internal_address: Option<String>,
    pub user: String,
    pub port: u16,
}

/// Healthy answers in a row that did not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    pub since: Timestamp,
    pub times: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub id: IntentId,
    pub project_id: ProjectId,
    /// None for strays.
    pub fleet_id: Option<FleetId>,
    pub backend: BackendType,
    /// What it is called in the account, after the mark of our cluster.
    pub key: String,
    pub purpose: Purpose,
    /// What was chosen, with its price; none for strays.
    pub offer: Option<InstanceOffer>,
    pub phase: Phase,
    /// Guards against outcomes of an older attempt.
    pub generation: u64,
    pub created_at: Timestamp,
    pub issued_at: Option<Timestamp>,
    pub seen: Option<Seen>,
    pub absence: Option<Absence>,
    /// Attempts in a row that told nothing, or were refused.
    pub attempts: u32,
    pub retry_at: Option<Timestamp>,
    pub last_error: Option<String>,
}

/// A thing that is there is believed gone after so many healthy answers without it.
const ABSENT_TIMES: u32 = 2;
/// And so many seconds between the first and the last of them.
const ABSENT_SECONDS: i64 = 3;
/// The same for what nobody has seen, and for what is young: lists lag behind, also of what was answered.
const YOUNG_SECONDS: i64 = 15;
/// So long after its call a thing is young.
const GROWN_SECONDS: i64 = 60;
/// From the call to the first answer that counts as absence.
const CALL_SECONDS: i64 = 10;

impl Intent {
    /// A record of something that nobody was asked for yet, and that belongs to no fleet.
    pub fn new(
        id: IntentId,
        project_id: ProjectId,
        backend: BackendType,
        key: String,
        purpose: Purpose,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            project_id,
            fleet_id: None,
            backend,
            key,
            purpose,
            offer: None,
            phase: Phase::Planned,
            generation: 0,
            created_at,
            issued_at: None,
            seen: None,
            absence: None,
            attempts: 0,
            retry_at: None,
            last_error: None,
        }
    }

    pub fn kind(&self) -> Kind {
        match self.purpose {
            Purpose::Machine { .. } => Kind::Machine,
            Purpose::Fabric { .. } => Kind::Fabric,
            Purpose::Stray { kind } => kind,
        }
    }

    pub fn instance(&self) -> Option<InstanceId> {
        match self.purpose {
            Purpose::Machine { instance, .. } => Some(instance),
            _ => None,
        }
    }

    pub fn fabric(&self) -> Option<IntentId> {
        match self.purpose {
            Purpose::Machine { fabric, .. } => fabric,
            _ => None,
        }
    }

    /// Dollars an hour, while it is there.
    pub fn price(&self) -> f64 {
        match self.purpose {
            Purpose::Machine { .. } => self.offer.as_ref().map_or(0.0, |offer| offer.price),
            _ => 0.0,
        }
    }

    /// Whether something may lie in the account because of it.
    pub fn may_exist(&self) -> bool {
        !matches!(self.phase, Phase::Planned | Phase::Released)
    }

    /// One healthy answer more that does not show it.
    pub fn note_absence(&mut self, at: Timestamp) {
        let seconds = |since: Timestamp| at.duration_since(since).as_secs();
        if self.issued_at.is_some_and(|at| seconds(at) < CALL_SECONDS) {
            return;
        }
        let absence = self.absence.get_or_insert(Absence {
            since: at,
            times: 0,
        });
        absence.times = absence.times.saturating_add(1);
    }

    /// Whether its absence is believed.
    pub fn is_absent(&self, at: Timestamp) -> bool {
        let age = |issued: Timestamp| at.duration_since(issued).as_secs();
        let is_young = self
            .issued_at
            .is_some_and(|issued| age(issued) < GROWN_SECONDS);
        let needed = match self.seen {
            Some(_) if !is_young => ABSENT_SECONDS,
            _ => YOUNG_SECONDS,
        };
        self.absence.is_some_and(|absence| {
            absence.times >= ABSENT_TIMES && at.duration_since(absence.since).as_secs() >= needed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 6] = [
        Phase::Planned,
        Phase::Issued,
        Phase::Observed,
        Phase::Doubtful,
        Phase::Releasing,
        Phase::Released,
    ];

    #[test]
    fn what_may_exist_is_released_only_through_a_look() {
        // Observed things never vanish from the ledger without having been released.
        assert!(!Phase::Observed.may_become(Phase::Released));
        // The call is allowed once.
        for phase in ALL {
            assert_eq!(phase.may_become(Phase::Issued), phase == Phase::Planned);
        }
        assert!(ALL.iter().all(|next| !Phase::Released.may_become(*next)));
    }

    fn young(issued: i64) -> Intent {
        let at = |second| Timestamp::from_second(second).unwrap();
        Intent {
            phase: Phase::Releasing,
            issued_at: Some(at(issued)),
            seen: Some(Seen {
                id: "id".into(),
                address: None,
                internal_address: None,
                user: String::new(),
                port: 0,
            }),
            ..Intent::new(
                IntentId::derived("machine", &[]),
                ProjectId::derived("project", &[]),
                BackendType::Crusoe,
                "key".into(),
                Purpose::Fabric { nodes: 1 },
                at(issued),
            )
        }
    }

    /// When its absence is believed, asked every second from `from` on.
    fn believed(mut intent: Intent, from: i64) -> i64 {
        (from..)
            .find(|second| {
                let at = Timestamp::from_second(*second).unwrap();
                intent.note_absence(at);
                intent.is_absent(at)
            })
            .unwrap()
    }

    #[test]
    fn what_was_just_made_is_not_believed_gone_before_lists_can_show_it() {
        assert_eq!(believed(young(1000), 1001), 1010 + YOUNG_SECONDS);
        assert_eq!(believed(young(1000), 2000), 2000 + ABSENT_SECONDS);
    }
}
