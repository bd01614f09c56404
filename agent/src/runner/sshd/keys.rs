//! The server's own key, and those of its clients.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{LineEnding, PrivateKey, PublicKey};

/// The key in `folder`, made there when it is not: who comes again finds the same server.
pub fn host_key(folder: &Path) -> io::Result<PrivateKey> {
    let path = folder.join("host_key");
    match fs::read_to_string(&path) {
        Ok(text) => PrivateKey::from_openssh(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            let key = new_key()?;
            let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?
                .write_all(text.as_bytes())?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn new_key() -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, "dstack job").map_err(io::Error::other)
}

/// Keys that may log in.
#[derive(Debug, Default)]
pub struct Authorized(Vec<KeyData>);

impl Authorized {
    /// Lines that are no keys are passed over: one of them must not lock the others out.
    pub fn parse(lines: &[String]) -> Self {
        let keys = lines
            .iter()
            .filter_map(|line| PublicKey::from_openssh(line.trim()).ok())
            .map(|key| key.key_data().clone())
            .collect();
        Self(keys)
    }

    pub fn admits(&self, key: &PublicKey) -> bool {
        self.0.contains(key.key_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_key_stays_the_same_and_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let key = host_key(&dir.path().join("ssh")).unwrap();
        let again = host_key(&dir.path().join("ssh")).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        let other = host_key(&dir.path().join("other")).unwrap();
        assert_ne!(key.public_key(), other.public_key());
    }

    #[test]
    fn only_listed_keys_are_admitted_whatever_their_comments() {
        let (one, two) = (new_key().unwrap(), new_key().unwrap());
        let line = one.public_key().to_openssh().unwrap();
        let bare: Vec<&str> = line.split(' ').take(2).collect();
        let authorized = Authorized::parse(&[
            "no key".into(),
            format!("{} somebody@else\n", bare.join(" ")),
        ]);
        assert!(authorized.admits(one.public_key()));
        assert!(!authorized.admits(two.public_key()));
    }
}
