//! `dstack backend …`.

use super::refused;
use crate::args::{Backend, BackendCommand};
use crate::failure::{Failure, Outcome};
use crate::ui::{self, Table};
use anyhow::Context;
use dstack_api::client::ProjectClient;
use dstack_api::http::errors::ErrorCode;
use dstack_domain::spec::BackendType;
use serde_json::json;
use std::path::Path;

/// Lists when no verb is given.
pub async fn backend(args: Backend) -> Outcome {
    let project = super::connect(&args.common)?;
    match args.command.unwrap_or(BackendCommand::List) {
        BackendCommand::List => list(&project, args.json).await,
        BackendCommand::Set { file } => set(&project, &file).await,
        BackendCommand::Test { name } => {
            project.test_backend(&name).await.map_err(refused)?;
            ui::talk("OK");
            Ok(())
        }
        BackendCommand::Delete { name, yes } => {
            let kind = BackendType::parse(&name);
            let kind = kind.ok_or_else(|| Failure::refused(format!("{name} is no backend")))?;
            ui::agree(yes, &format!("Delete the backend {name}?"))?;
            project.delete_backends(vec![kind]).await.map_err(refused)?;
            ui::talk("OK");
            Ok(())
        }
    }
}

async fn list(project: &ProjectClient, as_json: bool) -> Outcome {
    let backends = project.get().await.map_err(refused)?.backends;
    if as_json {
        ui::json(&json!({"project": project.name(), "backends": backends}));
        return Ok(());
    }
    let mut table = Table::new(&["BACKEND", "PROJECT", "REGIONS"]);
    for backend in backends {
        let text = |key: &str| backend.config.get(key).and_then(|value| value.as_str());
        let regions = backend
            .config
            .get("regions")
            .and_then(|value| value.as_array());
        let regions = regions.map(|regions| {
            let names: Vec<&str> = regions
                .iter()
                .filter_map(|region| region.as_str())
                .collect();
            names.join(", ")
        });
        table.row([
            backend.name.clone(),
            text("project_id").unwrap_or_default().to_owned(),
            regions.unwrap_or_else(|| "*".to_owned()),
        ]);
    }
    table.print();
    Ok(())
}

async fn set(project: &ProjectClient, file: &Path) -> Outcome {
    let yaml = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()).context("reading standard input")?,
        false => std::fs::read_to_string(file).map_err(|error| {
            Failure::refused(format!("{} cannot be read: {error}", file.display()))
        })?,
    };
    let made = project.set_backend(&yaml, false).await;
    match made {
        Err(error) if error.code() == Some(ErrorCode::ResourceExists) => {
            project.set_backend(&yaml, true).await.map_err(refused)?
        }
        other => other.map_err(refused)?,
    }
    ui::talk("OK");
    Ok(())
}
