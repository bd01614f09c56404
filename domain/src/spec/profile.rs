//! Where and under which policies something may run: the parameters shared by every run configuration and by profiles.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Serialize};

use super::backend_type::BackendType;
use super::cron::Schedule;
use super::duration::{Duration, IdleDuration, OffableDuration};
use super::shorthand::{self, Shorthand, bounded, deserialize_shorthand, schema_of_input};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpotPolicy {
    Spot,
    OnDemand,
    Auto,
}

impl SpotPolicy {
    /// The `spot` member of requirements: `None` accepts both.
    pub fn as_requirement(self) -> Option<bool> {
        match self {
            Self::Spot => Some(true),
            Self::OnDemand => Some(false),
            Self::Auto => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CreationPolicy {
    Reuse,
    ReuseOrCreate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StartupOrder {
    Any,
    MasterFirst,
    WorkersFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopCriteria {
    AllDone,
    MasterDone,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RetryEvent {
    NoCapacity,
    Interruption,
    Error,
}

impl RetryEvent {
    pub const ALL: [Self; 3] = [Self::NoCapacity, Self::Interruption, Self::Error];
}

/// How long a retry window is when none is given.
pub const DEFAULT_RETRY_DURATION: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileRetry {
    #[serde(default, deserialize_with = "super::run_common::non_empty")]
    pub on_events: Option<Vec<RetryEvent>>,
    #[serde(default)]
    pub duration: Option<Duration>,
}

/// `retry:` as written: a switch or a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RetrySetting {
    Switch(bool),
    Policy(ProfileRetry),
}

impl RetrySetting {
    /// What it comes to.
    pub fn resolve(&self) -> Option<Retry> {
        match self {
            Self::Switch(false) => None,
            Self::Switch(true) => Some(Retry {
                on_events: RetryEvent::ALL.to_vec(),
                duration: DEFAULT_RETRY_DURATION,
            }),
            Self::Policy(policy) => Some(Retry {
                on_events: policy
                    .on_events
                    .clone()
                    .unwrap_or_else(|| RetryEvent::ALL.to_vec()),
                duration: policy.duration.unwrap_or(DEFAULT_RETRY_DURATION),
            }),
        }
    }
}

impl Shorthand for RetrySetting {
    const EXPECTING: &'static str = "`true`, `false`, or a mapping with `on_events` and `duration`";

    fn from_text(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` is not {}", Self::EXPECTING))
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(Self::Switch(value))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        shorthand::long_form(map).map(Self::Policy)
    }
}

deserialize_shorthand!(RetrySetting: ["boolean"], ProfileRetry);

/// A retry policy with nothing left open, as jobs carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retry {
    pub on_events: Vec<RetryEvent>,
    pub duration: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UtilizationPolicy {
    #[serde(deserialize_with = "bounded::required::<_, _, 0, 100>")]
    pub min_gpu_utilization: u8,
    #[serde(deserialize_with = "time_window")]
    pub time_window: Duration,
}

fn time_window<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let window = Duration::deserialize(deserializer)?;
    if window < Duration::from_secs(300) {
        return Err(D::Error::custom(format!(
            "a time window of {window} is too short, the least is `5m`"
        )));
    }
    Ok(window)
}

/// A name, possibly in another project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityReference {
    pub project: Option<String>,
    pub name: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongReference {
    #[serde(default)]
    project: Option<String>,
    name: String,
}

impl EntityReference {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (project, name) = match text.split_once('/') {
            Some((project, name)) => (Some(project), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || project == Some("") {
            return Err(format!(
                "`{text}` is not a name: write `name` or `project/name`"
            ));
        }
        Ok(Self {
            project: project.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for EntityReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(project) = &self.project {
            write!(f, "{project}/")?;
        }
        f.write_str(&self.name)
    }
}

impl Serialize for EntityReference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LongReference {
            project: self.project.clone(),
            name: self.name.clone(),
        }
        .serialize(serializer)
    }
}

impl Shorthand for EntityReference {
    const EXPECTING: &'static str =
        "`name`, `project/name`, or a mapping with `project` and `name`";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongReference = shorthand::long_form(map)?;
        Ok(Self {
            project: long.project,
            name: long.name,
        })
    }
}

deserialize_shorthand!(EntityReference: ["string"], LongReference);

/// `instances:`: restricts a run to existing instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum InstanceSelector {
    Name {
        name: String,
    },
    Hostname {
        hostname: String,
    },
    FleetInstance {
        fleet: EntityReference,
        instance: u32,
    },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongSelector {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default)]
    fleet: Option<EntityReference>,
    #[serde(default)]
    instance: Option<u32>,
}

impl Shorthand for InstanceSelector {
    const EXPECTING: &'static str = "an instance name, or a mapping with `name`, with `hostname`, or with `fleet` and `instance`";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an instance name cannot be empty".to_owned());
        }
        Ok(Self::Name {
            name: text.to_owned(),
        })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongSelector = shorthand::long_form(map)?;
        match (long.name, long.hostname, long.fleet, long.instance) {
            (Some(name), None, None, None) if !name.is_empty() => Ok(Self::Name { name }),
            (None, Some(hostname), None, None) if !hostname.is_empty() => {
                Ok(Self::Hostname { hostname })
            }
            (None, None, Some(fleet), Some(instance)) => {
                Ok(Self::FleetInstance { fleet, instance })
            }
            _ => Err(A::Error::custom(format!("expected {}", Self::EXPECTING))),
        }
    }
}

deserialize_shorthand!(InstanceSelector: ["string"], LongSelector);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VastAiOfferOrder {
    Score,
    Price,
}

shorthand::type_tag!(VastAiTag, "vastai");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VastAiOptions {
    #[serde(default)]
    pub r#type: VastAiTag,
    #[serde(default)]
    pub offer_order: Option<VastAiOfferOrder>,
    #[serde(default, deserialize_with = "reliability")]
    pub min_reliability: Option<f64>,
    #[serde(default)]
    pub min_score: Option<u32>,
}

fn reliability<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Option::<f64>::deserialize(deserializer)? {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(D::Error::custom(format!(
            "`{share}` is not a share from 0 to 1"
        ))),
        share => Ok(share),
    }
}

/// `None` everywhere means "not said here", so that a profile can fill it in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ProfileParams {
    pub backends: Option<Vec<BackendType>>,
    pub regions: Option<Vec<String>>,
    pub availability_zones: Option<Vec<String>>,
    pub instance_types: Option<Vec<String>>,
    pub reservation: Option<String>,
    pub spot_policy: Option<SpotPolicy>,
    pub retry: Option<RetrySetting>,
    pub max_duration: Option<OffableDuration>,
    pub stop_duration: Option<OffableDuration>,
    pub max_price: Option<f64>,
    pub creation_policy: Option<CreationPolicy>,
    pub idle_duration: Option<IdleDuration>,
    pub utilization_policy: Option<UtilizationPolicy>,
    pub startup_order: Option<StartupOrder>,
    pub stop_criteria: Option<StopCriteria>,
    pub schedule: Option<Schedule>,
    pub fleets: Option<Vec<EntityReference>>,
    pub instances: Option<Vec<InstanceSelector>>,
    pub tags: Option<BTreeMap<String, String>>,
    pub backend_options: Option<Vec<VastAiOptions>>,
}

impl ProfileParams {
    /// A value given here wins; a profile fills in only what is absent.
    pub fn or(&self, profile: &Self) -> Self {
        macro_rules! first_of {
            ($($field:ident),+ $(,)?) => {
                Self { $($field: self.$field.clone().or_else(|| profile.$field.clone())),+ }
            };
        }
        first_of!(
            backends,
            regions,
            availability_zones,
            instance_types,
            reservation,
            spot_policy,
            retry,
            max_duration,
            stop_duration,
            max_price,
            creation_policy,
            idle_duration,
            utilization_policy,
            startup_order,
            stop_criteria,
            schedule,
            fleets,
            instances,
            tags,
            backend_options,
        )
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ProfileInput")]
pub struct Profile {
    pub name: String,
    pub default: bool,
    #[serde(flatten)]
    pub params: ProfileParams,
}

schema_of_input!(Profile: ProfileInput);

super::flat::profile_input!(ProfileInput => Profile, params {
    #[serde(default)]
    name: String,
    #[serde(default)]
    default: bool,
});
