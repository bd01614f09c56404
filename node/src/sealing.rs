//! Secrets are sealed before they enter the log, so that neither logs, snapshots nor backups hold them.
//!
//! The form is upstream's: `enc:aes:<key name>:<base64 of nonce, ciphertext and tag>`, AES-256-GCM with a random
//! 12-byte nonce. The key ring is a file that every replica of a cluster has; its first key seals, all of
//! them open, so a key is rotated by putting a new one in front.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dstack_domain::model::Sealed;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::env;

/// File name of the key ring inside the directory with the replica's credentials.
pub const KEY_FILE: &str = "cluster.key";

const NONCE_BYTES: usize = 12;

/// Why something could not be sealed or opened. Never says what it was.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("cannot read the cluster key {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "the cluster key {path} is damaged at line {line}: expected `aes:<name>:<base64 of 32 bytes>`; \
         copy the file from another replica of this cluster"
    )]
    Malformed { path: PathBuf, line: usize },
    #[error(
        "the cluster key {path} holds no key; copy the file from another replica of this cluster"
    )]
    Empty { path: PathBuf },
    #[error("not in a sealed form")]
    Form,
    #[error(
        "sealed with the key `{name}`, which is not in this replica's cluster key; copy it from another replica"
    )]
    UnknownKey { name: String },
    #[error("does not open with the key `{name}`: the key or the sealed text was changed")]
    Tampered { name: String },
    #[error(transparent)]
    NoEntropy(#[from] env::NoEntropy),
}

struct NamedKey {
    name: String,
    cipher: Aes256Gcm,
}

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<Vec<NamedKey>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.name))
            .finish()
    }
}

/// A fresh key in the form of a line of the key file.
pub fn generate_key() -> Result<Zeroizing<String>, SealError> {
    let key = Zeroizing::new(env::random_bytes::<32>()?);
    // The name is a fingerprint, so that two keys never share one.
    let name = hex::encode(&Sha256::digest(key.as_slice())[..4]);
    let encoded = Zeroizing::new(STANDARD.encode(key.as_slice()));
    Ok(Zeroizing::new(format!(
        "aes:k{name}:{}\n",
        encoded.as_str()
    )))
}

impl Sealer {
    /// Reads the key ring from its file.
    pub fn load(path: &Path) -> Result<Sealer, SealError> {
        let read = |source| SealError::Read {
            path: path.to_owned(),
            source,
        };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(read)?);
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Sealer, SealError> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_key(line).ok_or_else(|| SealError::Malformed {
                path: path.to_owned(),
                line: number + 1,
            })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(SealError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(Sealer {
            keys: Arc::new(keys),
        })
    }

    /// Seals with the first key of the ring.
    pub fn seal(&self, plain: &str) -> Result<Sealed, SealError> {
        let key = &self.keys[0];
        let nonce = env::random_bytes::<NONCE_BYTES>()?;
        let sealed = key
            .cipher
            .encrypt(&Nonce::from(nonce), plain.as_bytes())
            .map_err(|_| SealError::Tampered {
                name: key.name.clone(),
            })?;
        let mut payload = nonce.to_vec();
        payload.extend_from_slice(&sealed);
        Ok(Sealed(format!(
            "enc:aes:{}:{}",
            key.name,
            STANDARD.encode(payload)
        )))
    }

    /// Opens what any key of the ring has sealed.
    pub fn open(&self, sealed: &Sealed) -> Result<String, SealError> {
        let mut parts = sealed.0.splitn(4, ':');
        let (Some("enc"), Some("aes"), Some(name), Some(payload)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::Form);
        };
        let key = self
            .keys
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| SealError::UnknownKey {
                name: name.to_owned(),
            })?;
        let payload = STANDARD.decode(payload).map_err(|_| SealError::Form)?;
        let (nonce, text) = payload
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealError::Form)?;
        let tampered = || SealError::Tampered {
            name: name.to_owned(),
        };
        let plain = key
            .cipher
            .decrypt(&Nonce::from(*nonce), text)
            .map_err(|_| tampered())?;
        String::from_utf8(plain).map_err(|_| tampered())
    }
}

fn parse_key(line: &str) -> Option<NamedKey> {
    let mut parts = line.splitn(3, ':');
    let (Some("aes"), Some(name), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    let secret = Zeroizing::new(STANDARD.decode(secret).ok()?);
    let cipher = Aes256Gcm::new_from_slice(&secret).ok()?;
    named.then(|| NamedKey {
        name: name.to_owned(),
        cipher,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(text: &str) -> Sealer {
        Sealer::parse(text, Path::new("test.key")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_is_never_the_same_twice() {
        let sealer = sealer(&generate_key().unwrap());
        let one = sealer.seal("hunter2").unwrap();
        let two = sealer.seal("hunter2").unwrap();
        assert_ne!(one.0, two.0);
        assert!(one.0.starts_with("enc:aes:k"));
        assert_eq!(sealer.open(&one).unwrap(), "hunter2");
        assert_eq!(sealer.open(&two).unwrap(), "hunter2");
    }

    #[test]
    fn a_rotated_key_still_opens_what_it_sealed() {
        let old = generate_key().unwrap();
        let sealed = sealer(&old).seal("kept").unwrap();
        let rotated = sealer(&format!(
            "{}{}",
            generate_key().unwrap().as_str(),
            old.as_str()
        ));
        assert_eq!(rotated.open(&sealed).unwrap(), "kept");
        assert_ne!(rotated.seal("kept").unwrap().0[..20], sealed.0[..20]);
    }

    #[test]
    fn changed_text_and_foreign_keys_are_refused() {
        let ours = sealer(&generate_key().unwrap());
        let sealed = ours.seal("secret").unwrap();
        let mut text = sealed.0.to_owned().into_bytes();
        let last = text.len() - 5;
        text[last] = if text[last] == b'A' { b'B' } else { b'A' };
        let changed = Sealed(String::from_utf8(text).unwrap());
        assert!(matches!(
            ours.open(&changed),
            Err(SealError::Tampered { .. } | SealError::Form)
        ));
        let theirs = sealer(&generate_key().unwrap());
        assert!(matches!(
            theirs.open(&sealed),
            Err(SealError::UnknownKey { .. })
        ));
        assert!(matches!(
            ours.open(&Sealed("plain".into())),
            Err(SealError::Form)
        ));
    }

    #[test]
    fn a_damaged_key_file_names_its_line() {
        let error = Sealer::parse("# ours\naes:k1:short\n", Path::new("x.key")).unwrap_err();
        assert!(
            matches!(error, SealError::Malformed { line: 2, .. }),
            "{error}"
        );
    }
}
