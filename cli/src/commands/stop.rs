//! `dstack stop`.

use crate::args::Stop;
use crate::failure::Outcome;
use crate::ui;

/// Asks, orders the stop, and does not wait for it.
pub async fn stop(args: Stop) -> Outcome {
    let project = super::connect(&args.common)?;
    let run = project
        .get_run_by_name(&args.run)
        .await
        .map_err(super::refused)?;
    if run.status.is_finished() {
        ui::talk(&format!("Run {} has ended already", args.run));
        return Ok(());
    }
    let verb = if args.abort { "Abort" } else { "Stop" };
    ui::agree(args.yes, &format!("{verb} the run {}?", args.run))?;
    project
        .stop_runs(vec![args.run], args.abort)
        .await
        .map_err(super::refused)?;
    ui::talk(if args.abort { "Aborting" } else { "Stopping" });
    Ok(())
}
