//! Hosts: connecting new ones, flagging silent ones, releasing those that go. A host of one's own
//! is never dropped for silence.

use super::pass::{Pass, after};
use crate::command::{InstanceGone, SetReachability};
use crate::ids::InstanceId;
use crate::model::{Instance, InstanceStatus};
use crate::step::Action;

/// Silence that makes a host unfit for new jobs.
const UNREACHABLE_AFTER_SECONDS: i64 = 15;
/// Silence after which the agent is brought up again.
const HEAL_AFTER_SECONDS: i64 = 10;

pub(super) fn decide(pass: &mut Pass) {
    let ids: Vec<InstanceId> = pass.draft.instances().map(|instance| instance.id).collect();
    for id in ids {
        let Some(instance) = pass.draft.instance(id).cloned() else {
            continue;
        };
        match instance.status {
            InstanceStatus::Idle | InstanceStatus::Busy => contact(pass, &instance),
            // The rest is done for machines in clouds elsewhere.
            _ if !instance.is_own_host() => {}
            InstanceStatus::Pending | InstanceStatus::Provisioning => connect(pass, &instance),
            InstanceStatus::Terminating => release(pass, &instance),
            InstanceStatus::Terminated => {}
        }
    }
}

fn connect(pass: &mut Pass, instance: &Instance) {
    if instance.retry_at.is_none_or(|at| pass.due(at)) {
        pass.act(Action::ConnectHost {
            instance: instance.id,
            generation: instance.generation,
        });
    }
}

fn contact(pass: &mut Pass, instance: &Instance) {
    let fact = pass.facts.agents.get(&instance.id);
    if fact.is_some_and(|fact| fact.connected) {
        if instance.unreachable {
            pass.propose(SetReachability {
                instance: instance.id,
                unreachable: false,
                error: None,
            });
        }
        return;
    }
    let Some(since) = pass.facts.silent_since(instance.id) else {
        return;
    };
    let error = fact.and_then(|fact| fact.error.clone());
    if !instance.unreachable && pass.due(after(since, UNREACHABLE_AFTER_SECONDS)) {
        pass.propose(SetReachability {
            instance: instance.id,
            unreachable: true,
            error,
        });
    }
    if pass.due(after(since, HEAL_AFTER_SECONDS)) {
        connect(pass, instance);
    }
}

fn release(pass: &mut Pass, instance: &Instance) {
    // Nobody ever logged in there: nothing to undo.
    if instance.host_key.is_none() && instance.facts.is_none() {
        pass.propose(InstanceGone {
            instance: instance.id,
            generation: instance.generation,
            message: None,
        });
    } else if instance.retry_at.is_none_or(|at| pass.due(at)) {
        pass.act(Action::ReleaseHost {
            instance: instance.id,
            generation: instance.generation,
        });
    }
}
