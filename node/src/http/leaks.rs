//! The ledger against the account, asked for now. Ours alone.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use dstack_api::http::leaks::{Leaks, LedgerThing, Verdict};
use dstack_domain::command::Found;
use dstack_domain::ids::ProjectId;
use dstack_domain::model::{Intent, Kind, Phase};
use dstack_domain::spec::BackendType;
use dstack_domain::state::State as Memory;
use serde_json::Value;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::MaybeBody;
use crate::context::Context;

type Place = (BackendType, Kind, String);

pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    _body: MaybeBody<Value>,
) -> Outcome<Leaks> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let (mut there, mut problems) = (BTreeMap::new(), Vec::new());
    for account in scope.state().backends_of(scope.project_id()) {
        let kind = account.kind;
        let clouds = &context.clouds;
        let asked = clouds.inventory(scope.state(), scope.project_id(), kind);
        match asked.await {
            Ok(found) => there.extend(found.into_iter().map(|one| (place(kind, &one), one))),
            Err(error) => problems.push(format!("Backend {kind}: {error}")),
        }
    }
    // Records are read after the account: what was made meanwhile has one by now.
    let view = context.views.now();
    let things = compare(&view.state, scope.project_id(), there, problems.is_empty());
    Ok(Answer::new(Leaks { things, problems }, view.revision))
}

fn place(backend: BackendType, found: &Found) -> Place {
    (backend, found.kind, found.key.clone())
}

fn compare(
    state: &Memory,
    project: ProjectId,
    mut there: BTreeMap<Place, Found>,
    whole: bool,
) -> Vec<LedgerThing> {
    let mut things = Vec::new();
    // Another project may share the account; what is its is none of this one's business.
    let others = state
        .intents()
        .filter(|one| one.project_id != project && one.fleet_id.is_some());
    for intent in others {
        for kind in [intent.kind(), Kind::Disk] {
            there.remove(&(intent.backend, kind, intent.key.clone()));
        }
    }
    for intent in state.intents().filter(|one| one.project_id == project) {
        let found = there.remove(&(intent.backend, intent.kind(), intent.key.clone()));
        // A machine's record speaks for its disk.
        let disk = there.remove(&(intent.backend, Kind::Disk, intent.key.clone()));
        things.push(recorded(state, intent, found.as_ref(), whole));
        things.extend(disk.map(|disk| LedgerThing {
            kind: Kind::Disk,
            price: 0.0,
            ..recorded(state, intent, Some(&disk), whole)
        }));
    }
    things.extend(
        there
            .into_iter()
            .map(|((backend, kind, key), found)| LedgerThing {
                backend,
                kind,
                key,
                id: Some(found.id),
                phase: None,
                fleet_name: None,
                instance_name: None,
                price: 0.0,
                since: None,
                verdict: Verdict::Leaked,
                message: Some("No record means it".into()),
            }),
    );
    things.sort_by(|a, b| (a.verdict, &a.key, a.kind).cmp(&(b.verdict, &b.key, b.kind)));
    things
}

fn recorded(state: &Memory, intent: &Intent, found: Option<&Found>, whole: bool) -> LedgerThing {
    let stray = intent.fleet_id.is_none();
    let verdict = match (intent.phase, found) {
        (Phase::Doubtful, Some(_)) if stray => Verdict::Leaked,
        (Phase::Doubtful, _) => Verdict::Doubtful,
        (Phase::Observed, Some(_)) => Verdict::Accounted,
        (Phase::Observed, None) if whole => Verdict::Missing,
        (Phase::Observed, None) => Verdict::Doubtful,
        _ => Verdict::Moving,
    };
    let fleet = intent.fleet_id.and_then(|id| state.fleet(id));
    let instance = intent.instance().and_then(|id| state.instance(id));
    LedgerThing {
        backend: intent.backend,
        kind: intent.kind(),
        key: intent.key.clone(),
        id: found.map(|found| found.id.clone()),
        phase: Some(intent.phase),
        fleet_name: fleet.map(|fleet| fleet.name.clone()),
        instance_name: instance.map(|instance| instance.name.clone()),
        price: intent.price(),
        since: Some(intent.created_at.into()),
        verdict,
        message: intent.last_error.clone(),
    }
}
