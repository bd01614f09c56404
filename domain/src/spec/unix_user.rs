//! `user:`: `user[:group]`, each a name or a number.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UnixUser {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub username: Option<String>,
    pub groupname: Option<String>,
}

impl UnixUser {
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || {
            format!("`{text}` is not a user: write `user` or `user:group`, each a name or a number")
        };
        let mut parts = text.trim().split(':');
        let user = parts
            .next()
            .filter(|user| !user.is_empty())
            .ok_or_else(refused)?;
        let group = parts.next();
        if parts.next().is_some() || group == Some("") {
            return Err(refused());
        }
        let (uid, username) = split(user).ok_or_else(refused)?;
        let (gid, groupname) = match group {
            None => (None, None),
            Some(group) => split(group).ok_or_else(refused)?,
        };
        Ok(Self {
            uid,
            gid,
            username,
            groupname,
        })
    }
}

fn split(text: &str) -> Option<(Option<u32>, Option<String>)> {
    if text.chars().all(|c| c.is_ascii_digit()) {
        return text.parse().ok().map(|id| (Some(id), None));
    }
    let legal = !text.starts_with('-')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "._-$@\\".contains(c));
    legal.then(|| (None, Some(text.to_owned())))
}

/// The field stays text on the wire; it is parsed only so that a mistake is reported where it stands.
pub(crate) fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let user = Option::<String>::deserialize(deserializer)?;
    if let Some(user) = &user {
        UnixUser::parse(user).map_err(serde::de::Error::custom)?;
    }
    Ok(user)
}
