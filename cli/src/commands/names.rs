//! The names of things, for completion.

use crate::args::Common;
use crate::settings::config_path;
use dstack_api::client::{ApiError, ConfigFile, ProjectClient};
use dstack_api::http::runs::{ListRuns, MOST_RUNS};
use std::time::Duration;

/// Somebody waits with a finger on the key.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the server of the default project lists; nothing when it cannot be asked.
pub fn known(list: &impl AsyncFn(&ProjectClient) -> Result<Vec<String>, ApiError>) -> Vec<String> {
    let project = std::env::var("DSTACK_PROJECT").ok();
    let Ok(client) = super::connect(&Common { project }) else {
        return Vec::new();
    };
    let Ok(runtime) = crate::runtime() else {
        return Vec::new();
    };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, list(&client)).await });
    asked.ok().and_then(Result::ok).unwrap_or_default()
}

pub async fn runs(project: &ProjectClient) -> Result<Vec<String>, ApiError> {
    let request = ListRuns {
        project_name: Some(project.name().to_owned()),
        limit: MOST_RUNS,
        job_submissions_limit: Some(1),
        ..ListRuns::default()
    };
    let runs = project.client().list_runs(&request).await?;
    Ok(runs
        .into_iter()
        .filter_map(|run| run.run_spec.run_name)
        .collect())
}

pub async fn fleets(project: &ProjectClient) -> Result<Vec<String>, ApiError> {
    let fleets = project.list_fleets().await?;
    Ok(fleets.into_iter().map(|fleet| fleet.name).collect())
}

pub async fn secrets(project: &ProjectClient) -> Result<Vec<String>, ApiError> {
    let secrets = project.list_secrets().await?;
    Ok(secrets.into_iter().map(|secret| secret.name).collect())
}

/// Of this machine's configuration.
pub fn projects() -> Vec<String> {
    let path = config_path().ok();
    let file = path.and_then(|path| ConfigFile::read(&path).ok());
    let projects = file.unwrap_or_default().projects;
    projects.into_iter().map(|entry| entry.name).collect()
}
