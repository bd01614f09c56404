//! `dstack volume …`.

use super::refused;
use crate::args::{Volume, VolumeCommand};
use crate::failure::Outcome;
use crate::ui;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

const REFRESH: Duration = Duration::from_secs(2);

/// Lists when no verb is given.
pub async fn volume(args: Volume) -> Outcome {
    let project = super::connect(&args.common)?;
    match args.command.unwrap_or(VolumeCommand::List) {
        VolumeCommand::List => loop {
            let volumes = project.list_volumes().await.map_err(refused)?;
            if args.json {
                ui::json(&json!({"project": project.name(), "volumes": volumes}));
            } else {
                if args.watch {
                    ui::redraw();
                }
                ui::places::volumes(&volumes, args.verbose, Timestamp::now()).print();
            }
            if !args.watch {
                return Ok(());
            }
            tokio::time::sleep(REFRESH).await;
        },
        VolumeCommand::Get(which) => {
            ui::json(&project.get_volume(&which.name).await.map_err(refused)?);
        }
        VolumeCommand::Delete(which) => {
            project.get_volume(&which.name).await.map_err(refused)?;
            ui::agree(which.yes, &format!("Delete the volume {}?", which.name))?;
            let names = vec![which.name];
            project.delete_volumes(names).await.map_err(refused)?;
            ui::talk("Deleting");
        }
    }
    Ok(())
}
