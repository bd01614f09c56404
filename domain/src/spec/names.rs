//! Names people give to things, and names given when they give none.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

const RESOURCE_RULE: &str = "2 to 41 lower-case letters, digits and dashes, starting with a letter (`^[a-z][a-z0-9-]{1,40}$`)";
const GROUP_RULE: &str = "1 to 40 lower-case letters, digits and dashes, starting with a letter or digit (`^[a-z0-9][a-z0-9-]{0,39}$`)";

fn tail_is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Runs, fleets, volumes, gateways, exports.
pub fn check_resource_name(name: &str) -> Result<(), String> {
    if (2..=41).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && tail_is_plain(name)
    {
        return Ok(());
    }
    Err(format!("`{name}` is not a name: {RESOURCE_RULE}"))
}

pub fn check_group_name(name: &str) -> Result<(), String> {
    if (1..=40).contains(&name.len()) && !name.starts_with('-') && tail_is_plain(name) {
        return Ok(());
    }
    Err(format!("`{name}` is not a group name: {GROUP_RULE}"))
}

fn letters_digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

pub fn check_project_name(name: &str) -> Result<(), String> {
    if letters_digits(name, 50) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not a project name: 1 to 50 letters, digits, `-` and `_`"
    ))
}

pub fn check_user_name(name: &str) -> Result<(), String> {
    if letters_digits(name, 60) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not a user name: 1 to 60 letters, digits, `-` and `_`"
    ))
}

fn check_tag(key: &str, value: &str) -> Result<(), String> {
    if !letters_digits(key, 60) {
        return Err(format!(
            "`{key}` is not a tag key: 1 to 60 letters, digits, `-` and `_`"
        ));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b" .:/=_-+@".contains(&b);
    if value.len() > 256 || !value.bytes().all(legal) {
        return Err(format!(
            "the value of tag `{key}` is not allowed: up to 256 letters, digits, spaces and `.:/=_-+@`"
        ));
    }
    Ok(())
}

pub(crate) fn resource_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    if let Some(name) = &name {
        check_resource_name(name).map_err(D::Error::custom)?;
    }
    Ok(name)
}

pub(crate) fn group_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    if let Some(name) = &name {
        check_group_name(name).map_err(D::Error::custom)?;
    }
    Ok(name)
}

pub(crate) fn tags<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let tags = Option::<BTreeMap<String, String>>::deserialize(deserializer)?;
    for (key, value) in tags.iter().flatten() {
        check_tag(key, value).map_err(D::Error::custom)?;
    }
    Ok(tags)
}

const ADJECTIVES: [&str; 48] = [
    "amber", "brave", "bright", "brisk", "calm", "clear", "clever", "cool", "crisp", "dapper",
    "eager", "early", "fair", "fast", "fine", "fond", "fresh", "gentle", "glad", "golden", "good",
    "grand", "green", "happy", "honest", "jolly", "keen", "kind", "light", "lively", "loud",
    "lucky", "mellow", "merry", "mild", "neat", "nimble", "proud", "quick", "quiet", "red",
    "sharp", "shiny", "silver", "smart", "swift", "warm", "wise",
];
const NOUNS: [&str; 48] = [
    "badger", "bear", "bee", "crane", "deer", "dove", "duck", "eagle", "elk", "falcon", "finch",
    "fox", "goose", "hare", "hawk", "heron", "horse", "ibex", "jay", "kite", "lark", "lion",
    "llama", "lynx", "mole", "moose", "moth", "mouse", "newt", "otter", "owl", "panda", "pony",
    "puffin", "quail", "raven", "robin", "seal", "shark", "sparrow", "squid", "stork", "swan",
    "tern", "tiger", "trout", "whale", "wren",
];

/// Spreads neighbouring seeds (splitmix64), so that counters make good seeds too.
fn scatter(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pair(seed: u64) -> String {
    let scattered = scatter(seed);
    let adjective = ADJECTIVES[(scattered % ADJECTIVES.len() as u64) as usize];
    let noun = NOUNS[((scattered >> 32) % NOUNS.len() as u64) as usize];
    format!("{adjective}-{noun}")
}

/// A free name for a run: `adjective-noun-n`, the smallest free `n`.
pub fn generate_run_name(seed: u64, taken: impl Fn(&str) -> bool) -> String {
    let pair = pair(seed);
    let mut number = 1_u64;
    loop {
        let name = format!("{pair}-{number}");
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// A free name for a fleet, volume or gateway: `adjective-noun`, numbered only when every pair is taken.
pub fn generate_name(seed: u64, taken: impl Fn(&str) -> bool) -> String {
    let tries = (ADJECTIVES.len() * NOUNS.len()) as u64;
    for step in 0..tries {
        let name = pair(seed.wrapping_add(step));
        if !taken(&name) {
            return name;
        }
    }
    generate_run_name(seed, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_upstream_takes_them() {
        for name in ["ab", "a1", "train-1", &"a".repeat(41)] {
            assert_eq!(check_resource_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "a",
            "1a",
            "-a",
            "Ab",
            "a_b",
            "a b",
            "ä1",
            &"a".repeat(42),
        ] {
            assert!(check_resource_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn generated_names_are_lawful_free_and_repeatable() {
        for seed in 0..2000 {
            let name = generate_run_name(seed, |_| false);
            assert_eq!(check_resource_name(&name), Ok(()), "{name}");
            assert_eq!(name, generate_run_name(seed, |_| false));
        }
        let first = generate_run_name(7, |_| false);
        let second = generate_run_name(7, |name| name == first);
        assert_ne!(first, second);
        let fleet = generate_name(7, |_| false);
        assert_ne!(generate_name(7, |name| name == fleet), fleet);
        assert!(!generate_name(7, |name| name.matches('-').count() == 1).is_empty());
    }
}
