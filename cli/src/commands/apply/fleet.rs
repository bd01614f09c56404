//! Applying a fleet.

use super::{keys, load, profile};
use crate::args::{Apply, Conditions, Resources};
use crate::commands::{fleet::wait_gone, refused};
use crate::failure::{Failure, Outcome};
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::fleets::{ApplyFleetInput, Fleet, FleetPlan, FleetSnapshot};
use dstack_api::http::instances::InstanceStatus;
use dstack_api::http::runs::ApplyAction;
use dstack_domain::spec::{FleetConfiguration, FleetSpec};
use jiff::Timestamp;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Plans, asks, applies, and waits until the instances are there.
pub async fn apply(
    project: &ProjectClient,
    mut configuration: FleetConfiguration,
    path: String,
    args: Apply,
) -> Outcome {
    if args.conditions != Conditions::default()
        || args.resources != Resources::default()
        || args.repository.is_chosen()
    {
        return Err(Failure::with_hint(
            "conditions, resources and repositories are given on the command line for runs only",
            "For a fleet, write them into its configuration",
        ));
    }
    if let Some(name) = &args.name {
        configuration.name = Some(name.clone());
    }
    load::fill_env(&mut configuration.env, &args, |name| {
        std::env::var(name).ok()
    })?;
    if let Some(ssh) = &mut configuration.ssh_config {
        keys::fill(ssh)?;
    }
    let spec = FleetSpec {
        configuration,
        configuration_path: Some(path),
        profile: profile::profile(&args.profile)?,
        autocreated: false,
    };
    let plan = project.get_fleet_plan(spec).await.map_err(refused)?;
    ui::plan::fleet(&plan, args.max_offers as usize);
    if !go_ahead(project, &plan, &args).await? {
        return Ok(());
    }
    let current = plan
        .current_resource
        .as_ref()
        .filter(|_| plan.action == Some(ApplyAction::Update))
        .map(FleetSnapshot::from);
    let input = ApplyFleetInput {
        spec: plan.spec,
        current_resource: current,
    };
    let fleet = project
        .apply_fleet(input, args.force)
        .await
        .map_err(refused)?;
    if args.detach {
        ui::talk(&format!("Fleet {} submitted", fleet.name));
        return Ok(());
    }
    wait_ready(project, fleet).await
}

/// Asks what must be asked; deletes first where only a new fleet will do.
async fn go_ahead(project: &ProjectClient, plan: &FleetPlan, args: &Apply) -> Outcome<bool> {
    let Some(current) = &plan.current_resource else {
        let name = plan
            .spec
            .configuration
            .name
            .as_deref()
            .unwrap_or("with a generated name");
        return ui::agree(args.yes, &format!("Create the fleet {name}?")).map(|()| true);
    };
    let unchanged = plan.effective_spec.as_ref() == Some(&current.spec);
    if unchanged && !args.force {
        ui::talk(&format!("Fleet {}: no changes", current.name));
        if args.yes {
            return Ok(false);
        }
    }
    if plan.action == Some(ApplyAction::Update) && !unchanged {
        return ui::agree(
            args.yes,
            &format!("Update the fleet {} in place?", current.name),
        )
        .map(|()| true);
    }
    ui::agree(
        args.yes,
        &format!("Delete the fleet {} and create it anew?", current.name),
    )?;
    project
        .delete_fleets(vec![current.name.clone()])
        .await
        .map_err(refused)?;
    wait_gone(project, &current.name).await?;
    Ok(true)
}

async fn wait_ready(project: &ProjectClient, mut fleet: Fleet) -> Outcome {
    loop {
        let settling = |status: &InstanceStatus| {
            matches!(
                status,
                InstanceStatus::Pending
                    | InstanceStatus::Provisioning
                    | InstanceStatus::Terminating
            )
        };
        let waiting = fleet
            .instances
            .iter()
            .filter(|one| settling(&one.status))
            .count();
        if waiting == 0 {
            break;
        }
        ui::status(&format!(
            "fleet {}: {} of {} instances ready",
            fleet.name,
            fleet.instances.len() - waiting,
            fleet.instances.len()
        ));
        tokio::time::sleep(LOOK_AGAIN).await;
        fleet = project
            .get_fleet_by_name(&fleet.name)
            .await
            .map_err(refused)?;
    }
    ui::status_done();
    let failed = fleet
        .instances
        .iter()
        .any(|one| one.status == InstanceStatus::Terminated);
    ui::fleets::fleets(std::slice::from_ref(&fleet), failed, Timestamp::now()).print();
    if failed {
        return Err(Failure::with_hint(
            format!(
                "some instances of the fleet {} could not be made ready",
                fleet.name
            ),
            format!("See why: dstack event --within-fleet {}", fleet.name),
        ));
    }
    Ok(())
}
