//! Key pairs for users, in the forms OpenSSH reads.

use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::env;

/// An ed25519 key pair.
pub struct KeyPair {
    /// `ssh-ed25519 AAAA… comment`, with a newline, as upstream stores it.
    pub public: String,
    /// OpenSSH's private key format, unencrypted.
    pub private: Zeroizing<String>,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    NoEntropy(#[from] env::NoEntropy),
    #[error("the new key cannot be written down")]
    Form(#[source] russh::keys::ssh_key::Error),
}

/// Makes a key pair; the comment is what people see in `authorized_keys`.
pub fn generate(comment: &str) -> Result<KeyPair, KeyError> {
    let seed = Zeroizing::new(env::random_bytes::<32>()?);
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let private = PrivateKey::new(pair, comment).map_err(KeyError::Form)?;
    let public = private.public_key().to_openssh().map_err(KeyError::Form)?;
    Ok(KeyPair {
        public: format!("{public}\n"),
        private: private.to_openssh(LineEnding::LF).map_err(KeyError::Form)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_belong_together_and_openssh_can_read_them() {
        let pair = generate("admin@dstack").unwrap();
        assert!(
            pair.public.starts_with("ssh-ed25519 ") && pair.public.ends_with(" admin@dstack\n")
        );
        let read = PrivateKey::from_openssh(pair.private.as_str()).unwrap();
        assert_eq!(
            format!("{}\n", read.public_key().to_openssh().unwrap()),
            pair.public
        );
        assert_ne!(generate("x").unwrap().public, generate("x").unwrap().public);
    }
}
