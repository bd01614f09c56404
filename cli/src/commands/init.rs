//! `dstack init`: the virtual repo every run without a Git repo refers to.

use crate::args::Common;
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::repos::{InitRepo, RepoInfo};

/// The id upstream's client gives the virtual repo.
pub const VIRTUAL_REPO: &str = "none";

/// Registers it and says so.
pub async fn init(common: &Common) -> Outcome {
    virtual_repo(&super::connect(common)?).await?;
    ui::talk("OK");
    Ok(())
}

/// Registers it; known already is as good.
pub async fn virtual_repo(project: &ProjectClient) -> Outcome {
    let request = InitRepo {
        repo_id: VIRTUAL_REPO.into(),
        repo_info: RepoInfo::Virtual {},
        repo_creds: None,
    };
    project.init_repo(&request).await.map_err(super::refused)
}
