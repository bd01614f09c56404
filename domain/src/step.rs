//! What the leader is to do next. An action can only be built from a stored record that already
//! carries the intention; its key is stable, so a second leader issues the same action.

use crate::command::Command;
use crate::decide::DesiredSet;
use crate::ids::InstanceId;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// The result of one pass of `decide`.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    pub steps: Vec<Step>,
    /// The whole desired job set of every instance that is reached through an agent link.
    pub desired: BTreeMap<InstanceId, DesiredSet>,
    /// The next moment at which time alone changes the answer.
    pub next: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // A pass has few steps, and most of them are commands.
pub enum Step {
    Propose(Command),
    Act(Action),
}

/// An effect in the world. The generation is that of the record the action was built from; an
/// outcome recorded with an older generation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reach the host over SSH, bring up the agent, learn what the host is. Also heals a host
    /// whose agent stopped answering. Recorded by `RecordHost`.
    ConnectHost {
        instance: InstanceId,
        generation: u64,
    },
    /// Stop the agent and forget the host. Recorded by `InstanceGone`, or by `RecordHost` when it failed.
    ReleaseHost {
        instance: InstanceId,
        generation: u64,
    },
}

impl Action {
    pub fn key(&self) -> ActionKey {
        match self {
            Action::ConnectHost { instance, .. } => ActionKey {
                verb: Verb::ConnectHost,
                instance: *instance,
            },
            Action::ReleaseHost { instance, .. } => ActionKey {
                verb: Verb::ReleaseHost,
                instance: *instance,
            },
        }
    }

    pub fn generation(&self) -> u64 {
        match self {
            Action::ConnectHost { generation, .. } | Action::ReleaseHost { generation, .. } => {
                *generation
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    ConnectHost,
    ReleaseHost,
}

/// At most one action per key is in flight at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionKey {
    pub verb: Verb,
    pub instance: InstanceId,
}

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::ConnectHost => "connect-host",
            Verb::ReleaseHost => "release-host",
        };
        write!(f, "{verb}/{}", self.instance)
    }
}
