//! `type: dev-environment`.

use serde::{Deserialize, Serialize};

use super::duration::{Duration, OffableDuration, offable_as_absent};
use super::ide::Ide;
use super::ports::PortMapping;
use super::profile::ProfileParams;
use super::run_common::RunCommon;
use super::shorthand::{schema_of_input, type_tag};

/// Notebooks need it; an image without Python does without, and a bare host's Python is left alone: only a container
/// has `/dstack`.
const KERNEL: &str = "{ [ ! -d /dstack ] || uv pip install -q --no-cache-dir ipykernel 2>/dev/null || pip install -q --no-cache-dir ipykernel 2>/dev/null || echo 'no uv or pip found, ipykernel was not installed'; }";

type_tag!(DevEnvironmentTag, "dev-environment");

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "DevEnvironmentInput")]
pub struct DevEnvironmentConfiguration {
    pub r#type: DevEnvironmentTag,
    pub ide: Option<Ide>,
    pub version: Option<String>,
    pub init: Vec<String>,
    pub inactivity_duration: Option<Duration>,
    pub ports: Vec<PortMapping>,
    #[serde(flatten)]
    pub run: RunCommon,
    #[serde(flatten)]
    pub profile: ProfileParams,
}

schema_of_input!(DevEnvironmentConfiguration: DevEnvironmentInput);

super::flat::run_input!(DevEnvironmentInput => DevEnvironmentConfiguration {
    #[serde(default)]
    r#type: DevEnvironmentTag,
    #[serde(default)]
    ide: Option<Ide>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    init: Vec<String>,
    #[serde(default, deserialize_with = "offable_as_absent")]
    #[schemars(with = "Option<OffableDuration>")]
    inactivity_duration: Option<Duration>,
    #[serde(default)]
    ports: Vec<PortMapping>,
});

/// What the job of a dev environment does: get ready, tell how to come in, stay.
pub(super) fn commands(dev: &DevEnvironmentConfiguration, run_name: &str) -> Vec<String> {
    let mut commands = Vec::new();
    if let Some(ide) = dev.ide {
        commands.extend(ide.install(dev.version.as_deref()));
    }
    commands.push(KERNEL.to_owned());
    commands.extend(dev.init.iter().cloned());
    if let Some(ide) = dev.ide {
        let link = ide.url(run_name, "$DSTACK_WORKING_DIR");
        commands.push(format!(
            "printf 'To open in %s, use link below:\\n\\n  %s\\n\\n' '{}' \"{link}\"",
            ide.title()
        ));
    }
    commands.push(format!(
        "printf 'To connect via SSH, use: `%s`\\n\\nTo exit, press Ctrl+C.\\n' 'ssh {run_name}'"
    ));
    commands.push("exec tail -f /dev/null".to_owned());
    commands
}
