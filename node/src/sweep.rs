//! The net under the ledger: now and then the leader looks at every account for things that bear our mark and that no
//! record means. What it finds is noted first, and removed when a later look shows it still.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dstack_backends::Outcome;
use dstack_domain::command::{Found, RecordSweep};
use dstack_domain::ids::ProjectId;
use dstack_domain::model::{Backend, Kind};
use dstack_domain::state::State;

use crate::clouds::{Useless, removes_strays};
use crate::hosts::tools::Tools;

/// Three lists of an account each time.
const PERIOD: Duration = Duration::from_secs(30);

/// Looks for as long as the process lives, and only where this replica leads.
pub async fn sweep(tools: Arc<Tools>, term: impl Fn() -> Option<u64>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(term) = term() else { continue };
        let view = tools.views.now();
        let accounts: Vec<Arc<Backend>> = view
            .state
            .projects()
            .flat_map(|project| view.state.backends_of(project.id).cloned())
            .collect();
        for account in accounts {
            if let Err(error) = look(&tools, &account, term).await {
                let kind = account.kind;
                tracing::warn!(%kind, %error, "an account could not be looked at");
            }
        }
    }
}

async fn look(tools: &Tools, account: &Backend, term: u64) -> Result<(), Useless> {
    let found = inventory(tools, account).await?;
    let view = tools.views.now();
    let strays = without_record(&view.state, found);
    if strays.is_empty() && !watches(&view.state, account.project_id) {
        return Ok(());
    }
    let command = RecordSweep {
        project: account.project_id,
        backend: account.kind,
        found: strays,
        remove: removes_strays(account),
    };
    tools.tell(term, command).await;
    Ok(())
}

async fn inventory(tools: &Tools, account: &Backend) -> Result<Vec<Found>, Useless> {
    let view = tools.views.now();
    let (project, kind) = (account.project_id, account.kind);
    match tools.clouds.inventory(&view.state, project, kind).await? {
        Outcome::Done(found) => Ok(found),
        Outcome::Refused(why) | Outcome::Unknown(why) => Err(Useless::because(why)),
        Outcome::Absent => Err(Useless::because("there is no such account")),
    }
}

/// The records are read after the account: what was made meanwhile has one by now. Those of all projects, because they
/// may share an account.
fn without_record(state: &State, found: Vec<Found>) -> Vec<Found> {
    let records = state.intents();
    let known: BTreeSet<(Kind, &str)> = records
        .filter(|one| one.fleet_id.is_some())
        .map(|one| (one.kind(), one.key.as_str()))
        .collect();
    let mut strays = found;
    strays.retain(|one| {
        let kind = match one.kind {
            Kind::Disk => Kind::Machine,
            kind => kind,
        };
        !known.contains(&(kind, one.key.as_str()))
    });
    strays
}

/// Whether a stray is on record there.
fn watches(state: &State, project: ProjectId) -> bool {
    let mut all = state.intents();
    all.any(|one| one.project_id == project && one.fleet_id.is_none())
}
