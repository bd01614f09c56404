//! `repos:`: which commit the run starts from, and what was changed since.

use crate::args::Repository;
use crate::commands::{init, refused};
use crate::failure::{Failure, Outcome};
use crate::git::{Git, is_public};
use crate::paths::expand;
use anyhow::Context;
use dstack_api::client::ProjectClient;
use dstack_api::http::repos::{InitRepo, RemoteRepoCreds, RepoInfo};
use dstack_domain::spec::{RepoSpec, RunRepoData, RunSpec};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Where code goes when the configuration does not say.
const DEFAULT_FOLDER: &str = "/workflow";

/// The code of one run.
pub struct Code {
    id: String,
    data: RunRepoData,
    folder: Option<String>,
    /// A patch to the commit; empty when nothing was changed.
    diff: Vec<u8>,
}

impl Code {
    /// Looks at the first repo of the configuration and makes it known to the server.
    pub async fn find(
        project: &ProjectClient,
        repos: &[RepoSpec],
        here: &Path,
        given: &Repository,
    ) -> Outcome<Self> {
        let Some(repo) = repos.first() else {
            init::virtual_repo(project).await?;
            return Ok(Self {
                id: init::VIRTUAL_REPO.into(),
                data: RunRepoData::Virtual,
                folder: None,
                diff: Vec::new(),
            });
        };
        let (location, data, diff) = match (&repo.url, &repo.local_path) {
            (Some(url), _) => by_url(url, repo),
            (None, local) => working_copy(&expand(local.as_deref().unwrap_or("."), here))?,
        };
        register(project, &location, given).await?;
        Ok(Self {
            id: location.id(),
            data,
            folder: Some(folder(&repo.path)),
            diff,
        })
    }

    pub fn describe(&self, spec: &mut RunSpec) {
        spec.repo_id = Some(self.id.clone());
        spec.repo_data = Some(self.data.clone());
        spec.repo_dir.clone_from(&self.folder);
        spec.repo_code_hash = (!self.diff.is_empty()).then(|| self.digest());
    }

    /// Sends what was changed; nothing when nothing was.
    pub async fn upload(&self, project: &ProjectClient) -> Outcome {
        if self.diff.is_empty() {
            return Ok(());
        }
        project
            .upload_code(&self.id, &self.digest(), &self.diff)
            .await
            .map_err(refused)
    }

    fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.diff))
    }
}

/// Puts the repository of the command line in the place of the configuration's.
pub fn choose(given: &Repository, repos: &mut Vec<RepoSpec>) -> Outcome {
    if given.no_repo {
        repos.clear();
    }
    let Some(text) = &given.repo else {
        return Ok(());
    };
    let mut repo = match init::is_address(text) {
        true => json!({ "url": text, "branch": given.repo_branch, "hash": given.repo_hash }),
        false if given.repo_branch.is_some() || given.repo_hash.is_some() => {
            return Err(Failure::with_hint(
                "a clone runs as it lies here: its branch and commit cannot be chosen",
                "Check out what is to run, or name the repository by its address",
            ));
        }
        false => {
            // From where the command was typed, not from where the configuration lies.
            let here = std::env::current_dir().context("looking where this is")?;
            json!({ "local_path": expand(text, &here) })
        }
    };
    if let Some(written) = repos.first() {
        repo["path"] = json!(written.path);
    }
    let repo = serde_json::from_value(repo)
        .map_err(|error| Failure::refused(format!("--repo: {error}")))?;
    *repos = vec![repo];
    Ok(())
}

/// Where the code is, which state of it, and a patch to that.
type Found = (Location, RunRepoData, Vec<u8>);

fn by_url(url: &str, repo: &RepoSpec) -> Found {
    let location = Location::parse(url);
    let data = RunRepoData::Remote {
        repo_name: location.name.clone(),
        repo_branch: repo.branch.clone(),
        repo_hash: repo.hash.clone(),
        repo_config_name: None,
        repo_config_email: None,
    };
    (location, data, Vec::new())
}

/// A local clone runs as its pushed commit, with a patch on top.
fn working_copy(folder: &Path) -> Outcome<Found> {
    let git = Git::open(folder)?;
    let branch = git.ask(&["symbolic-ref", "--quiet", "--short", "HEAD"])?;
    let branch = branch.ok_or_else(|| {
        Failure::with_hint(
            "repos: no branch is checked out (detached HEAD)",
            "Check one out: git switch BRANCH",
        )
    })?;
    let of = |key: &str| git.ask(&["config", &format!("branch.{branch}.{key}")]);
    let (Some(remote), Some(merge)) = (of("remote")?, of("merge")?) else {
        return Err(Failure::with_hint(
            format!("repos: the branch {branch} follows no remote branch"),
            format!("Push it: git push -u origin {branch}"),
        ));
    };
    let merge = merge.trim_start_matches("refs/heads/").to_owned();
    let unknown = || {
        Failure::with_hint(
            format!("repos: {remote}/{merge} is not known here"),
            format!("Fetch it: git fetch {remote}"),
        )
    };
    let url = git
        .ask(&["remote", "get-url", &remote])?
        .ok_or_else(unknown)?;
    let commit = git
        .ask(&["rev-parse", &format!("{remote}/{merge}")])?
        .ok_or_else(unknown)?;
    let diff = git.diff(&commit)?;
    let location = Location::parse(&url);
    let data = RunRepoData::Remote {
        repo_name: location.name.clone(),
        repo_branch: Some(merge),
        repo_hash: Some(commit),
        repo_config_name: git.ask(&["config", "user.name"])?,
        repo_config_email: git.ask(&["config", "user.email"])?,
    };
    Ok((location, data, diff))
}

/// Tells the server from where to clone, unless it has credentials for it already.
async fn register(project: &ProjectClient, location: &Location, given: &Repository) -> Outcome {
    let key = given.git_identity.as_deref().map(init::read_key);
    let key = key.transpose()?;
    if key.is_some() || given.git_token.is_some() {
        return give(project, location, given.git_token.clone(), key).await;
    }
    let known = match project.get_repo(&location.id(), true).await {
        Ok(known) => known.repo_creds,
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(refused(error)),
    };
    if known.is_some() {
        return Ok(());
    }
    let url = location.public_url();
    if !is_public(&url) {
        return Err(Failure::with_hint(
            format!("repos: {url} cannot be read without credentials"),
            "Give the server what opens it: --token TOKEN or --git-identity FILE, here or with dstack init --repo .",
        ));
    }
    give(project, location, None, None).await
}

/// Registers the repository, with what opens it when it is not public.
pub async fn give(
    project: &ProjectClient,
    location: &Location,
    oauth_token: Option<String>,
    private_key: Option<String>,
) -> Outcome {
    let clone_url = match &private_key {
        Some(_) => location.url.clone(),
        None => location.public_url(),
    };
    let request = InitRepo {
        repo_id: location.id(),
        repo_info: RepoInfo::Remote {
            repo_name: location.name.clone(),
        },
        repo_creds: Some(RemoteRepoCreds {
            clone_url,
            private_key,
            oauth_token,
        }),
    };
    project.init_repo(&request).await.map_err(refused)
}

/// What identifies a repository, however its address is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    url: String,
    /// Host and path, for addresses that have a host.
    place: Option<(String, String)>,
    pub name: String,
}

impl Location {
    /// `https://…`, `ssh://…`, `git@host:path`, or whatever else git understands.
    pub fn parse(url: &str) -> Self {
        let url = url.trim();
        let place = match url.split_once("://") {
            Some(("https" | "http" | "ssh", rest)) => rest.split_once('/'),
            Some(_) => None,
            None if url.starts_with(['/', '.', '~']) => None,
            None => url.split_once(':'),
        };
        let clean = |path: &str| path.trim_matches('/').trim_end_matches(".git").to_owned();
        let place = place.map(|(authority, path)| {
            let host = authority.rsplit('@').next().unwrap_or(authority);
            (host.to_owned(), clean(path))
        });
        let path = place
            .as_ref()
            .map_or_else(|| clean(url), |(_, path)| path.clone());
        let name = path.rsplit('/').next().unwrap_or("unknown").to_owned();
        Self {
            url: url.to_owned(),
            place,
            name,
        }
    }

    /// The same for every way to write the address.
    pub fn id(&self) -> String {
        let unique = match &self.place {
            Some((host, path)) => format!("{host}/{path}"),
            None => self.url.clone(),
        };
        let digest = hex::encode(Sha256::digest(unique.as_bytes()));
        format!("{}-{}", self.name, digest.get(..8).unwrap_or_default())
    }

    /// Where anybody would clone it from. A plain `http` or local address is taken as it is.
    fn public_url(&self) -> String {
        match &self.place {
            Some((host, path)) if !self.url.starts_with("http://") => {
                let host = if self.url.starts_with("https://") {
                    host
                } else {
                    // The port of an SSH server is not that of a web server.
                    host.split(':').next().unwrap_or(host)
                };
                format!("https://{host}/{path}.git")
            }
            _ => self.url.clone(),
        }
    }
}

fn folder(path: &str) -> String {
    match path {
        "." => DEFAULT_FOLDER.to_owned(),
        path if path.starts_with(['/', '~']) => path.to_owned(),
        path => format!("{DEFAULT_FOLDER}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_id_however_it_is_written() {
        let ids: Vec<String> = [
            "https://github.com/a/b",
            "https://github.com/a/b.git",
            "https://user@github.com/a/b/",
            "git@github.com:a/b.git",
            "ssh://git@github.com/a/b.git",
        ]
        .iter()
        .map(|url| Location::parse(url).id())
        .collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert!(ids[0].starts_with("b-"));
        assert_ne!(Location::parse("https://github.com/a/c").id(), ids[0]);
    }

    #[test]
    fn the_command_lines_repository_takes_the_place_of_the_configurations() {
        let written: Vec<RepoSpec> = serde_json::from_value(json!([".:/code"])).unwrap();
        let chosen = |given: Repository| {
            let mut repos = written.clone();
            choose(&given, &mut repos).map(|()| repos)
        };
        let given = |repo: &str, branch: Option<&str>| Repository {
            repo: Some(repo.to_owned()),
            repo_branch: branch.map(str::to_owned),
            ..Repository::default()
        };
        assert_eq!(chosen(Repository::default()).unwrap(), written);
        let url = &chosen(given("https://host/a/b", Some("dev"))).unwrap()[0];
        assert_eq!(url.url.as_deref(), Some("https://host/a/b"));
        assert_eq!(
            (url.branch.as_deref(), url.path.as_str()),
            (Some("dev"), "/code")
        );
        let clone = &chosen(given("sub", None)).unwrap()[0];
        let here = std::env::current_dir().unwrap().join("sub");
        assert_eq!(clone.local_path.as_deref(), here.to_str());
        assert!(
            chosen(given("sub", Some("dev")))
                .unwrap_err()
                .to_string()
                .contains("branch")
        );
        let none = Repository {
            no_repo: true,
            ..Repository::default()
        };
        assert_eq!(chosen(none).unwrap(), []);
    }

    #[test]
    fn it_is_cloned_as_anybody_would() {
        for (url, public) in [
            ("git@github.com:a/b.git", "https://github.com/a/b.git"),
            ("ssh://git@host:2222/a/b", "https://host/a/b.git"),
            ("https://host:8443/a/b", "https://host:8443/a/b.git"),
            ("http://host/a/b", "http://host/a/b"),
            ("/srv/git/b", "/srv/git/b"),
            ("file:///srv/git/b", "file:///srv/git/b"),
        ] {
            assert_eq!(Location::parse(url).public_url(), public);
        }
    }
}
