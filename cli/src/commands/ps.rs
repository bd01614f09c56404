//! `dstack ps`.

use crate::args::Ps;
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::runs::{ListRuns, MOST_RUNS, Run};
use jiff::Timestamp;
use std::time::Duration;

const REFRESH: Duration = Duration::from_secs(2);

/// Once, or until interrupted.
pub async fn ps(args: Ps) -> Outcome {
    let project = super::connect(&args.common)?;
    loop {
        let runs = runs(&project, &args).await?;
        if args.format.is_json() {
            ui::json(&serde_json::json!({ "project": project.name(), "runs": runs }));
        } else {
            if args.watch {
                ui::redraw();
            }
            ui::runs::runs(&runs, args.verbose, Timestamp::now()).print();
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// Without `-a` or `-n` the active ones, or the latest one when none is active, as upstream.
async fn runs(project: &ProjectClient, args: &Ps) -> Outcome<Vec<Run>> {
    let request = ListRuns {
        project_name: Some(project.name().to_owned()),
        only_active: !args.all && args.last.is_none(),
        limit: args.last.unwrap_or(MOST_RUNS).min(MOST_RUNS),
        job_submissions_limit: Some(1),
        ..ListRuns::default()
    };
    let runs = project
        .client()
        .list_runs(&request)
        .await
        .map_err(super::refused)?;
    if runs.is_empty() && request.only_active {
        let latest = ListRuns {
            only_active: false,
            limit: 1,
            ..request
        };
        return project
            .client()
            .list_runs(&latest)
            .await
            .map_err(super::refused);
    }
    Ok(runs)
}
