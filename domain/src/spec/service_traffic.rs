//! What stands between a request and a replica: rate limits and probes.

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Deserializer, Serialize};

use super::duration::Duration;
use super::shorthand::{self, Shorthand, bounded, deserialize_shorthand, type_tag};

/// What a rate limit counts by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartitioningKey {
    IpAddress,
    Header { header: String },
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PartitioningKind {
    IpAddress,
    Header,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongKey {
    r#type: PartitioningKind,
    #[serde(default)]
    header: Option<String>,
}

impl Shorthand for PartitioningKey {
    const EXPECTING: &'static str = "`{type: ip_address}` or `{type: header, header: NAME}`";

    fn from_text(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` is not {}", Self::EXPECTING))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongKey = shorthand::long_form(map)?;
        match (long.r#type, long.header) {
            (PartitioningKind::IpAddress, None) => Ok(Self::IpAddress),
            (PartitioningKind::Header, Some(header))
                if !header.is_empty() && header.len() <= 500 =>
            {
                Ok(Self::Header { header })
            }
            _ => Err(A::Error::custom(format!("expected {}", Self::EXPECTING))),
        }
    }
}

deserialize_shorthand!(PartitioningKey: [], LongKey);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    #[serde(default = "root", deserialize_with = "prefix")]
    pub prefix: String,
    #[serde(default = "by_address")]
    pub key: PartitioningKey,
    #[serde(deserialize_with = "rps")]
    pub rps: f64,
    #[serde(
        default,
        deserialize_with = "bounded::required::<_, _, 0, { i64::MAX }>"
    )]
    pub burst: u64,
}

fn root() -> String {
    "/".to_owned()
}

fn by_address() -> PartitioningKey {
    PartitioningKey::IpAddress
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let prefix = String::deserialize(deserializer)?;
    let illegal = |c: char| c.is_whitespace() || "\\{}".contains(c);
    if prefix.starts_with('/') && prefix.len() <= 4094 && !prefix.contains(illegal) {
        return Ok(prefix);
    }
    Err(D::Error::custom(format!(
        "`{prefix}` is not a prefix: start it with `/`, without spaces, backslashes or braces"
    )))
}

fn rps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let rps = f64::deserialize(deserializer)?;
    if (1.0 / 60.0..=153_722_867_280_912_930.0).contains(&rps) {
        return Ok(rps);
    }
    Err(D::Error::custom(format!(
        "`{rps}` requests per second is out of range, the least is one per minute (1/60)"
    )))
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpMethod {
    #[default]
    Get,
    Post,
    Put,
    Delete,
    Patch,
    Head,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    #[serde(deserialize_with = "text::<_, 1, 256>")]
    pub name: String,
    #[serde(deserialize_with = "text::<_, 1, 2048>")]
    pub value: String,
}

fn text<'de, D: Deserializer<'de>, const LEAST: usize, const MOST: usize>(
    deserializer: D,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if (LEAST..=MOST).contains(&text.chars().count()) {
        return Ok(text);
    }
    Err(D::Error::custom(format!(
        "expected {LEAST} to {MOST} characters"
    )))
}

type_tag!(HttpTag, "http");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    pub r#type: HttpTag,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub method: Option<HttpMethod>,
    #[serde(default)]
    pub headers: Vec<HttpHeader>,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub timeout: Option<Duration>,
    #[serde(default)]
    pub interval: Option<Duration>,
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, 1_000_000>")]
    pub ready_after: Option<u32>,
    #[serde(default)]
    pub until_ready: Option<bool>,
}

/// A probe with nothing left open, as jobs carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeSpec {
    pub r#type: HttpTag,
    pub url: String,
    #[serde(default)]
    pub method: HttpMethod,
    #[serde(default)]
    pub headers: Vec<HttpHeader>,
    #[serde(default)]
    pub body: Option<String>,
    pub timeout: u64,
    pub interval: u64,
    pub ready_after: u32,
    #[serde(default)]
    pub until_ready: bool,
}

impl From<&ProbeConfig> for ProbeSpec {
    fn from(probe: &ProbeConfig) -> Self {
        Self {
            r#type: HttpTag,
            url: probe.url.clone().unwrap_or_else(root),
            method: probe.method.unwrap_or_default(),
            headers: probe.headers.clone(),
            body: probe.body.clone(),
            timeout: probe.timeout.map_or(10, Duration::as_secs),
            interval: probe.interval.map_or(15, Duration::as_secs),
            ready_after: probe.ready_after.unwrap_or(1),
            until_ready: probe.until_ready.unwrap_or(false),
        }
    }
}
