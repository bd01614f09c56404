//! `dstack delete -f FILE`.

use super::apply::load;
use crate::args::Delete;
use crate::failure::{Failure, Outcome};
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_domain::spec::AnyConfiguration;

/// Deletes what the configuration names.
pub async fn delete(args: Delete) -> Outcome {
    let loaded = load(args.file.as_deref())?;
    let project = super::connect(&args.common)?;
    let name = loaded
        .configuration
        .name()
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::refused(format!(
                "{} has no name, so there is nothing it could delete",
                loaded.path
            ))
        })?;
    match loaded.configuration {
        AnyConfiguration::Run(_) => {
            project
                .get_run_by_name(&name)
                .await
                .map_err(super::refused)?;
            agree(args.yes, "run", &name)?;
            project
                .delete_runs(vec![name])
                .await
                .map_err(super::refused)?;
        }
        AnyConfiguration::Fleet(_) => fleet(&project, name, args.yes).await?,
        AnyConfiguration::Volume(_) | AnyConfiguration::Gateway(_) => {
            return Err(Failure::refused(
                "this server has no volumes or gateways yet, so there are none to delete",
            ));
        }
    }
    ui::talk("Deleted");
    Ok(())
}

/// Deletes a fleet and waits until it is gone.
async fn fleet(project: &ProjectClient, name: String, yes: bool) -> Outcome {
    project
        .get_fleet_by_name(&name)
        .await
        .map_err(super::refused)?;
    agree(yes, "fleet", &name)?;
    project
        .delete_fleets(vec![name.clone()])
        .await
        .map_err(super::refused)?;
    super::fleet::wait_gone(project, &name).await
}

fn agree(yes: bool, kind: &str, name: &str) -> Outcome {
    ui::agree(yes, &format!("Delete the {kind} {name}?"))
}
