//! The key with which the user comes in: one's own, or the one the server keeps for every user.

use super::places::Places;
use crate::failure::{Failure, Outcome};
use dstack_api::client::ProjectClient;
use sha1::{Digest, Sha1};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file of the key. `known` is the public key the run was submitted with: no other opens it.
pub async fn identity(
    project: &ProjectClient,
    places: &Places,
    own: Option<&Path>,
    known: Option<&str>,
) -> Outcome<PathBuf> {
    if let Some(own) = own {
        return Ok(own.to_owned());
    }
    let user = project
        .client()
        .my_user()
        .await
        .map_err(crate::commands::refused)?;
    let keys = user.ssh_private_key.zip(user.user.ssh_public_key);
    let Some((private, public)) = keys else {
        return Err(Failure::with_hint(
            "the server keeps no SSH key for you",
            "Name the key the run was submitted with: --ssh-identity FILE",
        ));
    };
    if known.is_some_and(|known| known.trim() != public.trim()) {
        return Err(Failure::with_hint(
            "the run was submitted with another SSH key than the one the server keeps for you",
            "Name that key: --ssh-identity FILE",
        ));
    }
    let name = hex::encode(Sha1::digest(user.creds.token.as_bytes()));
    let path = places.folder().join(name.get(..8).unwrap_or("key"));
    write(&path, &private)?;
    write(&path.with_extension("pub"), &public)?;
    Ok(path)
}

/// Replaces the file at once, so that another `dstack` never reads half a key.
fn write(path: &Path, text: &str) -> Outcome {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| Failure::refused(format!("cannot write {}: {error}", path.display())))
}
