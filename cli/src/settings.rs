//! Flags, variables and files resolved into plain values: which servers, which project, which token.

use crate::args::Common;
use crate::failure::{Failure, Outcome};
use anyhow::anyhow;
use dstack_api::client::{ConfigFile, ConfigFileError, Entry};
use std::path::{Path, PathBuf};

/// Where a command goes and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The replicas' URLs, preferred first; never empty.
    pub urls: Vec<String>,
    /// The user's token.
    pub token: String,
    /// The project.
    pub project: String,
}

/// The variables that matter, read in one place.
#[derive(Debug, Default)]
pub struct Variables {
    /// `DSTACK_SERVER_URL`
    pub url: Option<String>,
    /// `DSTACK_TOKEN`
    pub token: Option<String>,
}

impl Variables {
    /// From this process's environment.
    pub fn read() -> Self {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            url: get("DSTACK_SERVER_URL"),
            token: get("DSTACK_TOKEN"),
        }
    }
}

/// Resolves as upstream does: both variables win and want a project; else the configuration's entry.
pub fn resolve(
    common: &Common,
    variables: Variables,
    file: impl FnOnce() -> Outcome<ConfigFile>,
) -> Outcome<Settings> {
    if let (Some(url), Some(token)) = (&variables.url, &variables.token) {
        let project = common.project.clone().ok_or_else(|| {
            Failure::with_hint(
                "DSTACK_SERVER_URL and DSTACK_TOKEN are set, but no project is named",
                "Set DSTACK_PROJECT or pass --project NAME",
            )
        })?;
        return Ok(Settings {
            urls: split_urls(url)?,
            token: token.clone(),
            project,
        });
    }
    let entry = pick(&file()?, common.project.as_deref())?;
    Ok(Settings {
        urls: split_urls(variables.url.as_deref().unwrap_or(&entry.url))?,
        token: variables.token.unwrap_or(entry.token),
        project: entry.name,
    })
}

/// Reads everything from where it usually lies.
pub fn current(common: &Common) -> Outcome<Settings> {
    resolve(common, Variables::read(), || {
        Ok(ConfigFile::read(&config_path()?)?)
    })
}

/// Where this user's configuration lies.
pub fn config_path() -> Outcome<PathBuf> {
    let home = std::env::var_os("HOME").ok_or_else(|| {
        Failure::refused("HOME is not set; dstack keeps its configuration below it")
    })?;
    Ok(ConfigFile::path_in(Path::new(&home)))
}

impl From<ConfigFileError> for Failure {
    fn from(error: ConfigFileError) -> Self {
        let hint = match &error {
            ConfigFileError::Damaged { .. } => {
                "Correct it, or add the project again: dstack project add --name NAME --url URL --token TOKEN"
            }
            ConfigFileError::Absent(_) => "See: dstack project list",
            ConfigFileError::Disk { .. } => return Self::Other(anyhow!(error)),
        };
        Self::with_hint(error.to_string(), hint)
    }
}

fn pick(file: &ConfigFile, name: Option<&str>) -> Outcome<Entry> {
    const HINT: &str = "Add it: dstack project add --name NAME --url URL --token TOKEN";
    let found = match name {
        Some(name) => file.projects.iter().find(|entry| entry.name == name),
        None => file.projects.iter().find(|entry| entry.default),
    };
    found.cloned().ok_or_else(|| match name {
        Some(name) => Failure::with_hint(format!("project {name} is not configured"), HINT),
        None => Failure::with_hint("no default project is configured", HINT),
    })
}

/// Splits `url,url,…`; each loses its trailing slash.
pub fn split_urls(text: &str) -> Outcome<Vec<String>> {
    let urls: Vec<String> = text
        .split(',')
        .map(|url| url.trim().trim_end_matches('/').to_owned())
        .filter(|url| !url.is_empty())
        .collect();
    if let Some(bad) = urls
        .iter()
        .find(|url| !url.starts_with("http://") && !url.starts_with("https://"))
    {
        return Err(Failure::refused(format!(
            "{bad} is not a server URL: it must begin with http:// or https://"
        )));
    }
    if urls.is_empty() {
        return Err(Failure::refused("the server URL is empty"));
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Outcome<ConfigFile> {
        let mut file = ConfigFile::default();
        for name in ["main", "other"] {
            file.put(Entry {
                name: name.into(),
                url: "http://a:1/,http://b:2".into(),
                token: "tok".into(),
                default: false,
            });
        }
        Ok(file)
    }

    fn common(project: Option<&str>) -> Common {
        Common {
            project: project.map(str::to_owned),
        }
    }

    #[test]
    fn the_default_entry_is_taken_and_its_replicas_are_split() {
        let settings = resolve(&common(None), Variables::default(), file).unwrap();
        assert_eq!(settings.project, "main");
        assert_eq!(settings.urls, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn both_variables_win_over_the_file() {
        let variables = Variables {
            url: Some("http://c:3".into()),
            token: Some("x".into()),
        };
        let settings = resolve(&common(Some("p")), variables, || {
            panic!("the file is not needed")
        })
        .unwrap();
        assert_eq!(
            (settings.urls, settings.token, settings.project),
            (vec!["http://c:3".to_owned()], "x".into(), "p".into())
        );
    }

    #[test]
    fn both_variables_without_a_project_are_refused() {
        let variables = Variables {
            url: Some("http://c:3".into()),
            token: Some("x".into()),
        };
        let failure = resolve(&common(None), variables, file).unwrap_err();
        assert!(failure.to_string().contains("DSTACK_PROJECT"), "{failure}");
    }

    #[test]
    fn an_unknown_project_says_how_to_add_it() {
        let failure = resolve(&common(Some("nope")), Variables::default(), file).unwrap_err();
        assert!(
            failure.to_string().contains("dstack project add"),
            "{failure}"
        );
    }

    #[test]
    fn a_url_without_scheme_is_refused() {
        assert!(split_urls("localhost:3000").is_err());
    }
}
