//! Things in a cloud's account: made once, looked for, ended. What was seen is told to the record; a healthy answer is
//! told apart from all others, because only that one may say that something is not there.

use crate::hosts::tools::Tools;
use dstack_backends::{Backend, Fabric, Key, Machine, Outcome, Plan};
use dstack_deploy::first_boot::FirstBoot;
use dstack_domain::command::{RecordIntent, Sighting};
use dstack_domain::ids::{IntentId, ProjectId};
use dstack_domain::model::{Intent, Kind, Phase, Purpose, Seen};
use dstack_domain::state::State;
use std::sync::Arc;

/// What a record asks for, taken from the view once: the call must be of one piece.
struct Order {
    intent: Arc<Intent>,
    cloud: Arc<dyn Backend>,
    key: Key,
}

/// Makes the thing: the one call that may. It ends early when the thing is not wanted any more.
pub async fn create(tools: &Arc<Tools>, id: IntentId, generation: u64, term: u64) {
    let Some(order) = order(tools, id, generation, Phase::Issued) else {
        return;
    };
    let sighting = match order {
        Ok(order) => tokio::select! {
            sighting = make(tools, &order) => sighting,
            () = called_off(tools, id) => return,
        },
        Err(why) => Sighting::Refused { why },
    };
    record(tools, id, generation, term, sighting).await;
}

async fn make(tools: &Tools, order: &Order) -> Sighting {
    let Some(offer) = &order.intent.offer else {
        return Sighting::Refused {
            why: "the record names no offer".into(),
        };
    };
    match order.intent.purpose {
        Purpose::Machine { .. } => match plan(tools, &order.intent) {
            Ok(plan) => machine(order.cloud.create(&order.key, offer, &plan).await),
            Err(why) => Sighting::Refused { why },
        },
        Purpose::Fabric { nodes } => {
            fabric(order.cloud.create_fabric(&order.key, offer, nodes).await)
        }
        Purpose::Stray { .. } => Sighting::Refused {
            why: "nobody makes strays".into(),
        },
    }
}

/// Looks whether it is there, and where.
pub async fn find(tools: &Arc<Tools>, id: IntentId, generation: u64, term: u64) {
    let Some(order) = current(tools, id, generation) else {
        return;
    };
    let sighting = match order {
        Ok(order) => match order.intent.kind() {
            Kind::Fabric => fabric(order.cloud.find_fabric(&order.key).await),
            Kind::Machine | Kind::Disk => machine(order.cloud.find(&order.key).await),
        },
        Err(why) => Sighting::Unknown { why },
    };
    record(tools, id, generation, term, sighting).await;
}

/// Ends it; that it is gone is said only by an answer that does not show it.
pub async fn release(tools: &Arc<Tools>, id: IntentId, generation: u64, term: u64) {
    let Some(order) = order(tools, id, generation, Phase::Releasing) else {
        return;
    };
    let sighting = match order {
        Ok(order) => {
            let outcome = match order.intent.kind() {
                Kind::Fabric => order.cloud.delete_fabric(&order.key).await,
                Kind::Machine | Kind::Disk => order.cloud.terminate(&order.key).await,
            };
            sighting(outcome, |()| Sighting::Absent)
        }
        Err(why) => Sighting::Unknown { why },
    };
    record(tools, id, generation, term, sighting).await;
}

/// Asks the project's clouds; the answer is kept for `decide`.
pub async fn fetch_offers(tools: &Arc<Tools>, project: ProjectId) {
    let view = tools.views.now();
    tools.clouds.offers(&view.state, project).await;
}

fn order(
    tools: &Tools,
    id: IntentId,
    generation: u64,
    phase: Phase,
) -> Option<Result<Order, String>> {
    let order = current(tools, id, generation)?;
    let fits = |order: &Order| order.intent.phase == phase;
    order.as_ref().map_or(true, fits).then_some(order)
}

/// The record as it is, if it is still of this generation; an error says why nobody can be asked.
fn current(tools: &Tools, id: IntentId, generation: u64) -> Option<Result<Order, String>> {
    let view = tools.views.now();
    let intent = view.state.intent(id).cloned();
    let intent = intent.filter(|intent| intent.generation == generation)?;
    let cloud = tools
        .clouds
        .cloud(&view.state, intent.project_id, intent.backend);
    let key = Key::new(&intent.key).ok_or_else(|| format!("{} names nothing", intent.key));
    Some(cloud.map_err(|error| error.to_string()).and_then(|cloud| {
        Ok(Order {
            intent,
            cloud,
            key: key?,
        })
    }))
}

/// Ends when the record asks for something else.
async fn called_off(tools: &Tools, id: IntentId) {
    let mut changed = tools.views.changed();
    loop {
        changed.mark_unchanged();
        let view = tools.views.now();
        let wanted = view.state.intent(id);
        if wanted.is_none_or(|intent| intent.phase != Phase::Issued) {
            return;
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn record(
    tools: &Arc<Tools>,
    intent: IntentId,
    generation: u64,
    term: u64,
    sighting: Sighting,
) {
    let command = RecordIntent {
        intent,
        generation,
        sighting,
    };
    tools.tell(term, command).await;
}

fn plan(tools: &Tools, intent: &Intent) -> Result<Plan, String> {
    let view = tools.views.now();
    let state: &State = &view.state;
    let project = state.project(intent.project_id);
    let key = project.map(|project| project.ssh_public_key.trim().to_owned());
    let key = key.ok_or("the project is gone")?;
    let fabric = match intent.fabric() {
        None => None,
        Some(id) => {
            let seen = state.intent(id).and_then(|fabric| fabric.seen.clone());
            Some(seen.ok_or("its fabric is gone")?.id)
        }
    };
    let boot = FirstBoot {
        login: dstack_backends::crusoe::LOGIN,
        keys: std::slice::from_ref(&key),
    };
    Ok(Plan {
        startup_script: boot.script().map_err(|error| error.to_string())?,
        ssh_public_key: key,
        fabric,
    })
}

fn machine(outcome: Outcome<Machine>) -> Sighting {
    sighting(outcome, |machine| {
        Sighting::Seen(Seen {
            id: machine.id,
            address: machine.address,
            internal_address: machine.internal_address,
            user: machine.user,
            port: machine.port,
        })
    })
}

fn fabric(outcome: Outcome<Fabric>) -> Sighting {
    sighting(outcome, |fabric| {
        Sighting::Seen(Seen {
            id: fabric.id,
            address: None,
            internal_address: None,
            user: String::new(),
            port: 0,
        })
    })
}

fn sighting<T>(outcome: Outcome<T>, seen: impl FnOnce(T) -> Sighting) -> Sighting {
    match outcome {
        Outcome::Done(thing) => seen(thing),
        Outcome::Refused(why) => Sighting::Refused { why },
        Outcome::Unknown(why) => Sighting::Unknown { why },
        Outcome::Absent => Sighting::Absent,
    }
}
