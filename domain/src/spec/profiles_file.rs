//! `.dstack/profiles.yml`: named sets of parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use super::profile::Profile;
use super::spec_error::SpecError;

#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilesFile {
    #[serde(default)]
    pub profiles: Vec<Profile>,
}

impl ProfilesFile {
    /// Each has a name of its own and at most one is the default.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let mut default = None;
        for (index, profile) in self.profiles.iter().enumerate() {
            let path = format!("profiles[{index}]");
            if profile.name.is_empty() {
                return Err(
                    SpecError::new(path, "a profile needs a name").with_hint("add `name: …`")
                );
            }
            if self.profiles[..index]
                .iter()
                .any(|earlier| earlier.name == profile.name)
            {
                return Err(SpecError::new(
                    path + ".name",
                    format!("there are two profiles named `{}`", profile.name),
                ));
            }
            if profile.default
                && let Some(earlier) = default.replace(&profile.name)
            {
                let message = format!("both `{earlier}` and `{}` are the default", profile.name);
                return Err(SpecError::new(path + ".default", message)
                    .with_hint("keep one `default: true`"));
            }
        }
        Ok(())
    }

    /// The profile of that name, or without a name the default one, if there is one.
    pub fn select(&self, name: Option<&str>) -> Result<Option<&Profile>, SpecError> {
        let Some(name) = name else {
            return Ok(self.profiles.iter().find(|profile| profile.default));
        };
        match self.profiles.iter().find(|profile| profile.name == name) {
            Some(profile) => Ok(Some(profile)),
            None => {
                let known = self
                    .profiles
                    .iter()
                    .map(|profile| profile.name.clone())
                    .collect();
                Err(SpecError::new("", format!("there is no profile `{name}`"))
                    .with_advice(known, None))
            }
        }
    }
}
