//! The shape of a YAML text with the position of every key and value, for errors that are found after parsing: a rule broken by
//! two keys together has a path, and the outline knows where that path stands.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

#[derive(Debug)]
pub(crate) enum Outline {
    Map(Vec<(Spanned<String>, Spanned<Outline>)>),
    Seq(Vec<Spanned<Outline>>),
    Text(String),
    /// A scalar that YAML took for something else than text.
    Other,
}

struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Outline, E> {
        Ok(Outline::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Outline, E> {
        Ok(Outline::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Outline, E> {
        Ok(Outline::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Outline, E> {
        Ok(Outline::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Outline, E> {
        Ok(Outline::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Outline, E> {
        Ok(Outline::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outline, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Outline::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Outline::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutlineVisitor)
    }
}

/// One step of a path such as `groups[0].resources`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

pub(crate) fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut pieces = part.split('[');
        if let Some(key) = pieces.next().filter(|key| !key.is_empty()) {
            steps.push(Step::Key(key));
        }
        steps.extend(
            pieces
                .filter_map(|piece| piece.strip_suffix(']')?.parse().ok())
                .map(Step::Index),
        );
    }
    steps
}

impl Outline {
    pub(crate) fn entry(&self, key: &str) -> Option<&(Spanned<String>, Spanned<Outline>)> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name.value == key),
            _ => None,
        }
    }

    /// The value at exactly this path.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        steps(path)
            .iter()
            .try_fold(self, |here, step| match (step, here) {
                (Step::Key(key), _) => here.entry(key).map(|(_, value)| &value.value),
                (Step::Index(index), Self::Seq(items)) => items.get(*index).map(|item| &item.value),
                _ => None,
            })
    }

    /// Where the deepest existing part of the path stands: the key of a mapping, the item of a list.
    pub(crate) fn locate(&self, path: &str) -> Option<Location> {
        let mut here = self;
        let mut found = None;
        for step in steps(path) {
            let next = match (&step, here) {
                (Step::Key(key), _) => here
                    .entry(key)
                    .map(|(name, value)| (name.referenced, &value.value)),
                (Step::Index(index), Self::Seq(items)) => {
                    items.get(*index).map(|item| (item.referenced, &item.value))
                }
                _ => None,
            };
            let Some((location, value)) = next else { break };
            found = Some(location);
            here = value;
        }
        found
    }
}
