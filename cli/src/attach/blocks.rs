//! `Host` blocks in ssh's configuration. Several `dstack` may write them at once, so a lock is held.

use super::places::{Places, private_folder};
use super::route::Block;
use crate::failure::{Failure, Outcome};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Blocks that are there until this is dropped.
#[derive(Debug)]
pub struct Shown {
    config: PathBuf,
    hosts: Vec<String>,
}

/// Writes the blocks in place of older ones of the same hosts.
pub fn show(places: &Places, blocks: &[Block]) -> Outcome<Shown> {
    let hosts: Vec<String> = blocks.iter().map(|block| block.host.clone()).collect();
    let text: String = blocks.iter().map(Block::to_string).collect();
    change(&places.config(), |old| without(old, &hosts) + &text)?;
    include(places);
    Ok(Shown {
        config: places.config(),
        hosts,
    })
}

impl Drop for Shown {
    fn drop(&mut self) {
        // What stays would be replaced at the next attachment.
        let _ = change(&self.config, |old| without(old, &self.hosts));
    }
}

/// Makes `ssh <run>` work without `-F`. A home that cannot be written costs only that.
fn include(places: &Places) {
    let line = format!("Include {}\n", places.config().display());
    let users = places.users_config();
    let added = users
        .parent()
        .map_or(Ok(()), private_folder)
        .and_then(|()| {
            change(&users, |old| {
                if old.contains(&line) {
                    old.to_owned()
                } else {
                    line.clone() + old
                }
            })
        });
    if let Err(error) = added {
        crate::ui::talk(&format!(
            "`ssh <run>` needs -F {}: {error}",
            places.config().display()
        ));
    }
}

/// The text without the blocks of these hosts.
fn without(text: &str, hosts: &[String]) -> String {
    let mut kept = String::new();
    let mut drops = false;
    for line in text.lines() {
        if let Some(host) = line.trim().strip_prefix("Host ") {
            drops = hosts.iter().any(|gone| gone == host.trim());
        }
        if !drops {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn change(path: &Path, new: impl FnOnce(&str) -> String) -> Outcome {
    let refused = |error: &dyn std::fmt::Display| {
        Failure::refused(format!("cannot write {}: {error}", path.display()))
    };
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = File::create(PathBuf::from(lock)).map_err(|error| refused(&error))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| refused(&error))?;
    let old = match std::fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refused(&error)),
    };
    let new = new(&old);
    if new == old {
        return Ok(());
    }
    std::fs::write(path, new).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_blocks_go() {
        let text = "Host a\n    Port 1\nHost a-host\n    Port 2\nHost b\n    Port 3\n";
        let left = without(text, &["a".into(), "a-host".into()]);
        assert_eq!(left, "Host b\n    Port 3\n");
        assert_eq!(without(text, &[]), text);
    }

    #[test]
    fn blocks_are_gone_with_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::write(&config, "Host other\n    Port 3\n").unwrap();
        change(&config, |old| without(old, &[]) + "Host run\n    Port 1\n").unwrap();
        drop(Shown {
            config: config.clone(),
            hosts: vec!["run".into()],
        });
        let left = std::fs::read_to_string(config).unwrap();
        assert_eq!(left, "Host other\n    Port 3\n");
    }
}
