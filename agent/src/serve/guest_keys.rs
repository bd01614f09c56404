//! Who may pass through this host to a job on it: the job's keys stand in the host user's `authorized_keys` for as
//! long as the job is here. Lines of others are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::home::Home;
use crate::runner::login_home;

/// One key for one job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The user of this host through whom clients come; absent is the agent's own.
    pub user: Option<String>,
    pub submission: Uuid,
    /// A line of OpenSSH's form, whatever its comment.
    pub key: String,
}

pub struct GuestKeys {
    /// Instead of the users' own files.
    file: Option<PathBuf>,
    /// At the end of every line that is ours; two agents on one host do not clean up after each other.
    mark: String,
    /// What the files say, once that is known.
    shown: Option<BTreeSet<Grant>>,
}

impl GuestKeys {
    pub fn new(home: &Home, file: Option<PathBuf>) -> Self {
        let digest = Sha256::digest(home.root().as_os_str().as_encoded_bytes());
        Self {
            file,
            mark: format!("@dstack-{}", hex::encode(&digest[..4])),
            shown: None,
        }
    }

    /// Makes the files say what is wanted. What cannot be written is tried again with the next call.
    pub fn show(&mut self, wanted: BTreeSet<Grant>) {
        if self.shown.as_ref() == Some(&wanted) {
            return;
        }
        let mut files: BTreeMap<PathBuf, Vec<&Grant>> = BTreeMap::new();
        // Also where there is nothing to say any more, and once where an earlier life may have said something.
        let before = self.shown.iter().flatten().map(|grant| &grant.user);
        for user in before.chain([&None]) {
            files.extend(self.path(user.as_deref()).map(|path| (path, Vec::new())));
        }
        for grant in &wanted {
            match self.path(grant.user.as_deref()) {
                Some(path) => files.entry(path).or_default().push(grant),
                None => {
                    tracing::warn!(user = ?grant.user, "this host has no such user with a home: nobody can attach through it")
                }
            }
        }
        let mut failed = false;
        for (path, grants) in files {
            if let Err(error) = self.rewrite(&path, &grants) {
                tracing::warn!(path = %path.display(), %error, "cannot let attached users in");
                failed = true;
            }
        }
        if !failed {
            self.shown = Some(wanted);
        }
    }

    fn path(&self, user: Option<&str>) -> Option<PathBuf> {
        match &self.file {
            Some(file) => Some(file.clone()),
            None => login_home(user).map(|home| home.join(".ssh/authorized_keys")),
        }
    }

    fn rewrite(&self, path: &Path, grants: &[&Grant]) -> io::Result<()> {
        let old = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let new = self.render(&old, grants);
        if new == old {
            return Ok(());
        }
        replace(path, &new)
    }

    fn render(&self, old: &str, grants: &[&Grant]) -> String {
        let mut text: String = old
            .lines()
            .filter(|line| !line.ends_with(&self.mark))
            .map(|line| format!("{line}\n"))
            .collect();
        for grant in grants {
            let mut words = grant.key.split_whitespace();
            // Nothing but a type and a key: an option before them could run a command at login.
            if let (Some(kind), Some(key)) = (words.next(), words.next())
                && (kind.starts_with("ssh-")
                    || kind.starts_with("ecdsa-")
                    || kind.starts_with("sk-"))
            {
                text.push_str(&format!("{kind} {key} {}{}\n", grant.submission, self.mark));
            }
        }
        text
    }
}

/// All at once, and as the file was.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let home = folder.parent().unwrap_or(folder);
    // Of whoever owns the folder, or will.
    let (uid, gid) = owner(folder).or_else(|_| owner(home))?;
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        chown(folder, Some(uid), Some(gid))?;
    }
    let mode = fs::metadata(path).map_or(0o600, |metadata| metadata.mode() & 0o777);
    let fresh = folder.join(format!(".authorized_keys.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    chown(&fresh, Some(uid), Some(gid))?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

fn owner(path: &Path) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.uid(), metadata.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(n: u128, key: &str) -> Grant {
        Grant {
            user: None,
            submission: Uuid::from_u128(n),
            key: key.into(),
        }
    }

    #[test]
    fn keys_come_and_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("agent")).unwrap();
        let file = dir.path().join("ssh/authorized_keys");
        fs::create_dir(dir.path().join("ssh")).unwrap();
        fs::write(&file, "ssh-rsa AAAA admin@desk\n# a note without an end").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let mut keys = GuestKeys::new(&home, Some(file.clone()));
        let one = grant(1, "ssh-ed25519 BBBB ann@laptop");
        keys.show([one.clone(), grant(2, "ssh-ed25519 CCCC")].into());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(
            "ssh-rsa AAAA admin@desk\n# a note without an end\nssh-ed25519 BBBB 0000"
        ));
        assert_eq!(text.lines().count(), 4);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        // Another life of the agent finds a job gone.
        let mut keys = GuestKeys::new(&home, Some(file.clone()));
        keys.show([one].into());
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
        keys.show(BTreeSet::new());
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "ssh-rsa AAAA admin@desk\n# a note without an end\n");
    }

    #[test]
    fn a_key_brings_no_options_and_no_second_line() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("agent")).unwrap();
        let keys = GuestKeys::new(&home, None);
        let bad = grant(1, "command=\"evil\" ssh-ed25519 BBBB");
        let two = grant(2, "ssh-ed25519 CCCC x\nssh-ed25519 DDDD y");
        let text = keys.render("", &[&bad, &two]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("ssh-ed25519 CCCC 0000"));
    }

    #[test]
    fn a_file_that_is_not_there_is_made_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("agent")).unwrap();
        let file = dir.path().join("new/.ssh/authorized_keys");
        fs::create_dir(dir.path().join("new")).unwrap();
        GuestKeys::new(&home, Some(file.clone())).show([grant(1, "ssh-rsa AAAA")].into());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
    }
}
