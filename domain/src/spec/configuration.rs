//! A configuration of any type.
//!
//! The type is read first and the concrete struct second, because a tagged enum would buffer the text and lose positions.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::dev_environment::DevEnvironmentConfiguration;
use super::fleet::FleetConfiguration;
use super::gateway::GatewayConfiguration;
use super::profile::ProfileParams;
use super::run_common::RunCommon;
use super::service::ServiceConfiguration;
use super::task::TaskConfiguration;
use super::volume::VolumeConfiguration;
use super::wording::{INNER_END, INNER_PREFIX};

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RunConfiguration {
    DevEnvironment(Box<DevEnvironmentConfiguration>),
    Task(Box<TaskConfiguration>),
    Service(Box<ServiceConfiguration>),
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AnyConfiguration {
    Run(RunConfiguration),
    Fleet(Box<FleetConfiguration>),
    Volume(Box<VolumeConfiguration>),
    Gateway(Box<GatewayConfiguration>),
}

/// What `type:` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationType {
    DevEnvironment,
    Task,
    Service,
    Fleet,
    Volume,
    Gateway,
}

impl ConfigurationType {
    pub const ALL: [Self; 6] = [
        Self::DevEnvironment,
        Self::Task,
        Self::Service,
        Self::Fleet,
        Self::Volume,
        Self::Gateway,
    ];
    pub const RUNS: [Self; 3] = [Self::DevEnvironment, Self::Task, Self::Service];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::DevEnvironment => "dev-environment",
            Self::Task => "task",
            Self::Service => "service",
            Self::Fleet => "fleet",
            Self::Volume => "volume",
            Self::Gateway => "gateway",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl RunConfiguration {
    pub fn kind(&self) -> ConfigurationType {
        match self {
            Self::DevEnvironment(_) => ConfigurationType::DevEnvironment,
            Self::Task(_) => ConfigurationType::Task,
            Self::Service(_) => ConfigurationType::Service,
        }
    }

    pub fn common(&self) -> &RunCommon {
        match self {
            Self::DevEnvironment(configuration) => &configuration.run,
            Self::Task(configuration) => &configuration.run,
            Self::Service(configuration) => &configuration.run,
        }
    }

    pub fn common_mut(&mut self) -> &mut RunCommon {
        match self {
            Self::DevEnvironment(configuration) => &mut configuration.run,
            Self::Task(configuration) => &mut configuration.run,
            Self::Service(configuration) => &mut configuration.run,
        }
    }

    pub fn profile(&self) -> &ProfileParams {
        match self {
            Self::DevEnvironment(configuration) => &configuration.profile,
            Self::Task(configuration) => &configuration.profile,
            Self::Service(configuration) => &configuration.profile,
        }
    }

    pub fn profile_mut(&mut self) -> &mut ProfileParams {
        match self {
            Self::DevEnvironment(configuration) => &mut configuration.profile,
            Self::Task(configuration) => &mut configuration.profile,
            Self::Service(configuration) => &mut configuration.profile,
        }
    }

    /// How long a dev environment may be without a user.
    pub fn inactivity_seconds(&self) -> Option<u64> {
        match self {
            Self::DevEnvironment(configuration) => configuration
                .inactivity_duration
                .map(|duration| duration.as_secs()),
            Self::Task(_) | Self::Service(_) => None,
        }
    }
}

impl AnyConfiguration {
    pub fn kind(&self) -> ConfigurationType {
        match self {
            Self::Run(run) => run.kind(),
            Self::Fleet(_) => ConfigurationType::Fleet,
            Self::Volume(_) => ConfigurationType::Volume,
            Self::Gateway(_) => ConfigurationType::Gateway,
        }
    }

    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Run(run) => run.common().name.as_deref(),
            Self::Fleet(fleet) => fleet.name.as_deref(),
            Self::Volume(volume) => volume.name.as_deref(),
            Self::Gateway(gateway) => gateway.name.as_deref(),
        }
    }
}

/// JSON only: a value inside a request. YAML files go through [`parse_yaml`](super::parse::parse_yaml).
impl<'de> Deserialize<'de> for RunConfiguration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match kind_of(&value, &ConfigurationType::RUNS).map_err(D::Error::custom)? {
            ConfigurationType::DevEnvironment => inner(value).map(Self::DevEnvironment),
            ConfigurationType::Service => inner(value).map(Self::Service),
            _ => inner(value).map(Self::Task),
        }
    }
}

impl<'de> Deserialize<'de> for AnyConfiguration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match kind_of(&value, &ConfigurationType::ALL).map_err(D::Error::custom)? {
            ConfigurationType::DevEnvironment => inner(value)
                .map(|configuration| Self::Run(RunConfiguration::DevEnvironment(configuration))),
            ConfigurationType::Task => {
                inner(value).map(|configuration| Self::Run(RunConfiguration::Task(configuration)))
            }
            ConfigurationType::Service => inner(value)
                .map(|configuration| Self::Run(RunConfiguration::Service(configuration))),
            ConfigurationType::Fleet => inner(value).map(Self::Fleet),
            ConfigurationType::Volume => inner(value).map(Self::Volume),
            ConfigurationType::Gateway => inner(value).map(Self::Gateway),
        }
    }
}

fn kind_of(
    value: &serde_json::Value,
    allowed: &[ConfigurationType],
) -> Result<ConfigurationType, String> {
    let Some(members) = value.as_object() else {
        return Err("a configuration is a mapping".to_owned());
    };
    let Some(kind) = members.get("type") else {
        return Err(format!(
            "missing field `type`, expected {}",
            listed(allowed)
        ));
    };
    let text = kind.as_str().unwrap_or_default();
    match ConfigurationType::parse(text).filter(|kind| allowed.contains(kind)) {
        Some(kind) => Ok(kind),
        None => Err(unknown_type(text, allowed)),
    }
}

pub(crate) fn unknown_type(text: &str, allowed: &[ConfigurationType]) -> String {
    if text == "preset" {
        return format!(
            "type `preset` is not supported by this server, expected {}",
            listed(allowed)
        );
    }
    format!("unknown type `{text}`, expected {}", listed(allowed))
}

fn listed(allowed: &[ConfigurationType]) -> String {
    let names: Vec<_> = allowed
        .iter()
        .map(|kind| format!("`{}`", kind.as_str()))
        .collect();
    format!("one of {}", names.join(", "))
}

/// The path inside the configuration is put before the message, for the outer parser cannot see it.
fn inner<T: serde::de::DeserializeOwned, E: Error>(value: serde_json::Value) -> Result<Box<T>, E> {
    serde_path_to_error::deserialize(value)
        .map(Box::new)
        .map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
            let path = error.path().to_string();
            match path.as_str() {
                "." => E::custom(error.into_inner()),
                _ => E::custom(format!(
                    "{INNER_PREFIX}{path}{INNER_END}{}",
                    error.into_inner()
                )),
            }
        })
}
