//! `dstack project …`: only this machine's configuration; `add` also asks the server.

use crate::args::{Project, ProjectAdd, ProjectCommand, ProjectDelete};
use crate::failure::Outcome;
use crate::settings::{Settings, config_path, split_urls};
use crate::ui::{self, Table};
use dstack_api::client::{ConfigFile, ConfigFileError, Entry};
use serde_json::json;
use std::io::IsTerminal;

/// Lists when no verb is given.
pub async fn project(args: Project) -> Outcome {
    match args.command.unwrap_or(ProjectCommand::List { json: false }) {
        ProjectCommand::List { json: false } if args.verbose => list_users().await,
        ProjectCommand::List { json } => list(json),
        ProjectCommand::Add(add) => self::add(add).await,
        ProjectCommand::SetDefault(which) => change(|file| file.set_default(&which.name)),
        ProjectCommand::Delete(which) => delete(&which),
    }
}

fn list(as_json: bool) -> Outcome {
    let file = ConfigFile::read(&config_path()?)?;
    if as_json {
        // Tokens stay in the file.
        let projects: Vec<_> = file
            .projects
            .iter()
            .map(|entry| json!({ "name": entry.name, "url": entry.url, "default": entry.default }))
            .collect();
        ui::json(&json!({ "projects": projects }));
        return Ok(());
    }
    let mut table = Table::new(&["PROJECT", "URL", "DEFAULT"]);
    for entry in &file.projects {
        table.row([
            entry.name.clone(),
            entry.url.clone(),
            if entry.default {
                "✓".into()
            } else {
                String::new()
            },
        ]);
    }
    table.print();
    Ok(())
}

/// As [`list`], with whom each token makes the user.
async fn list_users() -> Outcome {
    let file = ConfigFile::read(&config_path()?)?;
    let mut table = Table::new(&["PROJECT", "URL", "USER", "DEFAULT"]);
    for entry in &file.projects {
        let default = if entry.default { "✓" } else { "" };
        let user = user_of(entry).await.unwrap_or("(invalid token)".to_owned());
        table.row([&entry.name, &entry.url, &user, default]);
    }
    table.print();
    Ok(())
}

async fn user_of(entry: &Entry) -> Option<String> {
    let settings = Settings {
        urls: split_urls(&entry.url).ok()?,
        token: entry.token.clone(),
        project: entry.name.clone(),
    };
    let client = super::client(&settings).ok()?;
    let user = client.client().my_user().await.ok()?;
    Some(user.user.username)
}

async fn add(add: ProjectAdd) -> Outcome {
    let settings = Settings {
        urls: split_urls(&add.url)?,
        token: add.token.clone(),
        project: add.name.clone(),
    };
    super::client(&settings)?
        .get()
        .await
        .map_err(super::refused)?;
    let path = config_path()?;
    let mut file = ConfigFile::read(&path)?;
    let default = add.yes
        || (!add.no
            && !file.projects.is_empty()
            && std::io::stdin().is_terminal()
            && ui::confirm(&format!("Set {} as your default project?", add.name))?);
    file.put(Entry {
        name: add.name,
        url: settings.urls.join(","),
        token: add.token,
        default,
    });
    file.write(&path)?;
    ui::talk("OK");
    Ok(())
}

fn delete(which: &ProjectDelete) -> Outcome {
    ui::agree(
        which.yes,
        &format!("Forget project {}? The server keeps it.", which.name),
    )?;
    change(|file| file.remove(&which.name))
}

fn change(with: impl FnOnce(&mut ConfigFile) -> Result<(), ConfigFileError>) -> Outcome {
    let path = config_path()?;
    let mut file = ConfigFile::read(&path)?;
    with(&mut file)?;
    file.write(&path)?;
    ui::talk("OK");
    Ok(())
}
