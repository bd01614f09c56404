//! `dstack fleet …`.

use crate::args::{Fleet, FleetCommand, FleetDelete};
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::fleets::GetFleet;
use jiff::Timestamp;
use std::time::Duration;

const REFRESH: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Lists when no verb is given.
pub async fn fleet(args: Fleet) -> Outcome {
    let project = super::connect(&args.common)?;
    match args.command {
        None | Some(FleetCommand::List) => {
            list(&project, args.verbose, args.watch, args.json).await
        }
        Some(FleetCommand::Get(which)) => {
            let request = GetFleet {
                name: which.name,
                id: which.id,
            };
            ui::json(&project.get_fleet(&request).await.map_err(super::refused)?);
            Ok(())
        }
        Some(FleetCommand::Delete(which)) => delete(&project, which).await,
    }
}

async fn list(project: &ProjectClient, verbose: bool, watch: bool, json: bool) -> Outcome {
    loop {
        let fleets = project.list_fleets().await.map_err(super::refused)?;
        if json {
            ui::json(&serde_json::json!({ "project": project.name(), "fleets": fleets }));
        } else {
            if watch {
                ui::redraw();
            }
            ui::fleets::fleets(&fleets, verbose, Timestamp::now()).print();
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn delete(project: &ProjectClient, which: FleetDelete) -> Outcome {
    let fleet = project
        .get_fleet_by_name(&which.name)
        .await
        .map_err(super::refused)?;
    let what = if which.instances.is_empty() {
        format!(
            "the fleet {} and its {} instances",
            which.name,
            fleet.instances.len()
        )
    } else {
        let numbers: Vec<String> = which.instances.iter().map(u32::to_string).collect();
        format!(
            "instances {} of the fleet {}",
            numbers.join(", "),
            which.name
        )
    };
    ui::agree(which.yes, &format!("Delete {what}?"))?;
    if which.instances.is_empty() {
        project
            .delete_fleets(vec![which.name])
            .await
            .map_err(super::refused)?;
    } else {
        project
            .delete_fleet_instances(&which.name, which.instances)
            .await
            .map_err(super::refused)?;
    }
    ui::talk(&format!("Deleting {what}"));
    Ok(())
}

/// Waits until the server says that the fleet does not exist.
pub async fn wait_gone(project: &ProjectClient, name: &str) -> Outcome {
    loop {
        match project.get_fleet_by_name(name).await {
            Ok(_) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(super::refused(error)),
        }
    }
}
