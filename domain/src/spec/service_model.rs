//! `model:` of a service: the name under which it is offered, and the protocol it speaks.

use schemars::JsonSchema;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Serialize};

use super::shorthand::{self, Shorthand, deserialize_shorthand, type_tag};

type_tag!(ChatTag, "chat");

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "format", rename_all = "lowercase")]
pub enum ServiceModel {
    Openai {
        r#type: ChatTag,
        name: String,
        prefix: String,
    },
    Tgi {
        r#type: ChatTag,
        name: String,
        chat_template: Option<String>,
        eos_token: Option<String>,
    },
}

impl ServiceModel {
    pub fn name(&self) -> &str {
        match self {
            Self::Openai { name, .. } | Self::Tgi { name, .. } => name,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Openai,
    Tgi,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongModel {
    #[serde(default)]
    r#type: ChatTag,
    name: String,
    #[serde(default)]
    format: Option<Format>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    chat_template: Option<String>,
    #[serde(default)]
    eos_token: Option<String>,
}

fn openai(name: String, prefix: Option<String>) -> ServiceModel {
    ServiceModel::Openai {
        r#type: ChatTag,
        name,
        prefix: prefix.unwrap_or_else(|| "/v1".to_owned()),
    }
}

impl Shorthand for ServiceModel {
    const EXPECTING: &'static str = "a model name, or a mapping with `name` and `format`";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(openai(text.to_owned(), None))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let LongModel {
            r#type,
            name,
            format,
            prefix,
            chat_template,
            eos_token,
        } = shorthand::long_form(map)?;
        match format.unwrap_or(Format::Openai) {
            Format::Openai if chat_template.is_some() || eos_token.is_some() => Err(
                A::Error::custom("`chat_template` and `eos_token` belong to `format: tgi`"),
            ),
            Format::Openai => Ok(openai(name, prefix)),
            Format::Tgi if prefix.is_some() => {
                Err(A::Error::custom("`prefix` belongs to `format: openai`"))
            }
            Format::Tgi => Ok(Self::Tgi {
                r#type,
                name,
                chat_template,
                eos_token,
            }),
        }
    }
}

deserialize_shorthand!(ServiceModel: ["string"], LongModel);
