//! `type: fleet`: hosts one owns (`ssh_config`) or machines a backend creates (`nodes`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Serialize};

use super::backend_type::BackendType;
use super::duration::{self, IdleDuration};
use super::env::Env;
use super::profile::{Profile, RetrySetting, SpotPolicy, VastAiOptions};
use super::resources::ResourcesSpec;
use super::shorthand::{self, Shorthand, bounded, deserialize_shorthand, type_tag};

type_tag!(FleetTag, "fleet");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    Any,
    Cluster,
}

/// Into how many parts an instance may be divided; `auto`: as many as it has GPUs (or CPUs, without any).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    Auto,
    Count(u32),
}

impl Default for Blocks {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Serialize for Blocks {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u32(*count),
        }
    }
}

impl Shorthand for Blocks {
    const EXPECTING: &'static str = "`auto` or a number of 1 or more";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(count) if count > 0 => Ok(Self::Count(count)),
            _ => Err(format!("`{text}` is not {}", Self::EXPECTING)),
        }
    }
}

deserialize_shorthand!(Blocks: ["string", "integer"]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetNodes {
    pub min: u32,
    /// How many to create at first.
    pub target: u32,
    pub max: Option<u32>,
}

/// `target` is left out when it says nothing new.
impl Serialize for FleetNodes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("min", &self.min)?;
        if self.target != self.min {
            map.serialize_entry("target", &self.target)?;
        }
        map.serialize_entry("max", &self.max)?;
        map.end()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongNodes {
    #[serde(default)]
    min: Option<u32>,
    #[serde(default)]
    target: Option<u32>,
    #[serde(default)]
    max: Option<u32>,
}

impl LongNodes {
    fn finish(self) -> Result<FleetNodes, String> {
        let min = self.min.unwrap_or(0);
        let target = self.target.unwrap_or(min);
        if min > target || self.max.is_some_and(|max| target > max) {
            let max = self
                .max
                .map_or_else(|| "(none)".to_owned(), |max| max.to_string());
            return Err(format!(
                "nodes must satisfy min <= target <= max, here {min}, {target}, {max}"
            ));
        }
        Ok(FleetNodes {
            min,
            target,
            max: self.max,
        })
    }
}

impl Shorthand for FleetNodes {
    const EXPECTING: &'static str =
        "a number of nodes such as `2`, `0..4`, `1..`, or a mapping with `min`, `target`, `max`";

    fn from_text(text: &str) -> Result<Self, String> {
        let range = super::range::Range::<u32>::parse(text)?;
        LongNodes {
            min: range.min,
            target: None,
            max: range.max,
        }
        .finish()
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        shorthand::long_form::<LongNodes, A>(map)?
            .finish()
            .map_err(A::Error::custom)
    }
}

deserialize_shorthand!(FleetNodes: ["string", "integer"], LongNodes);

/// A key pair; the private half is removed from everything that is stored in the open or shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshKey {
    pub public: String,
    #[serde(default)]
    pub private: Option<String>,
}

impl std::fmt::Debug for SshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshProxyParams {
    pub hostname: String,
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, 65535>")]
    pub port: Option<u16>,
    pub user: String,
    pub identity_file: String,
    #[serde(default)]
    pub ssh_key: Option<SshKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshHostParams {
    pub hostname: String,
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, 65535>")]
    pub port: Option<u16>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub identity_file: Option<String>,
    #[serde(default)]
    pub proxy_jump: Option<SshProxyParams>,
    #[serde(default)]
    pub internal_ip: Option<String>,
    #[serde(default)]
    pub ssh_key: Option<SshKey>,
    #[serde(default)]
    pub blocks: Option<Blocks>,
}

/// A host as written: its address alone, or with parameters of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SshHost {
    Address(String),
    Params(Box<SshHostParams>),
}

impl SshHost {
    pub fn hostname(&self) -> &str {
        match self {
            Self::Address(hostname) => hostname,
            Self::Params(params) => &params.hostname,
        }
    }
}

impl Shorthand for SshHost {
    const EXPECTING: &'static str = "a host name or address, or a mapping with `hostname`";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(char::is_whitespace) {
            return Err(format!("`{text}` is not {}", Self::EXPECTING));
        }
        Ok(Self::Address(text.to_owned()))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        shorthand::long_form(map).map(|params| Self::Params(Box::new(params)))
    }
}

deserialize_shorthand!(SshHost: ["string"], SshHostParams);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshParams {
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, 65535>")]
    pub port: Option<u16>,
    #[serde(default)]
    pub identity_file: Option<String>,
    #[serde(default)]
    pub ssh_key: Option<SshKey>,
    #[serde(default)]
    pub proxy_jump: Option<SshProxyParams>,
    pub hosts: Vec<SshHost>,
    /// A CIDR from which the internal addresses are chosen.
    #[serde(default)]
    pub network: Option<String>,
}

/// A host with the fleet's parameters filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedHost {
    pub hostname: String,
    pub port: u16,
    pub user: Option<String>,
    pub identity_file: Option<String>,
    pub ssh_key: Option<SshKey>,
    pub proxy_jump: Option<SshProxyParams>,
    pub internal_ip: Option<String>,
    pub blocks: Blocks,
}

impl SshParams {
    /// What a host says wins over what the fleet says.
    pub fn resolved_hosts(&self, fleet_blocks: Blocks) -> Vec<ResolvedHost> {
        self.hosts
            .iter()
            .map(|host| {
                let own = match host {
                    SshHost::Address(_) => None,
                    SshHost::Params(params) => Some(params.as_ref()),
                };
                // A host with its own identity file must not be reached with the fleet's key.
                let own_key =
                    own.is_some_and(|host| host.identity_file.is_some() || host.ssh_key.is_some());
                ResolvedHost {
                    hostname: host.hostname().to_owned(),
                    port: own.and_then(|host| host.port).or(self.port).unwrap_or(22),
                    user: own
                        .and_then(|host| host.user.clone())
                        .or_else(|| self.user.clone()),
                    identity_file: own
                        .and_then(|host| host.identity_file.clone())
                        .or_else(|| self.identity_file.clone()),
                    ssh_key: match own {
                        Some(host) if own_key => host.ssh_key.clone(),
                        _ => self.ssh_key.clone(),
                    },
                    proxy_jump: own
                        .and_then(|host| host.proxy_jump.clone())
                        .or_else(|| self.proxy_jump.clone()),
                    internal_ip: own.and_then(|host| host.internal_ip.clone()),
                    blocks: own.and_then(|host| host.blocks).unwrap_or(fleet_blocks),
                }
            })
            .collect()
    }

    /// Without any private key, for storing and showing.
    pub fn without_keys(&self) -> Self {
        let mut params = self.clone();
        params.ssh_key = None;
        params.proxy_jump = params.proxy_jump.map(SshProxyParams::without_key);
        for host in &mut params.hosts {
            if let SshHost::Params(host) = host {
                host.ssh_key = None;
                host.proxy_jump = host.proxy_jump.take().map(SshProxyParams::without_key);
            }
        }
        params
    }
}

impl SshProxyParams {
    fn without_key(mut self) -> Self {
        self.ssh_key = None;
        self
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetConfiguration {
    #[serde(default)]
    pub r#type: FleetTag,
    #[serde(default, deserialize_with = "super::names::resource_name")]
    pub name: Option<String>,
    #[serde(default)]
    pub placement: Option<Placement>,
    #[serde(default)]
    pub blocks: Blocks,
    #[serde(default)]
    pub nodes: Option<FleetNodes>,
    #[serde(default)]
    pub reservation: Option<String>,
    #[serde(default)]
    pub resources: Option<ResourcesSpec>,
    #[serde(default)]
    pub backends: Option<Vec<BackendType>>,
    #[serde(default)]
    pub regions: Option<Vec<String>>,
    #[serde(default)]
    pub availability_zones: Option<Vec<String>>,
    #[serde(default)]
    pub instance_types: Option<Vec<String>>,
    #[serde(default)]
    pub spot_policy: Option<SpotPolicy>,
    #[serde(default)]
    pub retry: Option<RetrySetting>,
    #[serde(default, deserialize_with = "bounded::price")]
    pub max_price: Option<f64>,
    #[serde(default, deserialize_with = "duration::idle")]
    pub idle_duration: Option<IdleDuration>,
    #[serde(default, deserialize_with = "super::names::tags")]
    pub tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub backend_options: Option<Vec<VastAiOptions>>,
    #[serde(default)]
    pub ssh_config: Option<SshParams>,
    #[serde(default)]
    pub env: Env,
}

impl Default for FleetConfiguration {
    fn default() -> Self {
        Self {
            r#type: FleetTag,
            name: None,
            placement: None,
            blocks: Blocks::default(),
            nodes: None,
            reservation: None,
            resources: None,
            backends: None,
            regions: None,
            availability_zones: None,
            instance_types: None,
            spot_policy: None,
            retry: None,
            max_price: None,
            idle_duration: None,
            tags: None,
            backend_options: None,
            ssh_config: None,
            env: Env::default(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetSpec {
    pub configuration: FleetConfiguration,
    #[serde(default)]
    pub configuration_path: Option<String>,
    pub profile: Profile,
    #[serde(default)]
    pub autocreated: bool,
}

impl FleetSpec {
    /// For storing in the open and for showing.
    pub fn without_keys(&self) -> Self {
        let mut spec = self.clone();
        spec.configuration.ssh_config = spec
            .configuration
            .ssh_config
            .map(|params| params.without_keys());
        spec
    }
}
