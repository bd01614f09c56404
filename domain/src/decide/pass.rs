//! One pass: the scratch copy, the steps found so far, and when to look again.

use super::desired::DesiredSet;
use crate::command::{Actor, Command, Entry, look_ahead};
use crate::facts::{CloudOffers, Facts};
use crate::ids::{InstanceId, ProjectId, RequestId};
use crate::state::State;
use crate::step::{Action, Decision, Step};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Pass<'a> {
    pub draft: State,
    pub facts: &'a Facts,
    pub now: Timestamp,
    steps: Vec<Step>,
    next: Option<Timestamp>,
}

impl<'a> Pass<'a> {
    pub fn new(state: &State, facts: &'a Facts, now: Timestamp) -> Self {
        Self {
            draft: state.clone(),
            facts,
            now,
            steps: Vec::new(),
            next: None,
        }
    }

    /// Applies the command to the scratch copy and keeps it as a step. A command that would be
    /// refused is not proposed: the log would only grow, pass after pass.
    pub fn propose(&mut self, command: impl Into<Command>) -> bool {
        let entry = Entry {
            index: self.draft.clock().index,
            request: RequestId(uuid::Uuid::nil()),
            actor: Actor::System,
            at: self.now,
            command: command.into(),
        };
        let accepted = look_ahead(&mut self.draft, &entry);
        if accepted {
            self.steps.push(Step::Propose(entry.command));
        }
        accepted
    }

    /// An action, unless the same one is in flight.
    pub fn act(&mut self, action: Action) {
        if !self.facts.in_flight.contains(&action.key()) {
            self.steps.push(Step::Act(action));
        }
    }

    /// What the project's clouds offer; asked for, if nobody knows.
    pub fn offers(&mut self, project: ProjectId) -> Option<Arc<CloudOffers>> {
        let known = self.facts.offers.get(&project).cloned();
        let action = Action::FetchOffers { project };
        if known.is_none() && !self.steps.contains(&Step::Act(action)) {
            self.act(action);
        }
        known
    }

    /// Whether the moment has come; if not, the pass asks to be called again then.
    pub fn due(&mut self, at: Timestamp) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    pub fn finish(self, desired: BTreeMap<InstanceId, DesiredSet>) -> Decision {
        Decision {
            steps: self.steps,
            desired,
            next: self.next,
        }
    }
}

/// Saturating: a time that cannot be expressed never comes.
pub(super) fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}
