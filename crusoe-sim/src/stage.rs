//! Behind the scenes: who tests may order misfortunes and look past the doors. Not part of the cloud, not signed, and
//! only there when asked for.

use crate::faults::{Fault, Faults};
use crate::server::Shared;
use crate::world::No;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The next calls that contain `calls` in their `METHOD path` meet this.
#[derive(Debug, Deserialize)]
struct Plan {
    calls: String,
    fault: Ordered,
    #[serde(default = "once")]
    times: u32,
}

/// The faults that can be ordered by name.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ordered {
    ErrorBefore,
    ErrorAfter,
    LostAnswer,
    OutOfStock,
}

impl From<Ordered> for Fault {
    fn from(ordered: Ordered) -> Self {
        match ordered {
            Ordered::ErrorBefore => Fault::ErrorBefore,
            Ordered::ErrorAfter => Fault::ErrorAfter,
            Ordered::LostAnswer => Fault::LostAnswer,
            Ordered::OutOfStock => Fault::FailsLate("out_of_stock"),
        }
    }
}

fn once() -> u32 {
    1
}

/// What there is, whether a list shows it yet or not.
#[derive(Debug, Serialize)]
struct Truth {
    machines: Vec<String>,
    disks: Vec<String>,
    partitions: Vec<String>,
    /// How many machines were ever made under a name.
    made: BTreeMap<String, u32>,
    /// Calls that were answered, and those turned away because there were too many.
    calls: u64,
    too_many: u64,
}

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sim/faults", post(faults))
        .route("/sim/plan", post(plan))
        .route("/sim/act", post(act))
        .route("/sim/truth", get(truth))
}

async fn faults(State(shared): State<Arc<Shared>>, Json(rates): Json<Faults>) {
    shared.fate.set(rates);
}

async fn plan(State(shared): State<Arc<Shared>>, Json(plan): Json<Plan>) {
    for _ in 0..plan.times {
        shared.fate.plan(&plan.calls, plan.fault.into());
    }
}

/// What somebody does in the cloud's console to every machine whose name contains `name`.
#[derive(Debug, Deserialize)]
struct Act {
    name: String,
    action: String,
}

async fn act(State(shared): State<Arc<Shared>>, Json(act): Json<Act>) -> Result<(), String> {
    let mut world = shared.world.lock();
    let now = Instant::now();
    world.pass(now);
    let all = world.machines.values();
    let meant = all.filter(|one| one.name.contains(&act.name));
    let ids: Vec<String> = meant.map(|one| one.id.clone()).collect();
    for id in ids {
        let done = match act.action.as_str() {
            "DELETE" => world.delete_machine(&id, now),
            action => world.change_machine(&id, &json!({ "action": action }), now),
        };
        done.map_err(|No(_, _, why)| why)?;
    }
    Ok(())
}

async fn truth(State(shared): State<Arc<Shared>>) -> Json<Truth> {
    let (calls, too_many) = shared.counted();
    let mut world = shared.world.lock();
    world.pass(Instant::now());
    Json(Truth {
        machines: world
            .machines
            .values()
            .map(|one| one.name.clone())
            .collect(),
        disks: world.disks.values().map(|one| one.name.clone()).collect(),
        partitions: world
            .partitions
            .values()
            .map(|one| one.name.clone())
            .collect(),
        made: world.made_names.clone(),
        calls,
        too_many,
    })
}
