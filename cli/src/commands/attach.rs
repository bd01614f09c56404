//! `dstack attach`.

use super::follow::Follow;
use super::{logs, refused};
use crate::args::Attach;
use crate::attach::{Attached, Keeper, Wanted};
use crate::failure::{Failure, Outcome};
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::runs::{Run, RunStatus};
use std::convert::Infallible;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Opens the way to a job and keeps it until the run ends or Ctrl-C; with `--logs` shows the output meanwhile.
pub async fn attach(args: Attach) -> Outcome {
    let project = super::connect(&args.common)?;
    let since = args.since.as_deref().map(logs::moment).transpose()?;
    let run = project.get_run_by_name(&args.run).await.map_err(refused)?;
    if run.status.is_finished() && !(args.logs && run.status == RunStatus::Done) {
        return Err(Failure::with_hint(
            format!("run {} is finished", args.run),
            format!("See its output: dstack logs {}", args.run),
        ));
    }
    let place = (args.replica.unwrap_or_default(), args.job);
    let wanted = Wanted::new(&args.run, place, &args.reach)?;
    let keeper = Keeper::start(&project, wanted)?;
    let mut follow = Follow::new(&project, &args.run, place, false, since);
    let end = async {
        if args.logs {
            tokio::select! {
                run = follow.until_end() => run,
                never = announce(&keeper, &args.reach.host) => match never {},
            }
        } else {
            if let Some(attached) = keeper.attached().await? {
                show(&attached, &args.reach.host);
                ui::talk("To detach, press Ctrl+C.");
            }
            wait_end(&project, &args.run).await
        }
    };
    tokio::select! {
        run = end => match run?.status {
            RunStatus::Done => Ok(()),
            _ => Err(Failure::RunNotDone),
        },
        _ = tokio::signal::ctrl_c() => {
            ui::status_done();
            ui::talk("Detached");
            Ok(())
        }
    }
}

/// Says once how to come in, or why one cannot, beside output that is shown either way.
pub async fn announce(keeper: &Keeper, bind: &str) -> Infallible {
    match keeper.attached().await {
        Ok(Some(attached)) => show(&attached, bind),
        Ok(None) => {}
        Err(why) => ui::talk(&format!("Not attached: {why}")),
    }
    std::future::pending().await
}

/// How to use it.
fn show(attached: &Attached, bind: &str) {
    ui::talk(&format!("Attached: ssh {}", attached.alias));
    for (local, remote) in &attached.ports {
        ui::talk(&format!("  {bind}:{local} -> port {remote} of the job"));
    }
    if let Some(url) = &attached.ide_url {
        ui::talk(&format!("  {url}"));
    }
}

async fn wait_end(project: &ProjectClient, name: &str) -> Outcome<Run> {
    loop {
        let run = project.get_run_by_name(name).await.map_err(refused)?;
        if run.status.is_finished() {
            return Ok(run);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
