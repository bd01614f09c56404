//! What is put into the container: volumes, files, repositories.

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Serialize};

use super::shorthand::{self, OneOrMany, Shorthand, deserialize_shorthand};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MountPoint {
    /// A network volume, or several of which one is taken.
    Volume { name: OneOrMany, path: String },
    /// A folder of the host.
    Instance {
        instance_path: String,
        path: String,
        optional: bool,
    },
}

impl MountPoint {
    pub fn path(&self) -> &str {
        match self {
            Self::Volume { path, .. } | Self::Instance { path, .. } => path,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongMount {
    #[serde(default)]
    name: Option<OneOrMany>,
    #[serde(default)]
    instance_path: Option<String>,
    path: String,
    #[serde(default)]
    optional: Option<bool>,
}

fn absolute(path: &str, what: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!(
            "{what} `{path}` is not absolute: start it with `/`"
        ));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("{what} `{path}` contains `..`"));
    }
    Ok(())
}

impl MountPoint {
    fn checked(self) -> Result<Self, String> {
        absolute(self.path(), "the mount path")?;
        match &self {
            Self::Instance { instance_path, .. } => absolute(instance_path, "the instance path")?,
            Self::Volume { name, .. } => {
                if name.as_slice().is_empty() || name.as_slice().iter().any(String::is_empty) {
                    return Err("a volume needs a name".to_owned());
                }
            }
        }
        Ok(self)
    }
}

impl Shorthand for MountPoint {
    const EXPECTING: &'static str = "`name:/path`, `/host/path:/path`, or a mapping";

    fn from_text(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(source), Some(path), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!(
                "`{text}` is not a mount: write {}",
                Self::EXPECTING
            ));
        };
        let path = path.to_owned();
        if source.contains('/') {
            Self::Instance {
                instance_path: source.to_owned(),
                path,
                optional: false,
            }
            .checked()
        } else {
            Self::Volume {
                name: OneOrMany::One(source.to_owned()),
                path,
            }
            .checked()
        }
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongMount = shorthand::long_form(map)?;
        let mount = match (long.name, long.instance_path) {
            (Some(name), None) if long.optional.is_none() => Self::Volume {
                name,
                path: long.path,
            },
            (Some(_), None) => {
                return Err(A::Error::custom(
                    "`optional` belongs to instance mounts only",
                ));
            }
            (None, Some(instance_path)) => Self::Instance {
                instance_path,
                path: long.path,
                optional: long.optional.unwrap_or(false),
            },
            _ => {
                return Err(A::Error::custom(
                    "a mount has either `name` (a volume) or `instance_path` (a folder of the host)",
                ));
            }
        };
        mount.checked().map_err(A::Error::custom)
    }
}

deserialize_shorthand!(MountPoint: ["string"], LongMount);

/// `files:`: a local file or folder and where it appears in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilePathMapping {
    pub local_path: String,
    pub path: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongFile {
    local_path: String,
    #[serde(default)]
    path: Option<String>,
}

/// Splits `local[:container]` without mistaking the colon of `C:\` for the separator.
fn split_local(text: &str) -> (&str, Option<&str>) {
    let bytes = text.as_bytes();
    let letter = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    // `a:/b` maps the file `a`; `C:/a:/b` has a colon to spare for the drive.
    let drive = letter && (bytes[2] == b'\\' || text[2..].contains(':'));
    let searched = if drive { &text[2..] } else { text };
    match searched.find(':') {
        Some(at) => {
            let at = at + text.len() - searched.len();
            (&text[..at], Some(&text[at + 1..]))
        }
        None => (text, None),
    }
}

impl FilePathMapping {
    fn new(local_path: &str, path: Option<&str>) -> Result<Self, String> {
        if local_path.is_empty() || path == Some("") {
            return Err("an empty path: write `local` or `local:container`".to_owned());
        }
        let path = path.unwrap_or(local_path);
        if path.contains('\\') || path.as_bytes().get(1) == Some(&b':') {
            return Err(format!(
                "the container path `{path}` must use forward slashes"
            ));
        }
        Ok(Self {
            local_path: local_path.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl Shorthand for FilePathMapping {
    const EXPECTING: &'static str =
        "`local` or `local:container`, or a mapping with `local_path` and `path`";

    fn from_text(text: &str) -> Result<Self, String> {
        let (local, container) = split_local(text);
        if container.is_some_and(|container| container.contains(':')) {
            return Err(format!(
                "`{text}` has too many colons: write {}",
                Self::EXPECTING
            ));
        }
        Self::new(local, container)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongFile = shorthand::long_form(map)?;
        Self::new(&long.local_path, long.path.as_deref()).map_err(A::Error::custom)
    }
}

deserialize_shorthand!(FilePathMapping: ["string"], LongFile);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RepoExistsAction {
    #[default]
    Error,
    Skip,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepoSpec {
    pub local_path: Option<String>,
    pub url: Option<String>,
    pub branch: Option<String>,
    pub hash: Option<String>,
    pub path: String,
    pub if_exists: RepoExistsAction,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongRepo {
    #[serde(default)]
    local_path: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    if_exists: RepoExistsAction,
}

impl LongRepo {
    fn finish(self) -> Result<RepoSpec, String> {
        if self.local_path.is_some() == self.url.is_some() {
            return Err("a repo has exactly one of `local_path` and `url`".to_owned());
        }
        let path = self.path.unwrap_or_else(|| ".".to_owned());
        let other_home =
            |path: &str| path.starts_with('~') && path != "~" && !path.starts_with("~/");
        if let Some(path) = [self.local_path.as_deref(), Some(&path)]
            .into_iter()
            .flatten()
            .find(|path| other_home(path))
        {
            return Err(format!(
                "`{path}`: only `~/` is understood, not the home of another user"
            ));
        }
        Ok(RepoSpec {
            local_path: self.local_path,
            url: self.url,
            branch: self.branch,
            hash: self.hash,
            path,
            if_exists: self.if_exists,
        })
    }
}

/// Where the address part of `address[:container]` ends. Addresses have colons of their own: `https://`, `git@host:`.
fn split_repo(text: &str) -> (bool, &str, Option<&str>) {
    let scheme = text.find("://").map(|at| at + 3);
    let scp = text
        .find('@')
        .and_then(|at| text[at..].find(':').map(|colon| at + colon + 1));
    let scp = scp.filter(|_| scheme.is_none() && !text.starts_with(['/', '.', '~']));
    let is_url = scheme.is_some() || scp.is_some();
    if !is_url {
        let (local, container) = split_local(text);
        return (false, local, container);
    }
    let from = scheme.or(scp).unwrap_or(0);
    match text[from..].rfind(':').map(|at| at + from) {
        // `https://host:8443/repo` has a port there, not a path.
        Some(at) if !text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => {
            (true, &text[..at], Some(&text[at + 1..]))
        }
        _ => (true, text, None),
    }
}

impl Shorthand for RepoSpec {
    const EXPECTING: &'static str =
        "a path or URL of a repository, optionally `:path` in the container, or a mapping";

    fn from_text(text: &str) -> Result<Self, String> {
        let (is_url, address, path) = split_repo(text);
        if address.is_empty() || path == Some("") {
            return Err(format!("`{text}` is not {}", Self::EXPECTING));
        }
        let address = Some(address.to_owned());
        let (local_path, url) = if is_url {
            (None, address)
        } else {
            (address, None)
        };
        let path = path.map(str::to_owned);
        LongRepo {
            local_path,
            url,
            branch: None,
            hash: None,
            path,
            if_exists: RepoExistsAction::Error,
        }
        .finish()
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        shorthand::long_form::<LongRepo, A>(map)?
            .finish()
            .map_err(A::Error::custom)
    }
}

deserialize_shorthand!(RepoSpec: ["string"], LongRepo);
