//! `~/.dstack/config.yml`: the projects of a machine, as upstream's client writes them.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Its entries; exactly one is the default, when there are any.
    #[serde(default)]
    pub projects: Vec<Entry>,
}

/// One project on one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name on the server.
    pub name: String,
    /// URL, or several replicas' URLs with commas between.
    pub url: String,
    /// The user's token.
    pub token: String,
    /// Used when no project is named.
    #[serde(default)]
    pub default: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("{path} cannot be {verb}")]
    Disk {
        path: PathBuf,
        verb: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path} cannot be read: {message}")]
    Damaged { path: PathBuf, message: String },
    #[error("there is no project {0} in the configuration")]
    Absent(String),
}

impl ConfigFile {
    /// Where it lies in a home folder.
    pub fn path_in(home: &Path) -> PathBuf {
        home.join(".dstack/config.yml")
    }

    /// Reads it; an absent file is an empty one.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(disk(path, "read", source)),
        };
        serde_saphyr::from_str(&text).map_err(|error| ConfigFileError::Damaged {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }

    /// Replaces the file at once; readable by its owner only, since it holds tokens.
    pub fn write(&self, path: &Path) -> Result<(), ConfigFileError> {
        let text = serde_saphyr::to_string(self).map_err(|error| ConfigFileError::Damaged {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let fresh = path.with_extension("yml.new");
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)
        };
        write().map_err(|source| disk(path, "written", source))
    }

    /// Adds or changes an entry; the first one becomes the default.
    pub fn put(&mut self, mut entry: Entry) {
        entry.default |= self.projects.is_empty();
        if entry.default {
            self.clear_default();
        }
        match self
            .projects
            .iter_mut()
            .find(|known| known.name == entry.name)
        {
            Some(known) => {
                entry.default |= known.default;
                *known = entry;
            }
            None => self.projects.push(entry),
        }
    }

    /// Makes `name` the default.
    pub fn set_default(&mut self, name: &str) -> Result<(), ConfigFileError> {
        if !self.projects.iter().any(|entry| entry.name == name) {
            return Err(ConfigFileError::Absent(name.to_owned()));
        }
        self.clear_default();
        for entry in &mut self.projects {
            entry.default = entry.name == name;
        }
        Ok(())
    }

    /// Forgets `name`; the first that remains becomes the default if the default went.
    pub fn remove(&mut self, name: &str) -> Result<(), ConfigFileError> {
        let before = self.projects.len();
        self.projects.retain(|entry| entry.name != name);
        if self.projects.len() == before {
            return Err(ConfigFileError::Absent(name.to_owned()));
        }
        if !self.projects.iter().any(|entry| entry.default)
            && let Some(first) = self.projects.first_mut()
        {
            first.default = true;
        }
        Ok(())
    }

    fn clear_default(&mut self) {
        for entry in &mut self.projects {
            entry.default = false;
        }
    }
}

fn disk(path: &Path, verb: &'static str, source: io::Error) -> ConfigFileError {
    let path = path.to_owned();
    ConfigFileError::Disk { path, verb, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            url: "http://127.0.0.1:3000".into(),
            token: "t".into(),
            default: false,
        }
    }

    #[test]
    fn the_first_project_becomes_the_default_and_stays_it() {
        let mut file = ConfigFile::default();
        file.put(entry("a"));
        file.put(entry("b"));
        assert_eq!(
            file.projects
                .iter()
                .map(|one| one.default)
                .collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn changing_an_entry_keeps_it_default() {
        let mut file = ConfigFile::default();
        file.put(entry("a"));
        file.put(Entry {
            token: "new".into(),
            ..entry("a")
        });
        assert_eq!(
            file.projects,
            [Entry {
                token: "new".into(),
                default: true,
                ..entry("a")
            }]
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.yml");
        let mut file = ConfigFile::default();
        file.put(entry("a"));
        file.write(&path).unwrap();
        assert_eq!(ConfigFile::read(&path).unwrap(), file);
    }

    #[test]
    fn upstreams_legacy_list_of_repos_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        std::fs::write(
            &path,
            "projects:\n- default: true\n  name: main\n  token: x\n  url: http://h\nrepos: []\n",
        )
        .unwrap();
        assert_eq!(ConfigFile::read(&path).unwrap().projects.len(), 1);
    }

    #[test]
    fn removing_the_default_leaves_one() {
        let mut file = ConfigFile::default();
        file.put(entry("a"));
        file.put(entry("b"));
        file.remove("a").unwrap();
        assert!(file.projects[0].default);
    }
}
