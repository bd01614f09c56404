//! Amounts of memory and disk, in gigabytes of 1024 megabytes, as the wire carries them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::shorthand::{Shorthand, deserialize_shorthand};

const MIB_PER_GB: f64 = 1024.0;
/// An exabyte; beyond it every amount is a mistake, and below it no conversion overflows.
const MOST_GB: f64 = 1024.0 * 1024.0 * 1024.0;

#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Memory(f64);

impl Memory {
    pub const fn gb(gigabytes: u32) -> Self {
        Self(gigabytes as f64)
    }

    pub fn from_mib(mib: u64) -> Self {
        Self(mib as f64 / MIB_PER_GB)
    }

    pub fn as_gb(self) -> f64 {
        self.0
    }

    /// Rounded up, so that a request is never satisfied by less than was asked.
    pub fn as_mib(self) -> u64 {
        (self.0 * MIB_PER_GB).ceil() as u64
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let compact: String = text
            .chars()
            .filter(|c| *c != ' ')
            .collect::<String>()
            .to_ascii_lowercase();
        let (number, factor) = if let Some(number) = compact.strip_suffix("mb") {
            (number, 1.0 / MIB_PER_GB)
        } else if let Some(number) = compact.strip_suffix("gb") {
            (number, 1.0)
        } else if let Some(number) = compact.strip_suffix("tb") {
            (number, MIB_PER_GB)
        } else {
            (compact.as_str(), 1.0)
        };
        let looks_like_a_number = number.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let amount = number.parse::<f64>().ok().filter(|_| looks_like_a_number);
        match amount {
            Some(amount) => Self::checked(amount * factor, text),
            None => Err(format!(
                "`{text}` is not an amount of memory: write a number with MB, GB or TB, such as `80GB`"
            )),
        }
    }

    fn checked(gigabytes: f64, text: &str) -> Result<Self, String> {
        if gigabytes < 0.0 {
            return Err(format!("`{text}` is negative"));
        }
        if gigabytes.is_finite() && gigabytes <= MOST_GB {
            return Ok(Self(gigabytes));
        }
        Err(format!("`{text}` is more memory than exists"))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0 * MIB_PER_GB;
        if self.0.fract() != 0.0 && mib.fract() == 0.0 {
            return write!(f, "{mib}MB");
        }
        if self.0 >= MIB_PER_GB && (self.0 / MIB_PER_GB).fract() == 0.0 {
            return write!(f, "{}TB", self.0 / MIB_PER_GB);
        }
        write!(f, "{}GB", self.0)
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl Shorthand for Memory {
    const EXPECTING: &'static str = "an amount of memory such as `512MB` or `80GB`";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn from_integer(number: i64) -> Result<Self, String> {
        Self::checked(number as f64, &number.to_string())
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Self::checked(number, &number.to_string())
    }
}

deserialize_shorthand!(Memory: ["string", "number"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, gigabytes) in [
            ("512MB", 0.5),
            ("80GB", 80.0),
            ("1.5tb", 1536.0),
            ("24 GB", 24.0),
            ("8", 8.0),
            ("0gb", 0.0),
        ] {
            assert_eq!(
                Memory::parse(text).map(Memory::as_gb),
                Ok(gigabytes),
                "{text}"
            );
        }
        for text in [
            "", "GB", "80G", "80GiB", "-1GB", "nan", "infGB", "1e999GB", "ten",
        ] {
            assert!(Memory::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_as_one_would_write_it() {
        for (gigabytes, text) in [
            (0.5, "512MB"),
            (80.0, "80GB"),
            (2048.0, "2TB"),
            (0.0, "0GB"),
        ] {
            assert_eq!(Memory(gigabytes).to_string(), text);
        }
    }
}
