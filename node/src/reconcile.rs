//! The leader's one loop.
//!
//! It wakes, takes the newest view and the facts, asks `domain` what is to be done, and hands the answer on.
//! What woke it is not told to it: a lost wake-up costs a second at most, never a decision. It begins after
//! the first entry of the replica's own term is applied, so that it never acts on a predecessor's unfinished
//! memory, and ends with the term.

use std::sync::Arc;
use std::time::Duration;

use dstack_domain::command::Command;
use dstack_domain::decide::decide;
use dstack_domain::facts::Facts;
use dstack_domain::step::{Action, Decision, Step};
use dstack_raft::{Handle, Leadership};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::door::{Door, DoorError};
use crate::hands::Hands;
use crate::telemetry::events;
use crate::view::{View, Views};
use crate::watchdog::Pulse;
use crate::{env, limits};

/// Everything the loop needs.
pub struct Reconciler {
    pub raft: Handle,
    pub door: Door,
    pub views: Views,
    pub hands: Arc<Hands>,
    pub pulse: Pulse,
}

/// What came of handing on the steps of one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Nothing is left to do until something changes.
    Rest,
    /// Something changed, so look again at once.
    Again,
    /// A proposal was refused: the state had moved on.
    Refused,
    /// This replica no longer leads.
    Deposed,
}

impl Reconciler {
    /// Runs until `stop`, through as many leaderships as come.
    pub async fn run(self, stop: CancellationToken) {
        let mut leadership = self.raft.leadership();
        loop {
            let term = tokio::select! {
                () = stop.cancelled() => return,
                term = begun(&mut leadership) => match term {
                    Some(term) => term,
                    None => return,
                },
            };
            events::LeadershipTaken { term }.emit();
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.hold(term, leadership.clone()) => {}
            }
            self.pulse.end();
            self.hands.stop(term).await;
            events::LeadershipLost { term }.emit();
        }
    }

    /// Leads as long as the term lasts. A leader that does not hear a majority for a moment pauses; its hands
    /// keep what they hold, because only a later term may replace it, and agents refuse the older one then.
    async fn hold(&self, term: u64, mut leadership: watch::Receiver<Leadership>) {
        let since = env::now();
        loop {
            self.pulse.begin();
            tokio::select! {
                () = self.lead(term, since) => settle(leadership.clone(), term).await,
                () = ended(leadership.clone(), term) => {}
            }
            self.pulse.end();
            let known = |now: &Leadership| over(now, term) || leads(now);
            match leadership.wait_for(known).await {
                Ok(now) if !over(&now, term) => {}
                _ => return,
            }
        }
    }

    /// Passes, until the term is over.
    async fn lead(&self, term: u64, since: Timestamp) {
        let mut changed = self.views.changed();
        let (mut busy, mut refused) = (0_u32, 0_u32);
        loop {
            changed.mark_unchanged();
            self.pulse.beat();
            let view = self.views.now();
            let facts = Facts {
                agents: self.hands.facts(),
                in_flight: self.hands.in_flight(),
                drained: self.hands.drained(),
                offers: self.hands.offers(&view.state),
                leader_since: since,
            };
            let Some(decision) = think(view, facts).await else {
                return;
            };
            let next = decision.next;
            match self.carry_out(term, decision, refused > 0).await {
                Pass::Deposed => return,
                Pass::Rest => (busy, refused) = (0, 0),
                Pass::Again => (busy, refused) = (busy.saturating_add(1), 0),
                Pass::Refused => (busy, refused) = (busy.saturating_add(1), refused + 1),
            }
            if busy == 0 {
                self.rest(&mut changed, next).await;
            } else if busy > limits::BUSY_PASSES {
                tokio::time::sleep(limits::PASS_GAP).await;
            }
        }
    }

    /// Hands the steps on: what rests on a proposal only after it is committed.
    async fn carry_out(&self, term: u64, decision: Decision, act_anyway: bool) -> Pass {
        let (mut commands, mut actions) = (Vec::new(), Vec::new());
        for step in decision.steps {
            match step {
                Step::Propose(command) => commands.push(command),
                Step::Act(action) => actions.push((commands.len(), action)),
            }
        }
        let proposed = commands.len();
        let confirmed = match self.propose(term, commands).await {
            Ok(confirmed) => confirmed,
            Err(()) => return Pass::Deposed,
        };
        // An action that stands behind a refused proposal may rest on it. Should the refusal repeat, the
        // action is handed on all the same: its own record and generation fence it.
        let reach = if act_anyway { usize::MAX } else { confirmed };
        let due: Vec<Action> = actions
            .into_iter()
            .filter(|(after, _)| *after <= reach)
            .map(|(_, action)| action)
            .collect();
        for action in due {
            self.hands.run_action(action, term);
        }
        if confirmed < proposed {
            return Pass::Refused;
        }
        // Pushed only when nothing is left to propose: the sets describe the state after all proposals.
        self.hands.set_desired(term, decision.desired);
        if proposed > 0 {
            Pass::Again
        } else {
            Pass::Rest
        }
    }

    /// Proposes in order, several at a time. Answers how many were applied before the first refusal.
    async fn propose(&self, term: u64, commands: Vec<Command>) -> Result<usize, ()> {
        let names: Vec<&'static str> = commands.iter().map(Command::name).collect();
        // `buffered` polls its futures in order, and the raft core takes proposals in the order they come.
        let mut answers = stream::iter(commands)
            .map(|command| self.door.propose_as_leader(term, command))
            .buffered(limits::STEPS_IN_FLIGHT);
        let (mut confirmed, mut whole, mut at) = (0, true, 0);
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                // Waiting for a majority is not a stall of this loop.
                () = tokio::time::sleep(limits::LOOK_AGAIN) => {
                    self.pulse.beat();
                    continue;
                }
            };
            let Some(answer) = answer else {
                return Ok(confirmed);
            };
            let command = names.get(at).copied().unwrap_or_default();
            at += 1;
            match answer {
                Ok(_) if whole => confirmed += 1,
                Ok(_) => {}
                Err(DoorError::Deposed { .. } | DoorError::Stopped) => return Err(()),
                Err(error) => {
                    whole = false;
                    events::StepRefused {
                        command,
                        term,
                        why: &error,
                    }
                    .emit();
                }
            }
        }
    }

    /// Sleeps until something changed, the hands have news, or time alone may change the answer.
    async fn rest(&self, changed: &mut watch::Receiver<u64>, next: Option<Timestamp>) {
        let until_next = next.map_or(limits::LOOK_AGAIN, |next| {
            Duration::try_from(next.duration_since(env::now())).unwrap_or_default()
        });
        tokio::select! {
            _ = changed.changed() => {}
            () = self.hands.wake.notified() => {}
            () = tokio::time::sleep(until_next.min(limits::LOOK_AGAIN)) => {}
        }
    }
}

/// Deciding may take milliseconds of pure computing; the runtime's own threads must not wait for it.
async fn think(view: Arc<View>, facts: Facts) -> Option<Decision> {
    let thought = tokio::task::spawn_blocking(move || decide(&view.state, &facts, env::now()));
    thought
        .await
        .map_err(|error| events::LoopBroken { why: &error }.emit())
        .ok()
}

/// The term of the next established leadership of this replica; none when the core is gone.
async fn begun(leadership: &mut watch::Receiver<Leadership>) -> Option<u64> {
    leadership
        .wait_for(leads)
        .await
        .ok()
        .map(|leadership| leadership.term)
}

async fn ended(mut leadership: watch::Receiver<Leadership>, term: u64) {
    let _ = leadership
        .wait_for(|now| !leads(now) || now.term != term)
        .await;
}

/// The loop may hear that its term is over before the watch says so; begun again in the old term it would spin.
async fn settle(leadership: watch::Receiver<Leadership>, term: u64) {
    let _ = tokio::time::timeout(limits::LOOK_AGAIN, ended(leadership, term)).await;
}

/// Whether a later term, or another leader, has taken the place of this one.
fn over(leadership: &Leadership, term: u64) -> bool {
    leadership.term != term
        || leadership
            .leader
            .is_some_and(|leader| leader != leadership.me)
}

fn leads(leadership: &Leadership) -> bool {
    leadership.established && leadership.leader == Some(leadership.me)
}
