//! From the file to a configuration: read, parse, and filled with what only this shell knows.

use crate::args::Apply;
use crate::failure::{Failure, Outcome};
use anyhow::Context;
use dstack_domain::spec::parse::parse_yaml;
use dstack_domain::spec::{AnyConfiguration, Env, EnvValue};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A configuration and the name of the file it came from, as the server shall remember it.
pub struct Loaded {
    /// What it says.
    pub configuration: AnyConfiguration,
    /// Path as given.
    pub path: String,
    /// Folder that relative paths in it start from.
    pub folder: PathBuf,
}

/// Reads the file named by `-f`, standard input for `-`, else `.dstack.yml` of this folder.
pub fn load(file: Option<&Path>) -> Outcome<Loaded> {
    let path = match file {
        Some(path) => path.to_owned(),
        None => default_file()?,
    };
    let text = read(&path)?;
    let name = if path == Path::new("-") {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    };
    let configuration =
        parse_yaml(&name, &text).map_err(|error| Failure::refused(error.to_string()))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(Loaded {
        configuration,
        path: name,
        folder: folder.to_owned(),
    })
}

fn default_file() -> Outcome<PathBuf> {
    [".dstack.yml", ".dstack.yaml"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::with_hint(
                "no configuration file is named, and there is no .dstack.yml here",
                "Name one: dstack apply -f FILE",
            )
        })
}

fn read(path: &Path) -> Outcome<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("reading standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", path.display())))
}

/// `-e KEY=VALUE` and `-e KEY` over the configuration's env; then every name without a value is
/// taken from this shell. What remains without one is refused.
pub fn fill_env(env: &mut Env, args: &Apply, lookup: impl Fn(&str) -> Option<String>) -> Outcome {
    for item in &args.env {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, EnvValue::Value(value.to_owned())),
            None => (item.as_str(), EnvValue::FromCaller { key: item.clone() }),
        };
        env.0.insert(name.to_owned(), value);
    }
    let missing = env.resolve(lookup);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::with_hint(
        format!("these variables have no value: {}", missing.join(", ")),
        "Set them in this shell, or pass -e NAME=VALUE",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(words: &[&str]) -> Apply {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            apply: Apply,
        }
        Only::parse_from([&["apply"], words].concat()).apply
    }

    #[test]
    fn variables_come_from_the_flag_then_the_shell() {
        let mut env = Env::default();
        fill_env(&mut env, &args(&["-e", "A=1", "-e", "B"]), |name| {
            (name == "B").then(|| "2".to_owned())
        })
        .unwrap();
        assert_eq!(
            env.values().into_iter().collect::<Vec<_>>(),
            [("A".into(), "1".into()), ("B".into(), "2".into())]
        );
    }

    #[test]
    fn a_variable_without_value_is_named() {
        let mut env = Env::default();
        let failure = fill_env(&mut env, &args(&["-e", "HF_TOKEN"]), |_| None).unwrap_err();
        assert!(failure.to_string().contains("HF_TOKEN"), "{failure}");
    }
}
