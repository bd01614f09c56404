//! What the leader is to do next. An action can only be built from a stored record that already
//! carries the intention; its key is stable, so a second leader issues the same action.

use crate::command::Command;
use crate::decide::DesiredSet;
use crate::ids::{InstanceId, IntentId, ProjectId};
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

/// An effect in the world, or a question to it. The generation is that of the record the action was
/// built from; an outcome recorded with an older generation is refused.
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
    /// Make what the record names. Issued once in its life. Recorded by `RecordIntent`, as are the next two.
    Create { intent: IntentId, generation: u64 },
    /// Look whether it is there, and where.
    Find { intent: IntentId, generation: u64 },
    /// End it, and look whether it is gone.
    Release { intent: IntentId, generation: u64 },
    /// Ask the project's clouds what they offer. Nothing is recorded: the answer is a fact.
    FetchOffers { project: ProjectId },
}

impl Action {
    pub fn key(&self) -> ActionKey {
        let (verb, subject) = match *self {
            Action::ConnectHost { instance, .. } => {
                (Verb::ConnectHost, Subject::Instance(instance))
            }
            Action::ReleaseHost { instance, .. } => {
                (Verb::ReleaseHost, Subject::Instance(instance))
            }
            Action::Create { intent, .. } => (Verb::Create, Subject::Intent(intent)),
            Action::Find { intent, .. } => (Verb::Find, Subject::Intent(intent)),
            Action::Release { intent, .. } => (Verb::Release, Subject::Intent(intent)),
            Action::FetchOffers { project } => (Verb::FetchOffers, Subject::Project(project)),
        };
        ActionKey { verb, subject }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    ConnectHost,
    ReleaseHost,
    Create,
    Find,
    Release,
    FetchOffers,
}

/// The record, or the owner, an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Instance(InstanceId),
    Intent(IntentId),
    Project(ProjectId),
}

/// At most one action per key is in flight at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionKey {
    pub verb: Verb,
    pub subject: Subject,
}

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::ConnectHost => "connect-host",
            Verb::ReleaseHost => "release-host",
            Verb::Create => "create",
            Verb::Find => "find",
            Verb::Release => "release",
            Verb::FetchOffers => "fetch-offers",
        };
        match self.subject {
            Subject::Instance(id) => write!(f, "{verb}/{id}"),
            Subject::Intent(id) => write!(f, "{verb}/{id}"),
            Subject::Project(id) => write!(f, "{verb}/{id}"),
        }
    }
}
