//! `type: gateway`: a public entrance for services.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Serialize};

use super::backend_type::BackendType;
use super::shorthand::{self, Shorthand, bounded, deserialize_shorthand, type_tag, yes};

type_tag!(GatewayTag, "gateway");
type_tag!(AlbTag, "alb");

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Certificate {
    LetsEncrypt,
    Acm { arn: String },
    GcpCm { name: String },
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CertificateKind {
    LetsEncrypt,
    Acm,
    GcpCm,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongCertificate {
    r#type: CertificateKind,
    #[serde(default)]
    arn: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl Shorthand for Certificate {
    const EXPECTING: &'static str =
        "`{type: lets-encrypt}`, `{type: acm, arn: …}` or `{type: gcp-cm, name: …}`";

    fn from_text(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` is not {}", Self::EXPECTING))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongCertificate = shorthand::long_form(map)?;
        match (long.r#type, long.arn, long.name) {
            (CertificateKind::LetsEncrypt, None, None) => Ok(Self::LetsEncrypt),
            (CertificateKind::Acm, Some(arn), None) => Ok(Self::Acm { arn }),
            (CertificateKind::GcpCm, None, Some(name)) => Ok(Self::GcpCm { name }),
            _ => Err(A::Error::custom(format!("expected {}", Self::EXPECTING))),
        }
    }
}

deserialize_shorthand!(Certificate: [], LongCertificate);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    pub r#type: AlbTag,
}

/// `certificate` absent is Let's Encrypt, null is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfiguration {
    #[serde(default)]
    pub r#type: GatewayTag,
    #[serde(default, deserialize_with = "super::names::resource_name")]
    pub name: Option<String>,
    #[serde(default)]
    pub default: Option<bool>,
    pub backend: BackendType,
    pub region: String,
    #[serde(default)]
    pub instance_type: Option<String>,
    #[serde(default)]
    pub domain: Option<String>,
    #[serde(default = "yes")]
    pub public_ip: bool,
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    #[serde(default = "lets_encrypt")]
    pub certificate: Option<Certificate>,
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, 9>")]
    pub replicas: Option<u32>,
    #[serde(default, deserialize_with = "super::names::tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

fn lets_encrypt() -> Option<Certificate> {
    Some(Certificate::LetsEncrypt)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewaySpec {
    pub configuration: GatewayConfiguration,
    #[serde(default)]
    pub configuration_path: Option<String>,
}
