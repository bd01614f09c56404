//! `dstack init`: makes a repository known to the server, with a token where it needs one.

use super::apply::repo::{Location, give};
use crate::args::Init;
use crate::failure::{Failure, Outcome};
use crate::git::Git;
use crate::paths::expand;
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::repos::{InitRepo, RepoInfo};
use std::path::Path;

/// The id upstream's client gives the virtual repo.
pub const VIRTUAL_REPO: &str = "none";

/// Registers it and says so.
pub async fn init(args: Init) -> Outcome {
    let project = super::connect(&args.common)?;
    match &args.repo {
        Some(repo) => {
            let location = Location::parse(&url(repo)?);
            let key = args.git_identity.as_deref().map(read_key).transpose()?;
            give(&project, &location, args.token, key).await?;
        }
        None if args.token.is_some() || args.git_identity.is_some() => {
            return Err(Failure::with_hint(
                "credentials for which repository?",
                "Name it: dstack init --repo . --token TOKEN",
            ));
        }
        None => virtual_repo(&project).await?,
    }
    ui::talk("OK");
    Ok(())
}

pub fn read_key(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", path.display())))
}

/// Rather than a folder.
pub fn is_address(repo: &str) -> bool {
    repo.contains("://") || (repo.contains('@') && repo.contains(':'))
}

/// An address is taken as it is; a folder is asked for its remote.
fn url(repo: &str) -> Outcome<String> {
    if is_address(repo) {
        return Ok(repo.to_owned());
    }
    let git = Git::open(&expand(repo, Path::new(".")))?;
    let remote = git.ask(&["remote", "get-url", "origin"])?;
    remote.ok_or_else(|| Failure::refused(format!("{repo} has no remote called origin")))
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
