//! Script text. Clouds take it in ASCII and below 64 kB, beginning with the name of its shell.

use crate::shell::quote;

/// Its coming says that the script has run since this boot.
pub const BOOTED: &str = "/run/dstack-booted";

/// Crusoe's limit; other clouds take more.
const MOST_BYTES: usize = 64_000;

/// What goes into the script.
#[derive(Clone, Copy, Debug)]
pub struct FirstBoot<'a> {
    /// The image's own user.
    pub login: &'a str,
    /// Who may log in as that user, as lines of `authorized_keys`.
    pub keys: &'a [String],
}

/// The cloud would not take the script.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the user name {0:?} is not plain ASCII")]
    Login(String),
    #[error("the public key {0:?} is not a key")]
    Key(String),
    #[error(
        "the startup script has {0} bytes, more than the {MOST_BYTES} a cloud takes; leave keys out"
    )]
    TooLarge(usize),
}

impl FirstBoot<'_> {
    pub fn script(&self) -> Result<String, Unfit> {
        self.script_below("", "/data")
    }

    /// As [`FirstBoot::script`], with the system's folders below `root`: for tests.
    pub fn script_below(&self, root: &str, data: &str) -> Result<String, Unfit> {
        if !self.login.is_ascii() || self.login.is_empty() {
            return Err(Unfit::Login(self.login.to_owned()));
        }
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|key| bare(key))
            .collect::<Result<_, _>>()?;
        let script = format!(
            "#!/bin/bash\nLOGIN={}\nKEYS={}\nETC={root}/etc\nRUN={root}/run\nDATA={data}\n{}",
            quote(self.login),
            quote(&keys.join("\n")),
            include_str!("boot.sh"),
        );
        match script.len() {
            bytes if bytes >= MOST_BYTES => Err(Unfit::TooLarge(bytes)),
            _ => Ok(script),
        }
    }
}

/// Without the comment, in which people write what they like.
fn bare(key: &str) -> Result<String, Unfit> {
    let mut words = key.split_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(body)) if kind.is_ascii() && body.is_ascii() => {
            Ok(format!("{kind} {body}"))
        }
        _ => Err(Unfit::Key(key.chars().take(40).collect())),
    }
}
