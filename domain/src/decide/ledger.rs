//! The ledger: every record gets what its phase asks for. The call that makes a thing is issued in the very pass that
//! allows it, and never again: whoever finds the permission used and no outcome looks for the thing instead.

use super::pass::Pass;
use crate::command::{IssueIntent, RecordIntent, ReleaseIntent, Sighting};
use crate::ids::IntentId;
use crate::model::{Intent, Phase, Purpose};
use crate::step::{Action, ActionKey, Subject, Verb};

pub(super) fn decide(pass: &mut Pass) {
    let ids: Vec<IntentId> = pass.draft.intents().map(|intent| intent.id).collect();
    for id in ids {
        let Some(intent) = pass.draft.intent(id).cloned() else {
            continue;
        };
        if intent.phase != Phase::Releasing && !is_wanted(pass, &intent) {
            pass.propose(ReleaseIntent {
                intent: id,
                why: "nobody wants it any more".into(),
                avoid: false,
            });
            continue;
        }
        match intent.phase {
            Phase::Planned => issue(pass, &intent),
            Phase::Issued => doubt(pass, &intent),
            Phase::Doubtful => look(pass, &intent),
            Phase::Observed => watch(pass, &intent),
            Phase::Releasing => release(pass, &intent),
            Phase::Released => {}
        }
    }
}

/// Whether somebody still counts on it. Strays are watched by the sweep.
fn is_wanted(pass: &Pass, intent: &Intent) -> bool {
    match intent.purpose {
        Purpose::Machine { instance, .. } => {
            let holder = pass.draft.instance(instance);
            let made = holder.and_then(|holder| holder.made.as_ref());
            made.is_some_and(|made| made.intent == Some(intent.id))
        }
        Purpose::Fabric { .. } => {
            let fleet = intent.fleet_id.and_then(|id| pass.draft.fleet(id));
            let site = fleet.and_then(|fleet| fleet.site.as_ref());
            site.is_some_and(|site| site.fabric == Some(intent.id))
        }
        Purpose::Stray { .. } => true,
    }
}

fn issue(pass: &mut Pass, intent: &Intent) {
    let fabric = intent.fabric().and_then(|id| pass.draft.intent(id));
    let ready = match intent.fabric() {
        None => true,
        Some(_) => fabric.is_some_and(|fabric| fabric.phase == Phase::Observed),
    };
    if ready && pass.propose(IssueIntent { intent: intent.id }) {
        pass.act(Action::Create {
            intent: intent.id,
            generation: intent.generation,
        });
    }
}

/// The call may have been made, by a leader that is no more, say.
fn doubt(pass: &mut Pass, intent: &Intent) {
    if !is_running(pass, Verb::Create, intent) {
        pass.propose(RecordIntent {
            intent: intent.id,
            generation: intent.generation,
            sighting: Sighting::Unknown {
                why: "nobody told what came of the call".into(),
            },
        });
    }
}

fn look(pass: &mut Pass, intent: &Intent) {
    if matches!(intent.purpose, Purpose::Stray { .. }) {
        return;
    }
    if intent.retry_at.is_none_or(|at| pass.due(at)) {
        pass.act(Action::Find {
            intent: intent.id,
            generation: intent.generation,
        });
    }
}

/// A machine is looked at until it has an address, and again when its agent does not answer there: the address may have
/// changed, or the machine be gone.
fn watch(pass: &mut Pass, intent: &Intent) {
    let instance = intent.instance().and_then(|id| pass.draft.instance(id));
    let Some(instance) = instance else { return };
    let addressed = intent
        .seen
        .as_ref()
        .is_some_and(|seen| seen.address.is_some());
    let missing = intent.absence.is_some();
    if !addressed || missing || instance.unreachable || instance.attempts > 0 {
        look(pass, intent);
    }
}

fn release(pass: &mut Pass, intent: &Intent) {
    // Whatever the call that makes it comes to is better known before.
    if is_running(pass, Verb::Create, intent) {
        return;
    }
    let in_use = intent.fleet_id.is_some_and(|fleet| {
        let mut others = pass.draft.intents_of(fleet);
        others.any(|other| other.fabric() == Some(intent.id))
    });
    if !in_use && intent.retry_at.is_none_or(|at| pass.due(at)) {
        pass.act(Action::Release {
            intent: intent.id,
            generation: intent.generation,
        });
    }
}

fn is_running(pass: &Pass, verb: Verb, intent: &Intent) -> bool {
    pass.facts.in_flight.contains(&ActionKey {
        verb,
        subject: Subject::Intent(intent.id),
    })
}
