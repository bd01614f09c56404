//! `dstack secret …`.

use crate::args::{Secret, SecretCommand};
use crate::failure::Outcome;
use crate::ui::{self, Table};
use serde_json::json;

/// Lists when no verb is given.
pub async fn secret(args: Secret) -> Outcome {
    let project = super::connect(&args.common)?;
    match args.command.unwrap_or(SecretCommand::List) {
        SecretCommand::List => {
            let secrets = project.list_secrets().await.map_err(super::refused)?;
            if args.json {
                ui::json(&json!({"project": project.name(), "secrets": secrets}));
                return Ok(());
            }
            let mut table = Table::new(&["NAME", "VALUE"]);
            for secret in secrets {
                table.row([secret.name, "******".into()]);
            }
            table.print();
        }
        SecretCommand::Get { name } => {
            let secret = project.get_secret(&name).await.map_err(super::refused)?;
            if args.json {
                ui::json(&secret);
                return Ok(());
            }
            let mut table = Table::new(&["NAME", "VALUE"]);
            table.row([secret.name, secret.value.unwrap_or_default()]);
            table.print();
        }
        SecretCommand::Set { name, value } => {
            project
                .set_secret(&name, &value)
                .await
                .map_err(super::refused)?;
            ui::talk("OK");
        }
        SecretCommand::Delete { name, yes } => {
            ui::agree(yes, &format!("Delete the secret {name}?"))?;
            project
                .delete_secrets(vec![name])
                .await
                .map_err(super::refused)?;
            ui::talk("OK");
        }
    }
    Ok(())
}
