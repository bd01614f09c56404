//! `dstack run get`.

use crate::args::RunGet;
use crate::failure::Outcome;
use crate::ui;
use dstack_api::http::runs::GetRun;

/// Prints the run as JSON.
pub async fn get(args: RunGet) -> Outcome {
    let project = super::connect(&args.common)?;
    let run = project
        .get_run(&GetRun {
            run_name: args.name,
            id: args.id,
        })
        .await
        .map_err(super::refused)?;
    ui::json(&run);
    Ok(())
}
