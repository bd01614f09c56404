//! `env:`: a mapping, or a list of `K=V`, `K=` and `K`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess};
use serde::{Deserialize, Serialize};

use super::shorthand::{self, Shorthand, deserialize_shorthand};

/// A value, or a promise that the client fills it in from its own environment before it submits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EnvValue {
    Value(String),
    /// `- NAME` without `=`. Must be resolved before a spec is submitted.
    FromCaller {
        key: String,
    },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CallerKey {
    key: String,
}

impl Shorthand for EnvValue {
    const EXPECTING: &'static str = "text or a number";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::Value(text.to_owned()))
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Ok(Self::Value(number.to_string()))
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(Self::Value(value.to_string()))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let CallerKey { key } = shorthand::long_form(map)?;
        check_any_name(&key).map_err(A::Error::custom)?;
        Ok(Self::FromCaller { key })
    }
}

deserialize_shorthand!(EnvValue: ["string", "number", "boolean"], CallerKey);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Env(pub BTreeMap<String, EnvValue>);

impl Env {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(EnvValue::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// Names still waiting for a value from the client.
    pub fn unresolved(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|(_, value)| matches!(value, EnvValue::FromCaller { .. }))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Fills in what `lookup` knows and returns the names it does not.
    pub fn resolve(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Vec<String> {
        for value in self.0.values_mut() {
            if let EnvValue::FromCaller { key } = value
                && let Some(found) = lookup(key)
            {
                *value = EnvValue::Value(found);
            }
        }
        self.unresolved()
    }

    /// Only what has a value.
    pub fn values(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .filter_map(|(name, value)| match value {
                EnvValue::Value(value) => Some((name.clone(), value.clone())),
                EnvValue::FromCaller { .. } => None,
            })
            .collect()
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not an environment variable name: letters, digits and `_`, not starting with a digit"
    ))
}

/// Programs other than shells may have names of their own kind, such as `my.option`; a mapping can carry them.
fn check_any_name(name: &str) -> Result<(), String> {
    if !name.is_empty() && !name.contains(|c: char| c == '=' || c == '\0' || c.is_whitespace()) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not an environment variable name: it is empty or contains `=` or space"
    ))
}

impl Shorthand for Env {
    const EXPECTING: &'static str =
        "a mapping of names to values, or a list of `NAME=value` and `NAME`";

    fn from_text(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` is not {}", Self::EXPECTING))
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut env = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            check_any_name(&name).map_err(A::Error::custom)?;
            let value = map.next_value()?;
            if env.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is set twice")));
            }
            env.insert(name, value);
        }
        Ok(Self(env))
    }

    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut env = BTreeMap::new();
        while let Some(EnvItem(name, value)) = seq.next_element()? {
            if env.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is set twice")));
            }
            env.insert(name, value);
        }
        Ok(Self(env))
    }
}

deserialize_shorthand!(Env: [], std::collections::BTreeMap<String, EnvValue>, Vec<EnvItem>);

struct EnvItem(String, EnvValue);

impl Shorthand for EnvItem {
    const EXPECTING: &'static str = "`NAME=value` or `NAME`";

    fn from_text(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, EnvValue::Value(value.to_owned())),
            None => (
                text,
                EnvValue::FromCaller {
                    key: text.to_owned(),
                },
            ),
        };
        check_name(name)?;
        Ok(Self(name.to_owned(), value))
    }
}

deserialize_shorthand!(EnvItem: ["string"]);
