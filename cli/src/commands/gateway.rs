//! `dstack gateway …`.

use super::refused;
use crate::args::{Gateway, GatewayCommand};
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::ProjectClient;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

const REFRESH: Duration = Duration::from_secs(2);

/// Lists when no verb is given.
pub async fn gateway(args: Gateway) -> Outcome {
    let project = super::connect(&args.common)?;
    match args.command.unwrap_or(GatewayCommand::List) {
        GatewayCommand::List => loop {
            let gateways = project.list_gateways().await.map_err(refused)?;
            if args.format.is_json() {
                ui::json(&json!({"project": project.name(), "gateways": gateways}));
            } else {
                if args.watch {
                    ui::redraw();
                }
                ui::places::gateways(&gateways, args.verbose, Timestamp::now()).print();
            }
            if !args.watch {
                return Ok(());
            }
            tokio::time::sleep(REFRESH).await;
        },
        GatewayCommand::Get(which) => {
            ui::json(&project.get_gateway(&which.name).await.map_err(refused)?);
        }
        GatewayCommand::Delete(which) => {
            project.get_gateway(&which.name).await.map_err(refused)?;
            ui::agree(which.yes, &format!("Delete the gateway {}?", which.name))?;
            let names = vec![which.name];
            project.delete_gateways(names).await.map_err(refused)?;
            ui::talk("Deleting");
        }
        GatewayCommand::Update {
            name,
            set_default,
            domain,
        } => update(&project, &name, set_default, domain).await?,
    }
    Ok(())
}

async fn update(
    project: &ProjectClient,
    name: &str,
    set_default: bool,
    domain: Option<String>,
) -> Outcome {
    if let Some(domain) = domain {
        let changed = project.set_gateway_domain(name, &domain).await;
        changed.map_err(refused)?;
    }
    if set_default {
        project.set_default_gateway(name).await.map_err(refused)?;
    }
    let gateway = project.get_gateway(name).await.map_err(refused)?;
    ui::places::gateways(&[gateway], false, Timestamp::now()).print();
    Ok(())
}
