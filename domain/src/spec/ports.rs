//! Port mappings: `8000`, `80:8000` (local:container), `*:8000` (any free local port).

use std::fmt;

use schemars::JsonSchema;
use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

use super::shorthand::{self, Shorthand, bounded, deserialize_shorthand};

/// Ports of the agent inside the container; mappings to them are dropped.
pub const RESERVED_PORTS: std::ops::RangeInclusive<u16> = 10_000..=10_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PortMapping {
    /// `None`: any free one.
    pub local_port: Option<u16>,
    pub container_port: u16,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongPort {
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, 65535>")]
    local_port: Option<u16>,
    #[serde(deserialize_with = "bounded::required::<_, _, 1, 65535>")]
    container_port: u16,
}

pub(crate) fn parse_port(text: &str) -> Result<u16, String> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!(
            "`{text}` is not a port: write a number from 1 to 65535"
        )),
    }
}

impl Shorthand for PortMapping {
    const EXPECTING: &'static str = "a port such as `8000`, `80:8000` or `*:8000`";

    fn from_text(text: &str) -> Result<Self, String> {
        let Some((local, container)) = text.split_once(':') else {
            let port = parse_port(text)?;
            return Ok(Self {
                local_port: Some(port),
                container_port: port,
            });
        };
        let local_port = match local.trim() {
            "*" => None,
            local => Some(parse_port(local)?),
        };
        Ok(Self {
            local_port,
            container_port: parse_port(container)?,
        })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongPort = shorthand::long_form(map)?;
        Ok(Self {
            local_port: long.local_port,
            container_port: long.container_port,
        })
    }
}

deserialize_shorthand!(PortMapping: ["string", "integer"], LongPort);

impl std::str::FromStr for PortMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_text(text)
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local_port {
            Some(local) if local == self.container_port => write!(f, "{local}"),
            Some(local) => write!(f, "{local}:{}", self.container_port),
            None => write!(f, "*:{}", self.container_port),
        }
    }
}
