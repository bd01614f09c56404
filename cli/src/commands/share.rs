//! `dstack export …` and `dstack import …`.

use super::refused;
use crate::args::{Export, ExportCommand, Import, ImportCommand};
use crate::failure::{Failure, Outcome};
use crate::ui;
use serde_json::{Value, json};

/// Lists when no verb is given.
pub async fn export(args: Export) -> Outcome {
    let project = super::connect(&args.common)?;
    let (verb, request) = match args.command.unwrap_or(ExportCommand::List) {
        ExportCommand::List => ("list", json!({})),
        ExportCommand::Create {
            name,
            importers,
            fleets,
            gateways,
            global,
        } => (
            "create",
            json!({"name": name, "is_global": global, "importer_projects": importers,
                "exported_fleets": fleets, "exported_gateways": gateways}),
        ),
        ExportCommand::Update(change) => (
            "update",
            json!({"name": change.name,
                "set_global": change.set_global, "unset_global": change.unset_global,
                "add_importer_projects": change.add_importers, "remove_importer_projects": change.remove_importers,
                "add_exported_fleets": change.add_fleets, "remove_exported_fleets": change.remove_fleets,
                "add_exported_gateways": change.add_gateways, "remove_exported_gateways": change.remove_gateways}),
        ),
        ExportCommand::Delete(which) => {
            ui::agree(which.yes, &format!("Delete the export {}?", which.name))?;
            ("delete", json!({ "name": which.name }))
        }
    };
    show(project.exports(verb, &request).await.map_err(refused)?);
    Ok(())
}

/// Lists when no verb is given.
pub async fn import(args: Import) -> Outcome {
    let project = super::connect(&args.common)?;
    let (verb, request) = match args.command.unwrap_or(ImportCommand::List) {
        ImportCommand::List => ("list", json!({})),
        ImportCommand::Delete { export, yes } => {
            let Some((owner, name)) = export.split_once('/') else {
                return Err(Failure::refused(format!(
                    "{export} does not say whose it is: write PROJECT/NAME"
                )));
            };
            ui::agree(yes, &format!("Delete the import {export}?"))?;
            (
                "delete",
                json!({"export_project_name": owner, "export_name": name}),
            )
        }
    };
    show(project.imports(verb, &request).await.map_err(refused)?);
    Ok(())
}

fn show(answer: Value) {
    match answer {
        Value::Null => ui::talk("OK"),
        answer => ui::json(&answer),
    }
}
