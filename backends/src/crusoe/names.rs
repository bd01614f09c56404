//! Whose a thing is: its name begins with its owner.

use crate::backend::Key;
use std::fmt;

/// The mark of one cluster of ours on things in an account that others use as well. Short, because names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(String);

/// Names of machines are host names too.
const LONGEST_NAME: usize = 63;
/// What the name of a data disk ends with.
const DATA: &str = "-data";

impl Owner {
    /// One to sixteen lower-case letters and digits, a letter first.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = (1..=16).contains(&text.len()) && text.chars().all(plain);
        (fits && text.starts_with(|c: char| c.is_ascii_lowercase())).then(|| Self(text.to_owned()))
    }

    /// The name of the thing with this key; none when there is no room for it.
    pub fn name(&self, key: &Key) -> Option<String> {
        let name = format!("{}-{key}", self.0);
        (name.len() + DATA.len() <= LONGEST_NAME).then_some(name)
    }

    /// The key of a thing of ours, from its name.
    pub fn key(&self, name: &str) -> Option<Key> {
        Key::new(name.strip_prefix(&self.0)?.strip_prefix('-')?)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The data disk that belongs to a machine.
pub fn data_disk(machine: &str) -> String {
    format!("{machine}{DATA}")
}

/// The machine a data disk belongs to.
pub fn disk_owner(disk: &str) -> Option<&str> {
    disk.strip_suffix(DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_key_and_nobody_elses_does() {
        let owner = Owner::new("ds1f2e3d").unwrap();
        let key = Key::new("fleet-a-0").unwrap();
        assert_eq!(owner.name(&key).as_deref(), Some("ds1f2e3d-fleet-a-0"));
        assert_eq!(owner.key("ds1f2e3d-fleet-a-0"), Some(key));
        for other in [
            "ds1f2e3-fleet-a-0",
            "ds1f2e3dx-a",
            "ds1f2e3d",
            "",
            "ds1f2e3d-",
        ] {
            assert_eq!(owner.key(other), None, "{other}");
        }
    }

    #[test]
    fn names_fit_with_their_disks() {
        let owner = Owner::new("ds1f2e3d").unwrap();
        let longest = Key::new(&"k".repeat(49)).unwrap();
        let name = owner.name(&longest).unwrap();
        assert_eq!(data_disk(&name).len(), 63);
        assert_eq!(owner.name(&Key::new(&"k".repeat(50)).unwrap()), None);
        for bad in ["", "1a", "A", "a-b", "abcdefghijklmnopq"] {
            assert_eq!(Owner::new(bad), None, "{bad}");
        }
    }
}
