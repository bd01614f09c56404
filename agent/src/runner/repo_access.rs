//! Credentials of a Git repository, given to `git` in ways that no other process sees and no file keeps.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::profile::quote;
use crate::durable;
use crate::record::RepoCreds;

/// Variables for `git`; the key's file goes with this value.
#[derive(Debug, Default)]
pub struct Access {
    env: Vec<(String, String)>,
    key: Option<PathBuf>,
}

impl Access {
    /// `scratch` is a folder that only this user may look into.
    pub fn new(url: &str, creds: Option<&RepoCreds>, scratch: &Path) -> io::Result<Self> {
        let mut access = Self::default();
        let Some(creds) = creds else {
            return Ok(access);
        };
        if let (Some(token), Some(host)) = (&creds.oauth_token, host_of_https(url)) {
            // For this host alone: a submodule elsewhere gets nothing.
            let basic = STANDARD.encode(format!("x-access-token:{token}"));
            access.set("GIT_CONFIG_COUNT", "1");
            access.set(
                "GIT_CONFIG_KEY_0",
                &format!("http.https://{host}/.extraHeader"),
            );
            access.set(
                "GIT_CONFIG_VALUE_0",
                &format!("Authorization: Basic {basic}"),
            );
        }
        if let Some(key) = &creds.private_key {
            let path = scratch.join("repo_key");
            // OpenSSH refuses a key whose last line does not end.
            let end = if key.ends_with('\n') { "" } else { "\n" };
            durable::write(&path, format!("{key}{end}").as_bytes())?;
            let quoted = quote(&path.display().to_string());
            access.set(
                "GIT_SSH_COMMAND",
                &format!(
                    "ssh -F none -i {quoted} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
                     -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
                ),
            );
            access.key = Some(path);
        }
        Ok(access)
    }

    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            let _ = durable::remove_file(key); // the job's folder is removed with the job
        }
    }
}

fn host_of_https(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    authority.rsplit('@').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_its_host_and_a_key_lasts_as_long_as_it_is_needed() {
        let scratch = tempfile::tempdir().unwrap();
        let creds = RepoCreds {
            oauth_token: Some("t0".into()),
            private_key: Some("KEY".into()),
        };
        let access = Access::new("https://me@host:8443/a/b", Some(&creds), scratch.path()).unwrap();
        let env: Vec<(&str, &str)> = access.env().collect();
        assert!(env.contains(&("GIT_CONFIG_KEY_0", "http.https://host:8443/.extraHeader")));
        let key = scratch.path().join("repo_key");
        assert_eq!(std::fs::read_to_string(&key).unwrap(), "KEY\n");
        drop(access);
        assert!(!key.exists());
        let ssh = Access::new("git@host:a/b", Some(&creds), scratch.path()).unwrap();
        assert!(ssh.env().all(|(name, _)| name == "GIT_SSH_COMMAND"));
        let none = Access::new("https://host/a", None, scratch.path()).unwrap();
        assert_eq!(none.env().count(), 0);
    }
}
