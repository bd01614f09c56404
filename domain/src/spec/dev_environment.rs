//! `type: dev-environment`.

use serde::{Deserialize, Serialize};

use super::duration::{Duration, offable_as_absent};
use super::ports::PortMapping;
use super::profile::ProfileParams;
use super::run_common::RunCommon;
use super::shorthand::type_tag;

type_tag!(DevEnvironmentTag, "dev-environment");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ide {
    Vscode,
    Cursor,
    Windsurf,
    Zed,
}

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
    inactivity_duration: Option<Duration>,
    #[serde(default)]
    ports: Vec<PortMapping>,
});
