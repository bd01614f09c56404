//! The profile a run is applied with.

use crate::args::ProfileChoice;
use crate::failure::{Failure, Outcome};
use anyhow::Context;
use dstack_domain::spec::Profile;
use dstack_domain::spec::parse::parse_profiles;
use std::path::PathBuf;

/// From `.dstack/profiles.yml` here, else from the home folder; an empty one when nothing is named
/// and nothing is default.
pub fn profile(args: &ProfileChoice) -> Outcome<Profile> {
    let empty = |name: &str| Profile {
        name: name.to_owned(),
        ..Profile::default()
    };
    if args.no_profile {
        return Ok(empty("no-profile"));
    }
    let Some((path, text)) = file()? else {
        return match &args.profile {
            Some(name) => Err(Failure::refused(format!(
                "there is no profile {name}: no .dstack/profiles.yml here or in the home folder"
            ))),
            None => Ok(empty("default")),
        };
    };
    let profiles = parse_profiles(&path.display().to_string(), &text)
        .map_err(|error| Failure::refused(error.to_string()))?;
    let found = profiles
        .select(args.profile.as_deref())
        .map_err(|error| Failure::refused(error.to_string()))?;
    Ok(found.cloned().unwrap_or_else(|| empty("default")))
}

fn file() -> Outcome<Option<(PathBuf, String)>> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    for folder in [Some(PathBuf::from(".")), home].into_iter().flatten() {
        for name in ["profiles.yml", "profiles.yaml"] {
            let path = folder.join(".dstack").join(name);
            if path.is_file() {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                return Ok(Some((path, text)));
            }
        }
    }
    Ok(None)
}
