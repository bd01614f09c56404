//! Moments on the wire.
//!
//! Upstream writes UTC with `Z` and microseconds: six digits, or none when they are zero. Finer
//! digits are cut, because clients echo moments back as paging cursors and cut them themselves; a
//! cursor must find the row it came from.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct Moment(#[schemars(with = "String", extend("format" = "date-time"))] Timestamp);

impl Moment {
    /// The moment, to be compared with stored ones.
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        let micros = timestamp.as_microsecond();
        Self(Timestamp::from_microsecond(micros).unwrap_or(timestamp))
    }
}

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.subsec_nanosecond() == 0 {
            write!(f, "{:.0}", self.0)
        } else {
            write!(f, "{:.6}", self.0)
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse::<Timestamp>().map(Self::from).map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is not a moment with a time zone, such as 2026-11-23T22:52:38.830083Z"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let moment: Moment = serde_json::from_value(serde_json::json!(text)).unwrap();
        moment.to_string()
    }

    #[test]
    fn six_digits_or_none() {
        assert_eq!(
            written("2026-11-23T22:52:38.830083Z"),
            "2026-11-23T22:52:38.830083Z"
        );
        assert_eq!(
            written("2026-11-23T22:52:38.83Z"),
            "2026-11-23T22:52:38.830000Z"
        );
        assert_eq!(written("2026-11-23T22:52:38Z"), "2026-11-23T22:52:38Z");
        assert_eq!(
            written("2026-11-23T22:52:38.830083999Z"),
            "2026-11-23T22:52:38.830083Z"
        );
        assert_eq!(written("2026-11-24T00:52:38+02:00"), "2026-11-23T22:52:38Z");
    }

    #[test]
    fn a_moment_without_a_zone_is_refused() {
        let error = serde_json::from_str::<Moment>("\"2026-11-23T22:52:38\"").unwrap_err();
        assert!(error.to_string().contains("time zone"), "{error}");
    }
}
