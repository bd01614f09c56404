//! Inclusive ranges: `2..8`, `2..`, `..8`, `4` (exactly four), or `{min: 2, max: 8}`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::MapAccess;
use serde::{Deserialize, Deserializer, Serialize};

use super::memory::Memory;
use super::shorthand::{self, Shorthand};

/// What a range can be made of.
pub trait Bound:
    Copy + PartialOrd + fmt::Display + Serialize + for<'de> Deserialize<'de> + JsonSchema
{
    const NOUN: &'static str;
    fn parse_bound(text: &str) -> Result<Self, String>;
    fn bound_from_float(number: f64) -> Result<Self, String>;
}

impl Bound for u32 {
    const NOUN: &'static str = "a number or a range such as `4`, `2..8`, `2..` or `..8`";

    fn parse_bound(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not a whole number of 0 or more"))
    }

    fn bound_from_float(number: f64) -> Result<Self, String> {
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            return Ok(number as u32);
        }
        Err(format!("`{number}` is not a whole number of 0 or more"))
    }
}

impl Bound for Memory {
    const NOUN: &'static str =
        "an amount or a range such as `80GB`, `24GB..`, `..80GB` or `24GB..80GB`";

    fn parse_bound(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn bound_from_float(number: f64) -> Result<Self, String> {
        Self::from_float(number)
    }
}

/// Never empty: at least one end is given and `min` is not above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range<T> {
    pub min: Option<T>,
    pub max: Option<T>,
}

impl<T: Copy + PartialOrd> Range<T> {
    pub const fn at_least(min: T) -> Self {
        Self {
            min: Some(min),
            max: None,
        }
    }

    pub const fn exactly(value: T) -> Self {
        Self {
            min: Some(value),
            max: Some(value),
        }
    }

    pub fn contains(&self, value: T) -> bool {
        self.min.is_none_or(|min| min <= value) && self.max.is_none_or(|max| value <= max)
    }

    /// `None` when nothing satisfies both.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let min = pick(self.min, other.min, |a, b| a >= b);
        let max = pick(self.max, other.max, |a, b| a <= b);
        match (min, max) {
            (Some(low), Some(high)) if low > high => None,
            _ => Some(Self { min, max }),
        }
    }
}

fn pick<T: Copy>(a: Option<T>, b: Option<T>, prefer_first: impl Fn(T, T) -> bool) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if prefer_first(a, b) { a } else { b }),
        (one, None) | (None, one) => one,
    }
}

impl<T: Bound> Range<T> {
    pub fn new(min: Option<T>, max: Option<T>) -> Result<Self, String> {
        match (min, max) {
            (None, None) => Err(
                "a range needs at least one end: write `min..`, `..max` or `min..max`".to_owned(),
            ),
            (Some(low), Some(high)) if low > high => Err(format!(
                "the range `{low}..{high}` is empty: its start is above its end"
            )),
            _ => Ok(Self { min, max }),
        }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((low, high)) = text.split_once("..") else {
            return T::parse_bound(text.trim()).map(Self::exactly);
        };
        let side = |text: &str| match text.trim() {
            "" => Ok(None),
            text => T::parse_bound(text).map(Some),
        };
        Self::new(side(low)?, side(high)?)
    }
}

impl<T: Bound> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(low), Some(high)) if low == high => write!(f, "{low}"),
            (low, high) => {
                if let Some(low) = low {
                    write!(f, "{low}")?;
                }
                f.write_str("..")?;
                if let Some(high) = high {
                    write!(f, "{high}")?;
                }
                Ok(())
            }
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "T: Bound")]
pub(crate) struct LongRange<T> {
    #[serde(default = "none::<T>")]
    pub(crate) min: Option<T>,
    #[serde(default = "none::<T>")]
    pub(crate) max: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T: Bound> Shorthand for Range<T> {
    const EXPECTING: &'static str = T::NOUN;

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn from_float(number: f64) -> Result<Self, String> {
        T::bound_from_float(number).map(Self::exactly)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongRange<T> = shorthand::long_form(map)?;
        Self::new(long.min, long.max).map_err(serde::de::Error::custom)
    }
}

impl<'de, T: Bound> Deserialize<'de> for Range<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand::read(deserializer)
    }
}

impl<T: Bound> JsonSchema for Range<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("RangeOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<LongRange<T>>();
        shorthand::schema(T::NOUN, &["string", "number"], &[long])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_range() {
        let cases = [
            ("4", Some(4), Some(4)),
            ("2..8", Some(2), Some(8)),
            ("2..", Some(2), None),
            ("..8", None, Some(8)),
            (" 2 .. 8 ", Some(2), Some(8)),
        ];
        for (text, min, max) in cases {
            assert_eq!(Range::<u32>::parse(text), Ok(Range { min, max }), "{text}");
        }
        for text in ["", "..", "8..2", "a..b", "-1", "1...2", "1.5"] {
            assert!(Range::<u32>::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn intersection_keeps_the_tighter_end() {
        let wide = Range::<u32>::at_least(2);
        let narrow = Range {
            min: None,
            max: Some(4),
        };
        assert_eq!(
            wide.intersect(&narrow),
            Some(Range {
                min: Some(2),
                max: Some(4)
            })
        );
        assert_eq!(wide.intersect(&Range::exactly(1)), None);
        assert!(wide.contains(2) && !wide.contains(1));
    }
}
