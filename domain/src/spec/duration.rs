//! Durations: one number, one unit. `1h30m` is refused, as upstream refuses it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::shorthand::{Shorthand, deserialize_shorthand, schema_of_input};

const RULE: &str =
    "a number of seconds or a number with one unit of s, m, h, d, w, such as `90m` or `2h`";

/// Whole seconds; on the wire an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Duration(pub u64);

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    pub const fn as_secs(self) -> u64 {
        self.0
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a duration: write {RULE}");
        let trimmed = text.trim();
        let digits = trimmed.len()
            - trimmed
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refused())?;
        let seconds = match unit.trim_start_matches(' ') {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return Err(refused()),
        };
        number
            .checked_mul(seconds)
            .filter(|total| *total <= i64::MAX as u64)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too long a duration"))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, seconds) in [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60)] {
            if self.0 >= seconds && self.0.is_multiple_of(seconds) {
                return write!(f, "{}{unit}", self.0 / seconds);
            }
        }
        write!(f, "{}s", self.0)
    }
}

impl Shorthand for Duration {
    const EXPECTING: &'static str = "a duration such as `90m`, `2h` or a number of seconds";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn from_integer(number: i64) -> Result<Self, String> {
        u64::try_from(number)
            .map(Self)
            .map_err(|_| format!("`{number}` is negative; a duration is {RULE}"))
    }

    fn from_float(number: f64) -> Result<Self, String> {
        if number.fract() == 0.0 && number.abs() < 9e15 {
            return Self::from_integer(number as i64);
        }
        Err(format!("`{number}` has a fraction; a duration is {RULE}"))
    }
}

deserialize_shorthand!(Duration: ["string", "number"]);

/// A limit that may be switched off: `max_duration`, `stop_duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffableDuration {
    Off,
    After(Duration),
}

impl OffableDuration {
    /// The limit in seconds, `None` when there is none.
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::After(duration) => Some(duration.as_secs()),
        }
    }
}

impl Serialize for OffableDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::After(duration) => duration.serialize(serializer),
        }
    }
}

/// What `true` means differs from both `off` and a number: "whatever the default is".
enum OffableInput {
    Unspecified,
    Given(OffableDuration),
}

impl Shorthand for OffableInput {
    const EXPECTING: &'static str = "a duration such as `2h`, a number of seconds, or `off`";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Given(OffableDuration::Off));
        }
        Duration::parse(text).map(|duration| Self::Given(OffableDuration::After(duration)))
    }

    fn from_integer(number: i64) -> Result<Self, String> {
        Duration::from_integer(number).map(|duration| Self::Given(OffableDuration::After(duration)))
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Duration::from_float(number).map(|duration| Self::Given(OffableDuration::After(duration)))
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(if value {
            Self::Unspecified
        } else {
            Self::Given(OffableDuration::Off)
        })
    }
}

deserialize_shorthand!(OffableInput: ["string", "number", "boolean"]);
schema_of_input!(OffableDuration: OffableInput);

/// For `Option<OffableDuration>` fields.
pub(crate) fn offable<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<OffableDuration>, D::Error> {
    Ok(match Option::<OffableInput>::deserialize(deserializer)? {
        None | Some(OffableInput::Unspecified) => None,
        Some(OffableInput::Given(duration)) => Some(duration),
    })
}

/// For `inactivity_duration`, where off and absent are the same thing.
pub(crate) fn offable_as_absent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Ok(match offable(deserializer)? {
        Some(OffableDuration::After(duration)) => Some(duration),
        Some(OffableDuration::Off) | None => None,
    })
}

/// How long something may lie idle; never is `-1` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleDuration {
    Never,
    After(Duration),
}

impl IdleDuration {
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(duration.as_secs()),
        }
    }
}

impl Serialize for IdleDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_i64(-1),
            Self::After(duration) => duration.serialize(serializer),
        }
    }
}

enum IdleInput {
    Unspecified,
    Given(IdleDuration),
}

impl Shorthand for IdleInput {
    const EXPECTING: &'static str = "a duration such as `5m`, a number of seconds, or `off`";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Given(IdleDuration::Never));
        }
        if let Ok(number) = text.trim().parse::<i64>() {
            return Self::from_integer(number);
        }
        Duration::parse(text).map(|duration| Self::Given(IdleDuration::After(duration)))
    }

    fn from_integer(number: i64) -> Result<Self, String> {
        Ok(Self::Given(match u64::try_from(number) {
            Ok(seconds) => IdleDuration::After(Duration(seconds)),
            Err(_) => IdleDuration::Never,
        }))
    }

    fn from_float(number: f64) -> Result<Self, String> {
        if number < 0.0 {
            return Ok(Self::Given(IdleDuration::Never));
        }
        Duration::from_float(number).map(|duration| Self::Given(IdleDuration::After(duration)))
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(if value {
            Self::Unspecified
        } else {
            Self::Given(IdleDuration::Never)
        })
    }
}

deserialize_shorthand!(IdleInput: ["string", "number", "boolean"]);
schema_of_input!(IdleDuration: IdleInput);

/// For `Option<IdleDuration>` fields.
pub(crate) fn idle<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IdleDuration>, D::Error> {
    Ok(match Option::<IdleInput>::deserialize(deserializer)? {
        None | Some(IdleInput::Unspecified) => None,
        Some(IdleInput::Given(duration)) => Some(duration),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_and_one_unit() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("5s", 5),
            ("90m", 5400),
            ("2 h", 7200),
            ("3d", 259_200),
            ("1w", 604_800),
        ] {
            assert_eq!(Duration::parse(text), Ok(Duration(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "1h30m",
            "1.5h",
            "-1",
            "1y",
            "1 hour",
            "99999999999999999999",
            "9999999999999999w",
        ] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_in_the_largest_exact_unit() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (5400, "90m"),
            (86_400, "1d"),
            (604_800, "1w"),
        ] {
            assert_eq!(Duration(seconds).to_string(), text);
        }
    }
}
