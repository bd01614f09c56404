//! `config.yml` of the server's folder, as upstream's: projects with their backends, brought into the log by whichever
//! replica reads them first. A project that lists backends has those and no others.

use std::path::Path;

use dstack_api::http::backends::CrusoeBackend;
use dstack_domain::command::{Actor, Command, DeleteBackends};
use dstack_domain::ids::{ProjectId, RequestId};
use dstack_domain::model::Backend;
use dstack_domain::spec::BackendType;
use serde::Deserialize;
use serde_json::Value;

use crate::clouds::{self, Clouds, Useless};
use crate::door::Door;
use crate::env;
use crate::failure::{Failure, Kind};
use crate::first_start::{ADMIN, new_project};
use crate::sealing::Sealer;
use crate::view::Views;

pub const NAME: &str = "config.yml";

/// What the file says. Keys that nobody knows are refused: a typing error must not silently delete a backend.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    pub projects: Vec<ProjectEntry>,
    /// Ours are always sealed, with the cluster's own key.
    #[serde(default)]
    pub encryption: Option<Value>,
    #[serde(default)]
    pub default_permissions: Option<Value>,
    #[serde(default)]
    pub plugins: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectEntry {
    pub name: String,
    #[serde(default)]
    pub backends: Option<Vec<Value>>,
}

impl ConfigFile {
    /// None when there is no file.
    pub fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join(NAME);
        let unreadable = |why: String| {
            Failure::new(
                Kind::Usage,
                format!("{} cannot be used: {why}", path.display()),
            )
            .hint("correct the file, or move it away; nothing was changed")
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        // The parser's own words may quote a secret: only the place is told.
        let file: Self = serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map(|at| format!(" at line {}", at.line()));
            unreadable(format!(
                "it is not as expected{}",
                place.unwrap_or_default()
            ))
        })?;
        file.warn();
        Ok(Some(file))
    }

    fn warn(&self) {
        let given = [
            ("encryption", self.encryption.is_some()),
            ("default_permissions", self.default_permissions.is_some()),
            (
                "plugins",
                self.plugins.as_ref().is_some_and(|list| !list.is_empty()),
            ),
        ];
        for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
            tracing::warn!(key, "this server does not use this part of config.yml");
        }
    }
}

/// What is needed to carry it out.
pub struct Clerk {
    pub door: Door,
    pub views: Views,
    pub sealer: Sealer,
    pub clouds: Clouds,
}

impl Clerk {
    /// Carries the file out. What fails is said in the log and left out, so that one bad key does not keep the others.
    pub async fn carry_out(&self, file: ConfigFile) {
        self.views.first().await;
        for entry in file.projects {
            let name = entry.name.clone();
            if let Err(error) = self.project(entry).await {
                tracing::error!(project = name, %error, "a project of config.yml was left out");
            }
        }
    }

    async fn project(&self, entry: ProjectEntry) -> Result<(), Useless> {
        if self
            .views
            .fresh()
            .await
            .state
            .project_by_name(&entry.name)
            .is_none()
        {
            let made = new_project(&self.sealer, &entry.name);
            self.submit(made.map_err(|error| Useless::because(error.to_string()))?)
                .await?;
        }
        let Some(listed) = entry.backends else {
            return Ok(());
        };
        let view = self.views.fresh().await;
        let project = view.state.project_by_name(&entry.name);
        let project = project
            .ok_or_else(|| Useless::because("it is gone again"))?
            .id;
        let mut kinds = Vec::new();
        for config in listed {
            let kind = config
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            kinds.extend(BackendType::parse(kind));
            if let Err(error) = self.backend(project, &config).await {
                tracing::error!(project = entry.name, backend = kind, %error, "a backend of config.yml was left out");
            }
        }
        self.drop_others(project, &kinds).await
    }

    async fn backend(&self, project: ProjectId, config: &Value) -> Result<(), Useless> {
        let config = clouds::understand(config.clone())?;
        let view = self.views.fresh().await;
        let known = view.state.backend(project, config.r#type);
        if known.is_some_and(|known| self.is_same(known, &config)) {
            return Ok(());
        }
        let cluster = view.state.cluster().map(|cluster| cluster.id);
        let cluster = cluster.ok_or_else(|| Useless::because("there is no cluster yet"))?;
        clouds::check(cluster, &config).await?;
        self.submit(clouds::order(&self.sealer, project, &config, None)?)
            .await
    }

    /// Every replica has the file; only the first one has something to say.
    fn is_same(&self, known: &Backend, config: &CrusoeBackend) -> bool {
        self.clouds
            .opened(known)
            .is_ok_and(|known| known == *config)
    }

    async fn drop_others(&self, project: ProjectId, kinds: &[BackendType]) -> Result<(), Useless> {
        let view = self.views.fresh().await;
        let all = view.state.backends_of(project).map(|one| one.kind);
        let kinds: Vec<BackendType> = all.filter(|kind| !kinds.contains(kind)).collect();
        match kinds.is_empty() {
            true => Ok(()),
            false => self.submit(DeleteBackends { project, kinds }).await,
        }
    }

    async fn submit(&self, command: impl Into<Command>) -> Result<(), Useless> {
        let view = self.views.fresh().await;
        let admin = view.state.user_by_name(ADMIN).map(|user| user.id);
        let admin = admin.ok_or_else(|| Useless::because("there is no admin"))?;
        let request = RequestId(env::uuid());
        let accepted = self
            .door
            .submit(Actor::User(admin), request, command.into());
        let accepted = accepted.await;
        accepted
            .map(drop)
            .map_err(|error| Useless::because(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<ConfigFile>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), text).unwrap();
        ConfigFile::read(folder.path())
    }

    #[test]
    fn upstreams_file_is_read_and_a_typing_error_refused() {
        let file = read(
            "projects:\n- name: main\n  backends:\n  - type: crusoe\n    project_id: p\n    creds:\n      type: access_key\n      access_key: a\n      secret_key: s\n- name: other\nencryption:\n  keys: []\n",
        );
        let file = file.unwrap().unwrap();
        assert_eq!(file.projects.len(), 2);
        assert_eq!(file.projects[0].backends.as_ref().unwrap().len(), 1);
        assert!(file.projects[1].backends.is_none());
        let error = read("projects:\n- name: main\n  backend: []\n").unwrap_err();
        assert!(error.message.contains("line"), "{}", error.message);
        let error = read("projects: s3cret\n").unwrap_err();
        assert!(!error.report().to_string().contains("s3cret"));
        let nowhere = tempfile::tempdir().unwrap();
        assert!(ConfigFile::read(nowhere.path()).unwrap().is_none());
    }
}
