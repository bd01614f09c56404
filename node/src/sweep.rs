//! The net under the ledger: now and then the leader looks at every account for things that bear our mark and that no
//! record means. What it finds is noted first, and removed when a later look shows it still.

use std::sync::Arc;
use std::time::Duration;

use dstack_domain::command::{RecordSweep, without_record};
use dstack_domain::model::Backend;

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
    let (project, backend) = (account.project_id, account.kind);
    let before = tools.views.now();
    let found = tools.clouds.inventory(&before.state, project, backend);
    let found = found.await?;
    // The records are read after the account: what was made meanwhile has one by now.
    let view = tools.views.now();
    let strays = without_record(&view.state, &found);
    let is_news = !strays.is_empty() || view.state.strays_of(project, backend).next().is_some();
    if is_news {
        let command = RecordSweep {
            project,
            backend,
            found: strays.into_iter().cloned().collect(),
            remove: removes_strays(account),
        };
        tools.tell(term, command).await;
    }
    Ok(())
}
