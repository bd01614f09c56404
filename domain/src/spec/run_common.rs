//! Keys common to tasks, services and dev environments.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Serialize};

use super::env::Env;
use super::mounts::{FilePathMapping, MountPoint, RepoSpec};
use super::resources::ResourcesSpec;
use super::shorthand::{Shorthand, deserialize_shorthand};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
}

/// The password must not reach a log through `{:?}`.
impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

const OLDEST_PYTHON: u32 = 9;
const NEWEST_PYTHON: u32 = 15;

/// `3.9` to `3.15`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PythonVersion(String);

impl PythonVersion {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Shorthand for PythonVersion {
    const EXPECTING: &'static str = "a Python version from `3.9` to `3.15`";

    fn from_text(text: &str) -> Result<Self, String> {
        // YAML reads an unquoted 3.10 as the number 3.1; there never was another 3.1 to mean.
        let text = if text == "3.1" { "3.10" } else { text };
        let minor = text
            .strip_prefix("3.")
            .and_then(|minor| minor.parse::<u32>().ok());
        match minor {
            Some(OLDEST_PYTHON..=NEWEST_PYTHON) => Ok(Self(text.to_owned())),
            _ => Err(format!("`{text}` is not {}", Self::EXPECTING)),
        }
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Self::from_text(&number.to_string())
    }
}

deserialize_shorthand!(PythonVersion: ["string", "number"]);

pub(crate) fn default_home_dir() -> String {
    "/root".to_owned()
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunCommon {
    pub name: Option<String>,
    pub image: Option<String>,
    /// `user[:group]`; see [`UnixUser`](super::unix_user::UnixUser).
    pub user: Option<String>,
    pub privileged: bool,
    pub entrypoint: Option<String>,
    pub working_dir: Option<String>,
    /// Kept for old clients; has no effect.
    pub home_dir: String,
    pub registry_auth: Option<RegistryAuth>,
    pub python: Option<PythonVersion>,
    pub nvcc: Option<bool>,
    pub single_branch: Option<bool>,
    pub env: Env,
    pub shell: Option<String>,
    pub resources: ResourcesSpec,
    pub priority: Option<u8>,
    pub volumes: Vec<MountPoint>,
    pub docker: Option<bool>,
    pub repos: Vec<RepoSpec>,
    pub files: Vec<FilePathMapping>,
    /// A tunnel from the job back to the server.
    pub dstack: bool,
    /// Kept for old clients; has no effect.
    pub setup: Vec<String>,
}

impl Default for RunCommon {
    fn default() -> Self {
        Self {
            name: None,
            image: None,
            user: None,
            privileged: false,
            entrypoint: None,
            working_dir: None,
            home_dir: default_home_dir(),
            registry_auth: None,
            python: None,
            nvcc: None,
            single_branch: None,
            env: Env::default(),
            shell: None,
            resources: ResourcesSpec::default(),
            priority: None,
            volumes: Vec::new(),
            docker: None,
            repos: Vec::new(),
            files: Vec::new(),
            dstack: false,
            setup: Vec::new(),
        }
    }
}

/// For lists that may not be empty when given.
pub(crate) fn non_empty<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    match Option::<Vec<T>>::deserialize(deserializer)? {
        Some(list) if list.is_empty() => Err(D::Error::custom(
            "the list is empty; leave the key out instead",
        )),
        list => Ok(list),
    }
}
