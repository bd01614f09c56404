//! `type: service`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::duration::Duration;
use super::ports::{PortMapping, parse_port};
use super::profile::{EntityReference, ProfileParams, SpotPolicy};
use super::range::Range;
use super::resources::ResourcesSpec;
use super::run_common::{PythonVersion, RunCommon};
use super::service_model::ServiceModel;
use super::service_traffic::{ProbeConfig, RateLimit};
use super::shorthand::{Shorthand, deserialize_shorthand, schema_of_input, type_tag, yes};

type_tag!(ServiceTag, "service");

/// `port:`; only the container port matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ServicePort(pub PortMapping);

impl Shorthand for ServicePort {
    const EXPECTING: &'static str = "a port such as `8000` or `80:8000`";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return PortMapping::from_text(text).map(Self);
        }
        let container_port = parse_port(text)?;
        Ok(Self(PortMapping {
            local_port: Some(80),
            container_port,
        }))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        PortMapping::from_map(map).map(Self)
    }
}

deserialize_shorthand!(ServicePort: ["string", "integer"], PortMapping);

/// `gateway:`; `true` and absent differ: `true` insists on the default gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayChoice {
    Switch(bool),
    Named(EntityReference),
}

impl Serialize for GatewayChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(on) => serializer.serialize_bool(*on),
            Self::Named(reference) => reference.serialize(serializer),
        }
    }
}

impl Shorthand for GatewayChoice {
    const EXPECTING: &'static str = "`true`, `false`, a gateway name or `project/name`";

    fn from_text(text: &str) -> Result<Self, String> {
        EntityReference::parse(text).map(Self::Named)
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(Self::Switch(value))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        EntityReference::from_map(map).map(Self::Named)
    }
}

deserialize_shorthand!(GatewayChoice: ["boolean"], EntityReference);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Https {
    Switch(bool),
    Auto,
}

impl Serialize for Https {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(on) => serializer.serialize_bool(*on),
            Self::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl Shorthand for Https {
    const EXPECTING: &'static str = "`true`, `false` or `auto`";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "auto" {
            Ok(Self::Auto)
        } else {
            Err(format!("`{text}` is not {}", Self::EXPECTING))
        }
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(Self::Switch(value))
    }
}

deserialize_shorthand!(Https: ["string", "boolean"]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScalingMetric {
    Rps,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingSpec {
    pub metric: ScalingMetric,
    #[serde(deserialize_with = "target")]
    pub target: f64,
    #[serde(default, deserialize_with = "window")]
    pub window: Option<Duration>,
    #[serde(default = "scale_up_delay")]
    pub scale_up_delay: Duration,
    #[serde(default = "scale_down_delay")]
    pub scale_down_delay: Duration,
}

fn target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let target = f64::deserialize(deserializer)?;
    if target.is_finite() && target > 0.0 {
        return Ok(target);
    }
    Err(D::Error::custom(format!(
        "`{target}` is not a target, it must be greater than 0"
    )))
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match Option::<Duration>::deserialize(deserializer)? {
        Some(window) if !matches!(window.as_secs(), 30 | 60 | 300) => Err(D::Error::custom(
            format!("a window of {window} is not supported, expected `30s`, `1m` or `5m`"),
        )),
        window => Ok(window),
    }
}

fn scale_up_delay() -> Duration {
    Duration::from_secs(300)
}

fn scale_down_delay() -> Duration {
    Duration::from_secs(600)
}

/// `sglang` is the older name of `smg`, and still the one on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum RouterType {
    #[default]
    #[serde(rename = "sglang")]
    Smg,
    #[serde(rename = "dynamo")]
    Dynamo,
}

impl Shorthand for RouterType {
    const EXPECTING: &'static str = "`smg` (or `sglang`) or `dynamo`";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "smg" | "sglang" => Ok(Self::Smg),
            "dynamo" => Ok(Self::Dynamo),
            _ => Err(format!(
                "`{text}` is not a router, expected {}",
                Self::EXPECTING
            )),
        }
    }
}

deserialize_shorthand!(RouterType: ["string"]);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    #[serde(default)]
    pub r#type: RouterType,
}

/// Replicas that share resources and commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = count_as_well)]
pub struct ReplicaGroup {
    #[serde(default, deserialize_with = "super::names::group_name")]
    pub name: Option<String>,
    #[serde(alias = "count", deserialize_with = "replicas")]
    pub replicas: Range<u32>,
    #[serde(default)]
    pub scaling: Option<ScalingSpec>,
    #[serde(default)]
    pub resources: ResourcesSpec,
    #[serde(default)]
    pub spot_policy: Option<SpotPolicy>,
    #[serde(default)]
    pub reservation: Option<String>,
    #[serde(default)]
    pub commands: Vec<String>,
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    pub python: Option<PythonVersion>,
    #[serde(default)]
    pub nvcc: Option<bool>,
    #[serde(default)]
    pub docker: Option<bool>,
    #[serde(default)]
    pub privileged: Option<bool>,
    #[serde(default)]
    pub router: Option<RouterConfig>,
}

/// The schema knows no second names.
fn count_as_well(schema: &mut schemars::Schema) {
    schema.remove("required");
    let properties = schema.ensure_object().get_mut("properties");
    if let Some(properties) = properties.and_then(Value::as_object_mut)
        && let Some(replicas) = properties.get("replicas").cloned()
    {
        properties.insert("count".to_owned(), replicas);
    }
}

fn bounded_replicas<E: serde::de::Error>(range: Range<u32>) -> Result<Range<u32>, E> {
    if range.max.is_none() {
        return Err(E::custom(format!(
            "`{range}` has no upper end; write `min..max`"
        )));
    }
    Ok(Range {
        min: Some(range.min.unwrap_or(0)),
        max: range.max,
    })
}

fn replicas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Range<u32>, D::Error> {
    bounded_replicas(Range::deserialize(deserializer)?)
}

/// `replicas:` takes a number or range; its older form is the list of groups itself.
enum Replicas {
    Range(Range<u32>),
    Groups(Vec<ReplicaGroup>),
}

impl Shorthand for Replicas {
    const EXPECTING: &'static str = "a number of replicas such as `2`, or a range such as `1..4`";

    fn from_text(text: &str) -> Result<Self, String> {
        Range::parse(text).map(Self::Range)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Range::from_map(map).map(Self::Range)
    }

    fn from_seq<'de, A: serde::de::SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut groups = Vec::new();
        while let Some(group) = seq.next_element()? {
            groups.push(group);
        }
        Ok(Self::Groups(groups))
    }
}

deserialize_shorthand!(Replicas: ["string", "integer"], Range<u32>, Vec<ReplicaGroup>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ServiceInput")]
pub struct ServiceConfiguration {
    pub r#type: ServiceTag,
    pub port: ServicePort,
    pub gateway: Option<GatewayChoice>,
    pub strip_prefix: bool,
    pub model: Option<ServiceModel>,
    pub https: Option<Https>,
    pub auth: bool,
    pub scaling: Option<ScalingSpec>,
    pub rate_limits: Vec<RateLimit>,
    pub probes: Option<Vec<ProbeConfig>>,
    pub replicas: Option<Range<u32>>,
    pub groups: Option<Vec<ReplicaGroup>>,
    pub commands: Vec<String>,
    #[serde(flatten)]
    pub run: RunCommon,
    #[serde(flatten)]
    pub profile: ProfileParams,
}

schema_of_input!(ServiceConfiguration: ServiceInput);

/// The keys as written, before `replicas` is told apart from its older meaning.
struct ServiceWritten {
    r#type: ServiceTag,
    port: ServicePort,
    gateway: Option<GatewayChoice>,
    strip_prefix: bool,
    model: Option<ServiceModel>,
    https: Option<Https>,
    auth: bool,
    scaling: Option<ScalingSpec>,
    rate_limits: Vec<RateLimit>,
    probes: Option<Vec<ProbeConfig>>,
    replicas: Option<Replicas>,
    groups: Option<Vec<ReplicaGroup>>,
    commands: Vec<String>,
    run: RunCommon,
    profile: ProfileParams,
}

super::flat::run_input!(ServiceInput => ServiceWritten {
    #[serde(default)]
    r#type: ServiceTag,
    port: ServicePort,
    #[serde(default)]
    gateway: Option<GatewayChoice>,
    #[serde(default = "yes")]
    strip_prefix: bool,
    #[serde(default)]
    model: Option<ServiceModel>,
    #[serde(default)]
    https: Option<Https>,
    #[serde(default = "yes")]
    auth: bool,
    #[serde(default)]
    scaling: Option<ScalingSpec>,
    #[serde(default)]
    rate_limits: Vec<RateLimit>,
    #[serde(default)]
    probes: Option<Vec<ProbeConfig>>,
    #[serde(default)]
    replicas: Option<Replicas>,
    #[serde(default)]
    groups: Option<Vec<ReplicaGroup>>,
    #[serde(default)]
    commands: Vec<String>,
});

#[derive(Debug)]
struct ReplicasRefused(String);

impl fmt::Display for ReplicasRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<ServiceInput> for ServiceConfiguration {
    type Error = ReplicasRefused;

    fn try_from(input: ServiceInput) -> Result<Self, ReplicasRefused> {
        let written = ServiceWritten::from(input);
        let (replicas, groups) = match (written.replicas, written.groups) {
            (Some(Replicas::Range(range)), groups) => {
                let range = bounded_replicas::<serde::de::value::Error>(range);
                (
                    Some(range.map_err(|error| ReplicasRefused(format!("replicas: {error}")))?),
                    groups,
                )
            }
            (Some(Replicas::Groups(groups)), None) => (None, Some(groups)),
            (Some(Replicas::Groups(_)), Some(_)) => {
                return Err(ReplicasRefused(
                    "`groups` is given twice: once as `replicas`, its older name".to_owned(),
                ));
            }
            (None, groups) => (None, groups),
        };
        let named = |(index, mut group): (usize, ReplicaGroup)| {
            group.name.get_or_insert_with(|| index.to_string());
            group
        };
        let groups = groups.map(|groups| groups.into_iter().enumerate().map(named).collect());
        Ok(Self {
            r#type: written.r#type,
            port: written.port,
            gateway: written.gateway,
            strip_prefix: written.strip_prefix,
            model: written.model,
            https: written.https,
            auth: written.auth,
            scaling: written.scaling,
            rate_limits: written.rate_limits,
            probes: written.probes,
            replicas,
            groups,
            commands: written.commands,
            run: written.run,
            profile: written.profile,
        })
    }
}
